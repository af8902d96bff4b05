"""Keeps queries from changing a workflow.

A query that was on its way to a worker that died reaches another one, which takes the workflow up from its
history for it. That may hold events which came meanwhile, and whose workflow task is still to come. The SDK
shows them to the workflow as if it were there, and keeps what is decided for the next task. That one has more
events; the history has all of them side by side, no replay decides in the same portions, and the workflow is
wedged for good.

Nothing marks such a portion; but it is the first that a workflow sees after its replay, and the query follows
at once, or after what the portion itself brought about, such as the end of an activity that it called off.
There the query is refused, which has the workflow taken up anew by who needs it next. After a first task that
was none of this it is refused in vain, once for each time that a workflow is taken up.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, TypeVar

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Interceptor, OutboundInterceptor, QueryWorkflowInput, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkflowInstance

T = TypeVar("T")

OVERTAKEN = "The query may have come before a workflow task that it has to wait for; ask again"
ATTEMPTS = 3
"""Of a query: the second one waits for the task, unless a worker dies again."""
ON_ITS_OWN = "legacy_query"
"""Id of a query that came without a workflow task."""
PASSIVE = {"query_workflow", "remove_from_cache"}
REMEMBERED = 1000


class Overtaken(Exception):
    """Events came ahead of their workflow task. The workflow is taken up anew, from its history."""

    def __init__(self) -> None:
        super().__init__(OVERTAKEN)


class _Seen(Enum):
    NOTHING = "nothing"
    REPLAY = "its replay"
    ONE_PORTION = "one portion of events after its replay"
    TASKS = "tasks"
    AHEAD = "events ahead of their task"


_refused: OrderedDict[tuple[str, int], None] = OrderedDict()
"""Runs whose query was refused, with the length of their history."""


def keep_quiet() -> None:
    """Have the SDK log no refusal as an error: who commands a pipeline that is not in memory meets one."""
    logging.getLogger("temporalio.worker._workflow").addFilter(_of_others)


def _of_others(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Overtaken))


def instance(given: WorkflowInstance) -> WorkflowInstance:
    """Have a workflow refuse a query that may have come ahead of a task.

    With the same history it is answered the second time: what was terminated may have events that no task
    will ever handle. A workflow that has seen events ahead of their task decides nothing more.
    """
    activate = given.activate
    seen, length = _Seen.NOTHING, 0

    def guarded(task: WorkflowActivation) -> WorkflowActivationCompletion:
        nonlocal seen, length
        if any(job.query_workflow.query_id == ON_ITS_OWN for job in task.jobs):
            if seen is _Seen.ONE_PORTION:
                if _first_time(task.run_id, task.history_length):
                    raise Overtaken
                seen = _Seen.AHEAD
        elif any(job.WhichOneof("variant") not in PASSIVE for job in task.jobs):
            if seen is _Seen.AHEAD:
                raise Overtaken
            if task.history_length != length:  # else it follows from the portion before
                seen, length = _after(seen, replay=task.is_replaying), task.history_length
        return activate(task)

    given.activate = guarded  # type: ignore[method-assign, assignment]
    return given


def _after(seen: _Seen, *, replay: bool) -> _Seen:
    if replay:
        return _Seen.REPLAY
    return _Seen.ONE_PORTION if seen is _Seen.REPLAY else _Seen.TASKS


def _first_time(run_id: str, length: int) -> bool:
    if (run_id, length) in _refused:
        return False
    _refused[run_id, length] = None
    if len(_refused) > REMEMBERED:
        _refused.popitem(last=False)
    return True


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again what a worker could not answer in its turn; raises as the last attempt does.

    Every failure of a query is taken for that: where payloads are encrypted, so is the text that tells.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await ask()
        except WorkflowQueryFailedError:
            continue
        except RPCError as failed:
            if failed.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
    return await ask()


class _AskAgain(OutboundInterceptor):
    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask as often as it takes."""
        ask = super().query_workflow
        return await patiently(lambda: ask(input))


class AskAgain(Interceptor):
    """Gives a client patience with workers that refuse; see `instance`."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap what a client sends."""
        return _AskAgain(next)

"""Keeps queries from changing a workflow.

A query that was on its way to a worker that died reaches another one, which takes the workflow up from its
history for it. That may hold events which came meanwhile, and whose workflow task is still to come. The SDK
shows them to the workflow as if it were there, and keeps what is decided for the next task. That one has more
events; the history has all of them side by side, no replay decides in the same portions, and the workflow is
wedged for good.

Such a portion has events but no task that began, so neither the time of the workflow nor the size of its
history, both of which the server notes when a task begins, are others than before. The query that follows is
refused, which has the workflow taken up anew by who needs it next.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
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


_refused: OrderedDict[tuple[str, int], None] = OrderedDict()
"""Runs whose query was refused, with the length of their history."""


def keep_quiet() -> None:
    """Have the SDK log no refusal as an error: who was refused asks again."""
    logging.getLogger("temporalio.worker._workflow").addFilter(_of_others)


def _of_others(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Overtaken))


def instance(given: WorkflowInstance) -> WorkflowInstance:
    """Have a workflow refuse a query that has come ahead of a task.

    With the same history it is answered the second time: what was terminated may have events that no task
    will ever handle. A workflow that has seen events ahead of their task decides nothing more.
    """
    activate = given.activate
    begun: tuple[int, int] | None = None
    length, ahead = 0, False

    def guarded(task: WorkflowActivation) -> WorkflowActivationCompletion:
        nonlocal begun, length, ahead
        if any(job.query_workflow.query_id == ON_ITS_OWN for job in task.jobs):
            if ahead and _first_time(task.run_id, length):
                raise Overtaken
        elif task.history_length > length and any(_tells(job) for job in task.jobs):
            if ahead:
                raise Overtaken
            before, begun = begun, (task.timestamp.ToNanoseconds(), task.history_size_bytes)
            length, ahead = task.history_length, begun == before
        return activate(task)

    given.activate = guarded  # type: ignore[method-assign, assignment]
    return given


def _tells(job: WorkflowActivationJob) -> bool:
    return job.WhichOneof("variant") not in PASSIVE


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

"""Keeps queries from changing a workflow.

A query that was on its way to a worker that died reaches another one, which takes the workflow up from its
history for it. That may hold events which came meanwhile, and whose workflow task is still to come. The SDK
shows them to the workflow as if it were there, and keeps what is decided for the next task. That one has more
events; the history has all of them side by side, no replay decides in the same portions, and the workflow is
wedged for good.

Such a portion has one of two marks. No task began with it, so neither the time of the workflow nor the size
of its history, which the server notes when a task begins, are others than before. Or there was a task of
which the workflow was told nothing; then it is the first portion after a replay, as is that of any task
which has a workflow taken up. Where one is seen, the query that follows at once, or after what the portion
itself has brought about, is refused, which has the workflow taken up anew by who needs it next. That is in
vain where it was a task, but then its events are part of the replay, and the second query is answered.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import tenacity
from temporalio.api.common.v1 import Header, Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import (
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkflowInstance

T = TypeVar("T")

OVERTAKEN = "The query may have come before a workflow task that it has to wait for; ask again"
ATTEMPTS = 8
"""Of a query, within some two seconds; the second one is answered, unless the task is still to come."""
ON_ITS_OWN = "legacy_query"
"""Id of a query that came without a workflow task."""
PASSIVE = {"query_workflow", "remove_from_cache"}
_ENDED = "sluicegate-ended"
OF_AN_ENDED_RUN = Header(fields={_ENDED: Payload()})
"""Header of a query for the last words of a run that has ended: what no task has handled by then none ever
will."""


class Overtaken(Exception):
    """Events came ahead of their workflow task. The workflow is taken up anew, from its history."""

    def __init__(self) -> None:
        super().__init__(OVERTAKEN)


def keep_quiet() -> None:
    """Have the SDK log no refusal as an error: who was refused asks again."""
    logging.getLogger("temporalio.worker._workflow").addFilter(_of_others)


def _of_others(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Overtaken))


def instance(given: WorkflowInstance) -> WorkflowInstance:
    """Have a workflow refuse a query that may have come ahead of a task."""
    activate = given.activate
    known: tuple[int, int, int] | None = None
    replayed = suspect = spoiled = False

    def guarded(task: WorkflowActivation) -> WorkflowActivationCompletion:
        nonlocal known, replayed, suspect, spoiled
        asked = [job.query_workflow for job in task.jobs if job.query_workflow.query_id == ON_ITS_OWN]
        if asked:
            if suspect and _ENDED not in asked[0].headers:
                raise Overtaken
            spoiled = suspect
        elif any(_tells(job) for job in task.jobs):
            now = (task.history_length, task.timestamp.ToNanoseconds(), task.history_size_bytes)
            if now != known:  # else it follows from the portion before
                if spoiled:
                    raise Overtaken
                unbegun = known is not None and now[1:] == known[1:]
                suspect = unbegun or (replayed and not task.is_replaying)
                known, replayed = now, task.is_replaying
        return activate(task)

    given.activate = guarded  # type: ignore[method-assign, assignment]
    return given


def _tells(job: WorkflowActivationJob) -> bool:
    return job.WhichOneof("variant") not in PASSIVE


def _failed(failed: BaseException) -> bool:
    """Whether a query has failed; all are taken for refusals, as the text may be encrypted."""
    if isinstance(failed, RPCError):
        return failed.status is RPCStatusCode.INVALID_ARGUMENT
    return isinstance(failed, WorkflowQueryFailedError)


@tenacity.retry(
    retry=tenacity.retry_if_exception(_failed),
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_exponential(multiplier=0.01),
    reraise=True,
)
async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again what a worker could not answer in its turn; raises as the last attempt does."""
    return await ask()


class _AskAgain(OutboundInterceptor):
    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask as often as it takes, and what has ended for its last words."""
        ask = super().query_workflow
        try:
            return await patiently(lambda: ask(input))
        except WorkflowQueryFailedError:
            found = await self.describe_workflow(
                DescribeWorkflowInput(input.id, input.run_id, input.rpc_metadata, input.rpc_timeout)
            )
            if found.status is WorkflowExecutionStatus.RUNNING:
                raise
        return await ask(replace(input, headers={**input.headers, **OF_AN_ENDED_RUN.fields}))


class AskAgain(Interceptor):
    """Gives a client patience with workers that refuse; see `instance`."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap what a client sends."""
        return _AskAgain(next)

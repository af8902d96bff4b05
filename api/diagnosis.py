"""What Temporal itself knows of work that does not go on: lists of it, activities at work, and causes.

Each list is one page, whatever there is: who asks again and again must cost the same with a million
pipelines.
"""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError

from api.rpc import OPEN, READ_WITHIN, NoSuchWorkflow, Temporal
from sluicegate import temporal
from sluicegate.lifecycle import stuck
from sluicegate.lifecycle.status import ProgramStatus, ResourcesStatus, RuntimeStatus
from sluicegate.lifecycle.stuck import Kind, Trouble

_OURS = f"ExecutionStatus = 'Running' AND TaskQueue = '{temporal.PIPELINES}'"
_PROBLEMS = "'category=WorkflowTaskFailed', 'category=WorkflowTaskTimedOut'"
FAILING = f"{_OURS} AND TemporalReportedProblems IN ({_PROBLEMS})"
"""Whose workflow task has failed several times in a row: five, which takes 52 s, unless the server is told
otherwise. The server takes them off the list with the first task that comes out well."""
_RESTING = {
    RuntimeStatus.RUNNING,
    RuntimeStatus.PAUSED,
    RuntimeStatus.STANDBY,
    RuntimeStatus.AWAITING_APPROVAL,
}
_CHANGING = [
    ResourcesStatus.PROVISIONING,
    ResourcesStatus.STOPPING,
    *(status for status in RuntimeStatus if status not in _RESTING),
]
_COMPILING = [status for status in ProgramStatus if status.in_progress]


def _in(attribute: SearchAttributeKey[str], statuses: Iterable[StrEnum]) -> str:
    return f"{attribute.name} IN ({', '.join(repr(status.value) for status in statuses)})"


UNDER_WAY = (
    f"{_OURS} AND (WorkflowType IN ('Cleanup', 'Bulk')"
    f" OR {_in(temporal.STATUS, _CHANGING)} OR {_in(temporal.PROGRAM_STATUS, _COMPILING)})"
)
"""What has an effect in flight as far as its search attributes show."""
ALL = f"{_OURS} AND WorkflowType IN ('Pipeline', 'Cleanup', 'Bulk')"
FAILS = Trouble(kind=Kind.WORKFLOW_TASK, cause="why is not known yet")
"""What is said of a task before its cause is found out."""
_TOO_FAR_BACK = Trouble(kind=Kind.WORKFLOW_TASK, cause="why is not among its newest events")
_EVENTS = 50
"""The newest events, among which the failure is found; what came since the task began to fail is above it."""


class Row(NamedTuple):
    """A workflow that was listed."""

    workflow_id: str
    run_id: str
    parent_id: str
    started: datetime
    troubles: tuple[Trouble, ...] | None
    """What its record knows; None where it has none."""


class Diagnosis:
    """Asks Temporal, each time once."""

    def __init__(self, client: Client, rpc: Temporal) -> None:
        """Ask through the given client and calls."""
        self._service = client.workflow_service
        self._namespace = client.namespace
        self._converter = client.data_converter
        self._rpc = rpc

    async def page(self, query: str, token: bytes = b"") -> tuple[list[Row], bytes]:
        """List what a query finds, a page at most, and the token of the next. Raises TemporalUnavailable."""
        answer = await self._rpc.page(query, token)
        return [await self._row(info) for info in answer.executions], answer.next_page_token

    async def look(self, workflow_id: str) -> Row | None:
        """Look at one, its activities included where it has no record; None where it has ended."""
        request = DescribeWorkflowExecutionRequest(
            namespace=self._namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            answer = await self._rpc.patiently(
                lambda left: self._service.describe_workflow_execution(request, timeout=left), READ_WITHIN
            )
        except NoSuchWorkflow:
            return None
        row = await self._row(answer.workflow_execution_info)
        if answer.workflow_execution_info.status not in OPEN:
            return None
        if row.troubles is None:
            row = row._replace(troubles=tuple([t async for t in self._activities(answer.pending_activities)]))
        return row

    async def _row(self, info: WorkflowExecutionInfo) -> Row:
        troubles = None
        if temporal.MEMO in info.memo.fields:
            troubles = stuck.read(await self._rpc.memo(info.memo.fields[temporal.MEMO]))
        return Row(
            workflow_id=info.execution.workflow_id,
            run_id=info.execution.run_id,
            parent_id=info.parent_execution.workflow_id,
            started=info.start_time.ToDatetime(tzinfo=UTC),
            troubles=troubles,
        )

    async def _activities(self, pending: Iterable[PendingActivityInfo]) -> AsyncIterator[Trouble]:
        for activity in pending:
            failure = activity.last_failure
            kind = stuck.judged(activity.attempt, late=_heartbeat_late(failure))
            if kind is not None:
                said = await self._said(failure)
                cause = stuck.worded(activity.activity_type.name, activity.attempt, said)
                yield Trouble(kind=kind, cause=cause)

    async def cause(self, row: Row) -> Trouble:
        """Find out why a workflow fails its task: the first failure in a row is in its history."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._namespace,
            execution=WorkflowExecution(workflow_id=row.workflow_id, run_id=row.run_id),
            maximum_page_size=_EVENTS,
        )
        try:
            answer = await self._rpc.patiently(
                lambda left: self._service.get_workflow_execution_history_reverse(request, timeout=left),
                READ_WITHIN,
            )
        except NoSuchWorkflow:  # it has ended since it was listed
            return FAILS
        for event in answer.history.events:
            said = None
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                said = await self._said(event.workflow_task_failed_event_attributes.failure)
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                said = "no worker has finished it in time"
            if said is not None:
                since = event.event_time.ToDatetime(tzinfo=UTC)
                return Trouble(kind=Kind.WORKFLOW_TASK, cause=stuck.shortened(said), since=since)
        return _TOO_FAR_BACK

    async def _said(self, failure: Failure) -> str:
        """What a failure says, decrypted where it has to be; the innermost cause says most."""
        error: BaseException = await self._converter.decode_failure(failure)
        while isinstance(error, FailureError) and error.cause is not None:
            error = error.cause
        return str(error) or type(error).__name__


def _heartbeat_late(failure: Failure) -> bool:
    late = failure.timeout_failure_info.timeout_type == TimeoutType.TIMEOUT_TYPE_HEARTBEAT
    return failure.HasField("timeout_failure_info") and late

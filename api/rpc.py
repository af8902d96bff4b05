"""The calls of Temporal that the front end makes, each bounded in time and in what it may raise.

They go to the raw service where the client's own method would be in the way: a signal needs its request id,
a query must not be retried with the client's back-off of seconds, an update must end with its deadline. A
server that is away is `TemporalUnavailable`, within seconds; a passing trouble is waited out before.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import (
    QueryRejectCondition,
    TaskQueueType,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowExecutionStatus,
)
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Outcome, WaitPolicy
from temporalio.api.update.v1 import Request as UpdateRequest
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeScheduleRequest,
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    QueryWorkflowRequest,
    SignalWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from sluicegate import errors, overtaking, temporal
from sluicegate.errors import Refusal
from sluicegate.lifecycle.state import State
from workflows.pipeline import PipelineWorkflow

T = TypeVar("T")

READ_WITHIN = 2.0
WRITE_WITHIN = 4.0
"""Seconds; no call hangs past five, of which the rest belongs to what surrounds it."""
_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_PAGE = 1000

_PASSING = {
    RPCStatusCode.UNAVAILABLE,  # a server that restarts
    RPCStatusCode.RESOURCE_EXHAUSTED,  # a rate limit, or a workflow about to begin a new history
    RPCStatusCode.FAILED_PRECONDITION,  # an update whose workflow task met another event, and is done again
}
"""Soon over."""
_LATE = {RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED}
"""Both stand for an expired deadline."""
OPEN = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
}
"""The second is a run whose successor was not yet to be seen."""
_NOT_CONNECTED = "Failed client connect"
"""How the RuntimeError of a lazy client begins that could not connect."""
_RESENT = {"UnprocessedUpdate", "AcceptedUpdateCompletedWorkflow"}
"""The update met the end of a history and was not handled; the next one takes it."""


class Run(Enum):
    """Of which workflows an answer is wanted."""

    OPEN = "those that are open"
    ANY = "open or not"
    ENDED = "those that were seen to have ended"


class NoSuchWorkflow(Exception):
    """No open workflow has this id."""


class AlreadyThere(Exception):
    """An open workflow has this id."""


class BufferFull(Exception):
    """The server holds as many queries for this workflow as it will."""


class Unanswered(Exception):
    """No worker has answered the query."""


class Late(Unanswered):
    """No worker has answered the query in time."""


class Updated(NamedTuple):
    """What an update has answered, and the run that did."""

    answer: Any
    run_id: str


class Temporal:
    """Temporal as the front end sees it."""

    def __init__(self, client: Client) -> None:
        """Call through a client, which may be lazy."""
        self._client = client
        self._service = client.workflow_service
        self._namespace = client.namespace
        self._identity = client.service_client.config.identity

    @property
    def codec(self) -> PayloadCodec | None:
        """What encrypts payloads, if anything does."""
        return self._client.data_converter.payload_codec

    async def ping(self) -> None:
        """Return when the server answers. Raises TemporalUnavailable."""
        await self.patiently(
            lambda left: self._client.service_client.check_health(timeout=left), READ_WITHIN / 2
        )

    async def start(self, state: State) -> None:
        """Start the workflow of a new pipeline. Raises AlreadyThere."""
        p = state.pipeline

        async def call(left: timedelta) -> None:
            await self._client.start_workflow(
                PipelineWorkflow.run,
                state.encoded(),
                id=temporal.pipeline_workflow_id(p.tenant_id, p.name),
                task_queue=temporal.PIPELINES,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo={temporal.MEMO: state.projection()},
                search_attributes=TypedSearchAttributes(temporal.search_attributes(p)),
                static_summary=p.name,
                rpc_timeout=left,
            )

        try:
            await self.patiently(call, WRITE_WITHIN)
        except WorkflowAlreadyStartedError as taken:
            raise AlreadyThere from taken

    async def ensure(
        self, kind: str, workflow_id: str, encoded: dict[str, Any], memo: dict[str, Any]
    ) -> None:
        """Start the workflow of directory or tenant unless it is there."""

        async def call(left: timedelta) -> None:
            await self._client.start_workflow(
                kind,
                encoded,
                id=workflow_id,
                task_queue=temporal.PIPELINES,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo={temporal.ACCESS_MEMO: memo},
                rpc_timeout=left,
            )

        await self.patiently(call, WRITE_WITHIN)

    async def begin(self, kind: str, workflow_id: str, encoded: dict[str, Any], summary: str) -> None:
        """Start a workflow whose id was never used before. Raises AlreadyThere."""

        async def call(left: timedelta) -> None:
            await self._client.start_workflow(
                kind,
                encoded,
                id=workflow_id,
                task_queue=temporal.PIPELINES,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=summary,
                rpc_timeout=left,
            )

        try:
            await self.patiently(call, WRITE_WITHIN)
        except WorkflowAlreadyStartedError as taken:
            raise AlreadyThere from taken

    async def signal(self, workflow_id: str, name: str, message: dict[str, Any], request_id: str) -> None:
        """Send a signal, once however often it is repeated; when this returns it is durable.

        Raises NoSuchWorkflow.
        """
        request = SignalWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name=name,
            input=await self._encoded(message),
            identity=self._identity,
            request_id=request_id,
        )
        await self.patiently(
            lambda left: self._service.signal_workflow_execution(request, timeout=left), WRITE_WITHIN
        )

    async def query(
        self, workflow_id: str, name: str, *arguments: Any, within: float, run: Run = Run.OPEN
    ) -> Any:
        """Ask a workflow once.

        Raises NoSuchWorkflow, BufferFull, Unanswered.
        """
        query = WorkflowQuery(
            query_type=name,
            query_args=await self._encoded(*arguments),
            header=overtaking.OF_AN_ENDED_RUN if run is Run.ENDED else None,
        )
        request = QueryWorkflowRequest(
            namespace=self._namespace,
            execution=WorkflowExecution(workflow_id=workflow_id),
            query=query,
            query_reject_condition=(
                QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN
                if run is Run.OPEN
                else QueryRejectCondition.QUERY_REJECT_CONDITION_NONE
            ),
        )
        try:
            async with asyncio.timeout(within):
                answer = await overtaking.patiently(
                    lambda: self._service.query_workflow(request, timeout=timedelta(seconds=within))
                )
        except RPCError as error:
            if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
                raise BufferFull from error
            if _no_such_workflow(error):
                raise NoSuchWorkflow from error
            raise (Late if error.status in _LATE else Unanswered)(error.message) from error
        except TimeoutError:
            raise Late(f"No answer came within {within:g} s.") from None
        except RuntimeError as problem:
            raise Unanswered(str(problem)) from problem
        if answer.HasField("query_rejected"):
            if answer.query_rejected.status in OPEN:
                raise Late("The workflow is beginning a new history.")
            raise NoSuchWorkflow
        [value] = await self._client.data_converter.decode(answer.query_result.payloads)
        return value

    async def update(
        self, workflow_id: str, name: str, argument: Any, *, update_id: str, within: float
    ) -> Updated:
        """Run an update to its end. Raises NoSuchWorkflow, the refusal of the workflow, or OutcomeUnknown
        where nobody has said in time."""
        request = UpdateWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            wait_policy=WaitPolicy(
                lifecycle_stage=UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
            ),
            request=UpdateRequest(
                meta=Meta(update_id=update_id, identity=self._identity),
                input=Input(name=name, args=await self._encoded(argument)),
            ),
        )

        async def call(left: timedelta) -> Updated:
            while True:  # until the outcome is there; the caller's deadline ends it
                answer = await self._service.update_workflow_execution(request, timeout=left)
                if answer.HasField("outcome") and not await self._resendable(answer.outcome):
                    run = answer.update_ref.workflow_execution
                    return Updated(await self._result(answer.outcome), run.run_id)
                await asyncio.sleep(_PAUSE)

        return await self.patiently(call, within, late=errors.OutcomeUnknown())

    async def close(self, workflow_id: str, run_id: str) -> None:
        """Make sure that a run which has said its last word is closed: each message that arrives in its last
        task undoes that."""
        run = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        with suppress(NoSuchWorkflow):  # it has closed by itself, as a rule
            await self.patiently(lambda left: run.terminate("closed", rpc_timeout=left), WRITE_WITHIN)

    async def _resendable(self, outcome: Outcome) -> bool:
        return outcome.HasField("failure") and outcome.failure.application_failure_info.type in _RESENT

    async def _result(self, outcome: Outcome) -> Any:
        converter = self._client.data_converter
        if outcome.HasField("failure"):
            raise _refusal(await converter.decode_failure(outcome.failure))
        values = await converter.decode(outcome.success.payloads)
        return values[0] if values else None

    async def describe(
        self, workflow_id: str, memo: str = temporal.MEMO, within: float = READ_WITHIN
    ) -> dict[str, Any]:
        """Read the memo of an open workflow, without any worker. Raises NoSuchWorkflow."""
        info = await self._info(workflow_id, within)
        closed = info.status not in OPEN
        if closed or memo not in info.memo.fields:
            raise NoSuchWorkflow
        return await self.memo(info.memo.fields[memo])

    async def _info(self, workflow_id: str, within: float) -> WorkflowExecutionInfo:
        request = DescribeWorkflowExecutionRequest(
            namespace=self._namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        answer = await self.patiently(
            lambda left: self._service.describe_workflow_execution(request, timeout=left), within
        )
        return answer.workflow_execution_info

    async def closed(self, workflow_id: str) -> tuple[datetime, bool] | None:
        """When the last workflow of an id was closed, and whether by force; None where there was none. Raises
        AlreadyThere where it is open."""
        try:
            info = await self._info(workflow_id, READ_WITHIN)
        except NoSuchWorkflow:
            return None
        if info.status in OPEN:
            raise AlreadyThere
        forced = info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
        return info.close_time.ToDatetime(tzinfo=UTC), forced

    async def memos(self, query: str) -> AsyncIterator[tuple[str, Payload]]:
        """Read ids and memos, which `memo` decodes, of all workflows that visibility finds."""
        page = await self.page(query, b"")
        while True:
            for info in page.executions:
                if temporal.MEMO in info.memo.fields:
                    yield info.execution.workflow_id, info.memo.fields[temporal.MEMO]
            if not page.next_page_token:
                return
            page = await self.page(query, page.next_page_token)

    async def page(self, query: str, token: bytes) -> ListWorkflowExecutionsResponse:
        """Read a page of what visibility finds."""
        request = ListWorkflowExecutionsRequest(
            namespace=self._namespace, query=query, page_size=_PAGE, next_page_token=token
        )
        return await self.patiently(
            lambda left: self._service.list_workflow_executions(request, timeout=left), WRITE_WITHIN
        )

    async def last_poll(self, queue: str, kind: "TaskQueueType.ValueType") -> datetime | None:
        """When a worker last asked for tasks of a queue; None where none has in the last minutes."""
        request = DescribeTaskQueueRequest(
            namespace=self._namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
        answer = await self.patiently(
            lambda left: self._service.describe_task_queue(request, timeout=left), READ_WITHIN
        )
        polls = [poller.last_access_time.ToDatetime(tzinfo=UTC) for poller in answer.pollers]
        return max(polls, default=None)

    async def schedule_times(self, schedule_id: str) -> list[datetime]:
        """When a schedule is due next. Raises NoSuchWorkflow where there is no such schedule."""
        request = DescribeScheduleRequest(namespace=self._namespace, schedule_id=schedule_id)
        answer = await self.patiently(
            lambda left: self._service.describe_schedule(request, timeout=left), READ_WITHIN
        )
        return [time.ToDatetime(tzinfo=UTC) for time in answer.info.future_action_times]

    async def memo(self, payload: Payload) -> dict[str, Any]:
        """Decode a memo."""
        [memo] = await self._client.data_converter.decode([payload])
        return dict(memo)

    async def _encoded(self, *values: Any) -> Payloads:
        return Payloads(payloads=await self._client.data_converter.encode(values))

    async def patiently(
        self, call: Callable[[timedelta], Awaitable[T]], within: float, late: Refusal | None = None
    ) -> T:
        """Repeat a call while its trouble may pass; past the deadline raise `late` or TemporalUnavailable."""
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + within, _PAUSE
        late = late or errors.TemporalUnavailable(error=f"No answer came within {within:g} s.")
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await call(timedelta(seconds=max(deadline - clock(), 0.001)))
            except TimeoutError:
                raise late from None
            except (RPCError, RuntimeError) as trouble:
                _may_pass(trouble, late)
                if clock() + pause > deadline:
                    raise (_unavailable(trouble) if _away(trouble) else late) from trouble
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)


def _may_pass(trouble: RPCError | RuntimeError, late: Refusal) -> None:
    """Raise what a trouble means unless it may pass."""
    if not isinstance(trouble, RPCError):
        if not str(trouble).startswith(_NOT_CONNECTED):
            raise trouble
    elif trouble.status in _LATE:
        raise late from trouble
    elif _no_such_workflow(trouble):
        raise NoSuchWorkflow from trouble
    elif trouble.status not in _PASSING:
        raise _unavailable(trouble) from trouble


def _away(trouble: RPCError | RuntimeError) -> bool:
    """Whether it is the server that is missing, not an answer."""
    return not isinstance(trouble, RPCError) or trouble.status is RPCStatusCode.UNAVAILABLE


def _no_such_workflow(error: RPCError) -> bool:
    """A missing namespace is not a missing pipeline."""
    namespace = any("NamespaceNotFound" in detail.type_url for detail in error.grpc_status.details)
    return error.status is RPCStatusCode.NOT_FOUND and not namespace


def _unavailable(trouble: Exception) -> Refusal:
    return errors.TemporalUnavailable(error=str(trouble))


def _refusal(failure: BaseException) -> Refusal:
    """The refusal that an update failed with."""
    code = failure.type if isinstance(failure, ApplicationError) and failure.type else type(failure).__name__
    details = failure.details if isinstance(failure, ApplicationError) else ()
    given = details[0] if details and isinstance(details[0], dict) else {}
    return errors.refusal(code, given)

"""A host in memory that does what a host does, and pipelines of a test's own on a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.bulk import Bulks
from activities.schedules import Schedules
from sluicegate import config, errors, temporal
from sluicegate.lifecycle import commands, edits, ids, record
from sluicegate.lifecycle.effects import (
    Addressed,
    ApproveRequest,
    CompileOutcome,
    Deployment,
    Failure,
    Host,
    Observation,
    Observed,
    ProgramText,
    Provisioned,
    SteerRequest,
    WatchRequest,
)
from sluicegate.lifecycle.journal import Cause
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.state import Ask, State
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Packed
from worker import WORKFLOWS
from workflows.pipeline import PipelineWorkflow

GOOD = CompileOutcome(
    program_version=1,
    sql_compilation={"exit_code": 0, "messages": []},
    rust_compilation={"exit_code": 0, "stdout": "", "stderr": ""},
    program_info=Packed.of_json({"schema": {"inputs": [], "outputs": []}}),
    plan=Packed.of_json({}),
)


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Script:
    """How the fake host behaves towards one pipeline; gates hold an effect until they are set."""

    compile_gate: asyncio.Event = field(default_factory=_open)
    provision_gate: asyncio.Event = field(default_factory=_open)
    steer_gate: asyncio.Event = field(default_factory=_open)
    outcome: CompileOutcome = GOOD
    provision_error: ApplicationError | None = None
    deprovision_failures: int = 0
    live: set[int] = field(default_factory=set)
    """Generations that have a process."""
    fenced: int = 0
    deployments: list[Deployment] = field(default_factory=list)
    removed: bool = False
    asks: bool = False
    """Its processes wait for approval."""
    said: Observation | None = None
    look: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0

    approvals: list[ApproveRequest] = field(default_factory=list)
    steered: list[SteerRequest] = field(default_factory=list)

    @property
    def provisioned(self) -> int:
        """How often a process was asked for."""
        return len(self.deployments)

    def say(self, status: RuntimeStatus, desired: RuntimeDesired, fatal: Failure | None = None) -> None:
        """Let the process say something new."""
        self.said = Observation(runtime_status=status, runtime_desired_status=desired, fatal=fatal)
        self.look.set()


class FakeHost:
    """Activities with the names and promises of the real ones."""

    def __init__(self, client: Client) -> None:
        """Signal through the given client."""
        self.host = Host(host_id="fake", logs_address="127.0.0.1:9")
        self._client = client
        self.scripts: dict[str, Script] = {}

    @activity.defn(name="compile")
    async def compile(self, program: ProgramText) -> CompileOutcome:
        """Give the scripted outcome."""
        script = self.scripts[program.pipeline_id]
        await script.compile_gate.wait()
        return script.outcome.model_copy(update={"program_version": program.program_version})

    @activity.defn(name="bind")
    async def bind(self, pipeline: Addressed) -> Host:
        """Be the host."""
        return self.host

    @activity.defn(name="provision")
    async def provision(self, deployment: Deployment) -> Provisioned:
        """Have a process at once."""
        script = self.scripts[deployment.pipeline_id]
        script.deployments.append(deployment)
        await script.provision_gate.wait()
        if script.provision_error:
            raise script.provision_error
        if script.fenced >= deployment.generation:
            raise ApplicationError("fenced", type="ProvisionRejected", non_retryable=True)
        script.live.add(deployment.generation)
        awaiting = script.asks and RuntimeStatus.AWAITING_APPROVAL
        script.said = Observation(
            runtime_status=awaiting or RuntimeStatus(deployment.initial.value),
            runtime_desired_status=RuntimeDesired(deployment.initial.value),
        )
        return Provisioned(location="127.0.0.1:9", observation=script.said)

    @activity.defn(name="watch")
    async def watch(self, request: WatchRequest) -> Observation:
        """Signal what the process says."""
        script, known, sequence = self.scripts[request.pipeline_id], request.baseline, 0
        script.watches += 1
        while True:
            said = script.said or known
            if said.fatal:
                return said
            if said != known:
                sequence += 1
                news = Observed(
                    generation=request.generation, epoch=request.epoch, sequence=sequence, observation=said
                )
                await self._client.get_workflow_handle(request.workflow_id).signal("observed", news)
                known = said
            activity.heartbeat()
            await script.look.wait()
            script.look.clear()

    @activity.defn(name="steer")
    async def steer(self, request: SteerRequest) -> None:
        """Have the process do what it is told."""
        script = self.scripts[request.pipeline_id]
        await script.steer_gate.wait()
        script.steered.append(request)
        script.say(RuntimeStatus(request.desired.value), request.desired)

    @activity.defn(name="approve")
    async def approve(self, request: ApproveRequest) -> None:
        """Have a process that awaits approval go on."""
        script = self.scripts[request.pipeline_id]
        script.approvals.append(request)
        if script.said and script.said.runtime_status is RuntimeStatus.AWAITING_APPROVAL:
            desired = script.said.runtime_desired_status
            script.say(RuntimeStatus(desired.value), desired)

    @activity.defn(name="deprovision")
    async def deprovision(self, deployment: Addressed) -> None:
        """Fence, then have no process."""
        script = self.scripts[deployment.pipeline_id]
        if script.deprovision_failures:
            script.deprovision_failures -= 1
            raise ApplicationError("the disk is full", non_retryable=True)
        script.fenced = max(script.fenced, deployment.generation)
        script.live -= set(range(deployment.generation + 1))

    @activity.defn(name="clear_storage")
    async def clear_storage(self, deployment: Addressed) -> None:
        """There is none."""

    @activity.defn(name="remove")
    async def remove(self, deployment: Addressed) -> None:
        """Note that it was asked for."""
        self.scripts[deployment.pipeline_id].removed = True


class Subject:
    """One pipeline under test."""

    def __init__(self, client: Client, p: Pipeline, script: Script) -> None:
        """Speak to the pipeline's workflow."""
        self.client = client
        self.id = p.id
        self.tenant_id = p.tenant_id
        self.script = script
        self.handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(
            temporal.pipeline_workflow_id(p.tenant_id, p.name)
        )

    async def tell(self, verb_name: str, request_id: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a verb and return its receipt."""
        request_id = request_id or str(uuid4())
        verb = commands.VERBS[verb_name].model_validate(arguments)
        message = commands.message(verb_name, verb, request_id=request_id, actor="tester")
        await self.handle.signal(verb_name, message)
        [receipt] = (await self.ask(request_id))["receipts"]
        return dict(receipt)

    async def ask(self, *request_ids: str) -> dict[str, Any]:
        """Query the status."""
        answer: dict[str, Any] = await self.handle.query(
            "status", Ask(receipts=request_ids), result_type=dict
        )
        return answer

    async def status(self) -> str:
        """The deployment status."""
        return str((await self.ask())["status"]["deployment_status"])

    async def descriptor(self) -> dict[str, Any]:
        """Query the whole pipeline."""
        answer: dict[str, Any] = await self.handle.query("descriptor", result_type=dict)
        return dict(Packed(zlib64=answer["all"]).json_value)

    async def events(self) -> list[dict[str, Any]]:
        """Query the transitions, newest first."""
        return list((await self.handle.query("events", result_type=Packed)).json_value)

    async def memo(self) -> dict[str, Any]:
        """Read the projection without any worker."""
        memo: dict[str, Any] = await (await self.handle.describe()).memo_value(temporal.MEMO, type_hint=dict)
        return dict(Packed(zlib64=memo["packed"]).json_value)

    async def edit(self, **changes: Any) -> dict[str, Any]:
        """Send an edit and return the pipeline. Raises Refusal."""
        request_id = changes.pop("request_id", str(uuid4()))
        edit = edits.Edit(request_id=request_id, actor="tester", platform_version="1", **changes)
        return dict(Packed.model_validate(await self._update("edit", edit)).json_value)

    async def delete(self) -> None:
        """Delete the pipeline. Raises Refusal."""
        await self._update("delete", edits.Removal(request_id=str(uuid4()), actor="tester"))

    async def _update(self, name: str, argument: edits.Edit | edits.Removal) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] | None = await self.handle.execute_update(
                name, argument, id=argument.request_id
            )
        except WorkflowUpdateFailedError as failed:
            cause = failed.cause
            assert isinstance(cause, ApplicationError)
            raise errors.refusal(cause.type or "", cause.details[0]) from failed
        return answer


Create = Callable[..., Awaitable[Subject]]


@asynccontextmanager
async def _serving(client: Client, scripts: dict[str, Script]) -> AsyncIterator[FakeHost]:
    host = FakeHost(client)
    host.scripts = scripts
    steering: list[Callable[..., Any]] = [host.provision, host.steer, host.approve, host.deprovision]
    removing: list[Callable[..., Any]] = [host.clear_storage, host.remove]
    async with AsyncExitStack() as workers:
        queues: dict[str, list[Callable[..., Any]]] = {
            temporal.EFFECTS: [host.compile, host.bind, Schedules(client).place],
            temporal.host_queue(temporal.EFFECTS, "fake"): steering + removing,
            temporal.host_queue(temporal.WATCH, "fake"): [host.watch],
            temporal.WATCH: [Bulks(client).settle],
        }
        for queue, activities in queues.items():
            worker = Worker(client, task_queue=queue, activities=activities, max_concurrent_activities=500)
            await workers.enter_async_context(worker)
        yield host


@asynccontextmanager
async def _deciding(client: Client) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue=temporal.PIPELINES,
        workflows=WORKFLOWS,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    ):
        yield


@pytest.fixture(scope="module")
async def fake_host(temporal_server: WorkflowEnvironment) -> AsyncIterator[FakeHost]:
    """A worker whose host is the fake one."""
    async with _serving(temporal_server.client, {}) as host:
        yield host


@pytest.fixture(scope="module")
async def decider(temporal_server: WorkflowEnvironment) -> AsyncIterator[None]:
    """A worker that decides for pipelines."""
    async with _deciding(temporal_server.client):
        yield


@pytest.fixture(scope="session")
def working() -> Callable[[Client, dict[str, Script]], Any]:
    """A context in which both workers run for a client, their host having processes already."""

    @asynccontextmanager
    async def run(client: Client, scripts: dict[str, Script]) -> AsyncIterator[None]:
        async with _serving(client, scripts), _deciding(client):
            yield

    return run


@pytest.fixture
async def create(
    temporal_server: WorkflowEnvironment, fake_host: FakeHost, decider: None
) -> AsyncIterator[Create]:
    """Make pipelines of a tenant of this test alone; they are ended with the test."""
    tenant_id = str(uuid4())
    made: list[Subject] = []

    async def make(
        name: str = "p", script: Script | None = None, altered: dict[str, Any] | None = None, **given: Any
    ) -> Subject:
        now, queue = datetime.now(UTC), given.pop("task_queue", temporal.PIPELINES)
        descriptor = {
            "name": name,
            "runtime_config": config.runtime_config(given.pop("runtime_config", None)),
            "program_config": config.program_config(None),
            "texts": Packed.of_json({"program_code": "", "udf_rust": "", "udf_toml": ""}),
        } | given
        p = record.created(
            tenant_id=tenant_id,
            pipeline_id=ids.uuid7(now, str(uuid4())),
            at=now,
            platform_version="1",
            descriptor=descriptor,
        ).but(**(altered or {}))
        fake_host.scripts[p.id] = script or Script()
        state = State.new(p, now, Cause(actor="tester", request_id=f"create-{p.id}"), "create")
        await temporal_server.client.start_workflow(
            PipelineWorkflow.run,
            state.encoded(),
            id=temporal.pipeline_workflow_id(tenant_id, name),
            task_queue=queue,
            memo={temporal.MEMO: state.projection()},
            search_attributes=TypedSearchAttributes(temporal.search_attributes(p)),
            static_summary=name,
        )
        made.append(Subject(temporal_server.client, p, fake_host.scripts[p.id]))
        return made[-1]

    yield make
    async for found in temporal_server.client.list_workflows(
        f'PipelineTenant="{tenant_id}" AND ExecutionStatus="Running"'
    ):
        try:
            await temporal_server.client.get_workflow_handle(found.id).terminate("the test is over")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended by itself since it was listed
                raise


@pytest.fixture
async def running(create: Create, eventually: Callable[..., Awaitable[object]]) -> Subject:
    """A pipeline that runs."""
    subject = await create()
    assert (await subject.tell("start"))["code"] is None

    async def runs() -> bool:
        return await subject.status() == "Running"

    await eventually(runs)
    return subject


@pytest.fixture(scope="session")
def script() -> type[Script]:
    """See `Script`."""
    return Script

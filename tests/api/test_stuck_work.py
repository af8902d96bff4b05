"""Work that really is stuck, on a real server: found with its name and cause, told to whom it belongs, and
gone when it goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from api import stuck as searching
from api.app import create_app
from sluicegate import temporal
from sluicegate.access import keys
from sluicegate.access.entries import ApiKey
from sluicegate.access.roles import Role
from sluicegate.access.tenant import AddKey
from sluicegate.lifecycle import transitions
from sluicegate.lifecycle.effects import Addressed, Deployment, Provisioned
from sluicegate.lifecycle.status import RuntimeDesired
from sluicegate.settings import Settings
from tests.api.conftest import Eventually, FakeHost, Pipeline, working
from tests.conftest import TEMPORAL, dynamic_config
from worker import WORKFLOWS
from workflows.pipeline import PipelineWorkflow

SOON = {
    **temporal.DEV_SERVER_CONFIG,
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute": "2",
}
"""Two failures take ten seconds, the five of a stock server a minute; and timers are on time."""
PATIENCE = 90.0


@pytest.fixture(scope="module")
async def server(private_home: Any) -> AsyncIterator[WorkflowEnvironment]:
    """A server that reports a workflow task at its second failure."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=TEMPORAL,
        plugins=[temporal.PLUGIN],
        search_attributes=list(temporal.SEARCH_ATTRIBUTES),
        dev_server_log_level="error",
        dev_server_extra_args=dynamic_config(SOON),
    ) as environment:
        yield environment


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often; nothing counts as new."""
    monkeypatch.setattr(searching, "LOOK_EVERY", 0.3)
    monkeypatch.setattr(searching, "NEW_FOR", timedelta(0))


async def told(http: httpx.AsyncClient, credential: str | None = None) -> str:
    """What a runner that is well says; its keys are exact."""
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    answer = await http.get("/v0/cluster_healthz", headers=headers)
    shown = answer.json()
    assert (answer.status_code, shown["all_healthy"]) == (200, True)
    assert set(shown) == {"all_healthy", "api", "compiler", "runner"}
    assert set(shown["runner"]) == {"healthy", "message", "unchanged_since", "checked_at"}
    return str(shown["runner"]["message"])


async def measured(http: httpx.AsyncClient, credential: str | None = None) -> list[dict[str, str]]:
    """The labels of all that is measured as stuck."""
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    text = (await http.get("/v0/metrics", headers=headers)).text
    [family] = [f for f in text_string_to_metric_families(text) if f.name == "sluicegate_stuck"]
    return [sample.labels for sample in family.samples]


# A workflow task that fails


@workflow.defn(name="Pipeline", sandboxed=False)
class Poisoned(PipelineWorkflow):
    """A build that no pipeline gets on with."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        super().__init__(encoded)

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        raise RuntimeError("this build cannot read its state")


@asynccontextmanager
async def deciding(client: Client, pipelines: type) -> AsyncIterator[None]:
    """A worker that decides, with the given code for pipelines, and one that compiles."""
    workflows = [pipelines, *(one for one in WORKFLOWS if one is not PipelineWorkflow)]
    compiler = FakeHost(client, "").compile
    async with (
        Worker(client, task_queue=temporal.PIPELINES, workflows=workflows),
        Worker(client, task_queue=temporal.EFFECTS, activities=[compiler]),
    ):
        yield


class Tenants:
    """A front end with two tenants and an owner."""

    http: httpx.AsyncClient
    app: Any
    names: list[str]
    afflicted: str
    other: str

    async def events(self, credential: str) -> list[dict[str, Any]]:
        """All events that somebody sees, whole, newest first."""
        headers = {"Authorization": f"Bearer {credential}"}
        brief = (await self.http.get("/v0/cluster/events", headers=headers)).json()
        found = []
        for event in brief:
            path = f"/v0/cluster/events/{event['id']}?selector=all"
            found.append((await self.http.get(path, headers=headers)).json())
        return found

    async def looks(self, many: int, eventually: Eventually) -> None:
        """Wait until stuck work and health have been looked at so many times."""
        backend = self.app.state.backend
        for _ in range(many):
            before = backend.stuck_work.looked_at
            await backend.health.look()

            async def again(before: Any = before) -> bool:
                return bool(backend.stuck_work.looked_at != before)

            await eventually(again)


async def _member(access: Any) -> str:
    tenant = (await access.found(f"t-{uuid4().hex}", "manual"))[0].id
    key_id = str(uuid4())
    text = keys.mint(tenant, key_id, uuid4().bytes * 4)
    await access.change(
        tenant, AddKey(key=ApiKey(id=key_id, name="k", role=Role.WRITE, sha256=keys.digest(text)))
    )
    return text


@pytest.fixture
async def tenants(server: WorkflowEnvironment, tmp_path: Any) -> AsyncIterator[Tenants]:
    """See `Tenants`."""
    made = Tenants()
    settings = Settings(home=tmp_path, api_keys="operator", owner_keys="owner")
    made.app = create_app(settings, server.client)
    async with (
        made.app.router.lifespan_context(made.app),
        httpx.AsyncClient(transport=httpx.ASGITransport(made.app), base_url="http://localhost") as made.http,
    ):
        async with deciding(server.client, PipelineWorkflow):
            access = made.app.state.backend.access
            made.afflicted, made.other = await _member(access), await _member(access)
        yield made


async def _created(tenants: Tenants, many: int) -> list[str]:
    names = [f"poisoned-{number}" for number in range(many)]
    for name in names:
        answer = await tenants.http.post(
            "/v0/pipelines",
            json={"name": name, "program_code": ""},
            headers={"Authorization": f"Bearer {tenants.afflicted}"},
        )
        assert answer.status_code == 201, answer.text
    return names


@pytest.mark.timeout(300)
async def test_a_failing_workflow_task(
    tenants: Tenants, server: WorkflowEnvironment, eventually: Eventually
) -> None:
    http = tenants.http
    async with deciding(server.client, Poisoned):
        names = await _created(tenants, 7)

        async def found() -> str | None:
            message = await told(http, tenants.afflicted)
            return message if "7 stuck" in message and "not known yet" not in message else None

        message = await eventually(found, within=PATIENCE)
        assert [name in message for name in names] == [True] * 5 + [False] * 2
        assert "its workflow task fails since" in message
        assert "this build cannot read its state" in message
        assert message.endswith("; and 2 more.")
        await eventually(lambda: _only_the_tenant_and_owners_know(tenants, names))
        await _one_event_however_often_it_is_looked_at(tenants, eventually)
    async with deciding(server.client, PipelineWorkflow):

        async def gone() -> bool:
            return "stuck" not in await told(http, "owner") and not await measured(http, "owner")

        await eventually(gone, within=PATIENCE)
        await tenants.looks(2, eventually)

        async def noted() -> bool:
            return (await tenants.events("owner"))[0]["runner_resources_info"] is None

        await eventually(noted)


async def _only_the_tenant_and_owners_know(tenants: Tenants, names: list[str]) -> bool:
    http = tenants.http
    by_owner = await told(http, "owner")
    assert "7 stuck: poisoned-0 of tenant " in by_owner
    assert {labels["pipeline"] for labels in await measured(http, "owner")} == set(names)
    mine = await measured(http, tenants.afflicted)
    assert {labels["pipeline"] for labels in mine} == set(names)
    assert {(labels["kind"], labels["tenant"]) for labels in mine} == {("workflow_task", "")}
    assert all("this build cannot read its state" in labels["cause"] for labels in mine)
    for stranger in ("operator", tenants.other):
        assert "stuck" not in await told(http, stranger)
        assert await measured(http, stranger) == []
    return True


async def _one_event_however_often_it_is_looked_at(tenants: Tenants, eventually: Eventually) -> None:
    async def noted() -> bool:
        return "7 stuck" in ((await tenants.events("owner"))[0]["runner_resources_info"] or "")

    await eventually(noted)
    before = await tenants.events("owner")
    await tenants.looks(4, eventually)
    assert changes(await tenants.events("owner")) == changes(before)
    assert changes(await tenants.events(tenants.afflicted))[0].startswith("7 stuck")
    for stranger in ("operator", tenants.other):
        seen = await tenants.events(stranger)
        assert changes(seen) == [""]
        hidden = {event["id"] for event in before} - {event["id"] for event in seen}
        path = f"/v0/cluster/events/{hidden.pop()}"
        answer = await tenants.http.get(path, headers={"Authorization": f"Bearer {stranger}"})
        assert answer.json()["error_code"] == "UnknownClusterMonitorEvent"


def changes(events: list[dict[str, Any]]) -> list[str]:
    """What is told of stuck work, however often one after the other; newest first."""
    return [said for said, _ in groupby(event["runner_resources_info"] or "" for event in events)]


# Effects that fail, or say nothing


class Troubled(FakeHost):
    """A host on which some effects fail until they are mended, or say nothing at first."""

    def __init__(self, client: Client, address: str) -> None:
        """Have all well."""
        super().__init__(client, address)
        self.broken: set[str] = set()
        self.failures = 0
        self.silent = False
        self.go_on = asyncio.Event()

    def _do(self, effect: str) -> None:
        if effect in self.broken:
            self.failures += 1
            raise ApplicationError("the disk is full", next_retry_delay=timedelta(milliseconds=20))

    @activity.defn(name="provision")
    async def provision(self, deployment: Deployment) -> Provisioned:
        """Say nothing at first; then beat, and have a process when it may go on."""
        if self.silent:
            self.silent = False
            await asyncio.Event().wait()
        while not self.go_on.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.5)
        self._wanted[deployment.pipeline_id] = RuntimeDesired(deployment.initial.value)
        return Provisioned(location=self._address, observation=self._look(deployment))

    @activity.defn(name="deprovision")
    async def deprovision(self, deployment: Addressed) -> None:
        """End it, unless that is broken."""
        self._do("deprovision")

    @activity.defn(name="clear_storage")
    async def clear_storage(self, deployment: Addressed) -> None:
        """Clear it, unless that is broken."""
        self._do("clear_storage")

    @activity.defn(name="remove")
    async def remove(self, deployment: Addressed) -> None:
        """Remove it, unless that is broken."""
        self._do("remove")


@pytest.fixture
async def host(
    server: WorkflowEnvironment, api_process: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Troubled]:
    """Workers with a host that may be troubled; what fails is soon tried again."""
    monkeypatch.setattr(transitions, "_LONGEST_RETRY", timedelta(milliseconds=20))
    host = Troubled(server.client, api_process.address)
    async with working(server.client, api_process.address, host):
        yield host


@pytest.fixture
async def pipeline(
    server: WorkflowEnvironment, api_open: Any, eventually: Eventually
) -> AsyncIterator[Pipeline]:
    """A pipeline through a front end that asks nobody who they are."""
    async with api_open(server.client) as http:
        pipeline = Pipeline(http, eventually)
        await pipeline.create()
        await pipeline.reaches("Success", "program_status")
        yield pipeline


async def is_stuck(pipeline: Pipeline, *words: str) -> bool:
    """Whether it is told and measured, with such words."""
    message, labels = await told(pipeline.http), await measured(pipeline.http)
    named = [one for one in labels if pipeline.name in one["pipeline"]]
    return bool(named) and pipeline.name in message and all(word in message for word in words)


async def goes_on(pipeline: Pipeline) -> bool:
    """Whether nothing is told of it any more."""
    labels = [one["pipeline"] for one in await measured(pipeline.http)]
    return pipeline.name not in await told(pipeline.http) and pipeline.name not in "".join(labels)


@pytest.mark.timeout(180)
async def test_a_tenth_attempt(host: Troubled, pipeline: Pipeline, eventually: Eventually) -> None:
    host.go_on.set()
    await pipeline.running()
    for verb, effect, value, key in (
        ("stop?force=true", "deprovision", "Stopped", "deployment_status"),
        ("clear", "clear_storage", "Cleared", "storage_status"),
    ):
        host.broken, host.failures = {effect}, 0
        assert (await pipeline.post(verb)).status_code == 202
        words = ("an activity fails again and again since", f"{effect}, attempt ", "the disk is full")
        await eventually(lambda words=words: is_stuck(pipeline, *words), within=PATIENCE)
        assert host.failures >= 9
        host.broken = set()
        await pipeline.reaches(value, key)
        await eventually(lambda: goes_on(pipeline), within=PATIENCE)
    host.broken, host.failures = {"remove"}, 0
    assert (await pipeline.http.delete(pipeline.path)).status_code == 200
    words = (f"what {pipeline.name} left (", "remove, attempt ", "the disk is full")
    await eventually(lambda: is_stuck(pipeline, *words), within=PATIENCE)
    assert host.failures >= 9
    host.broken = set()
    await eventually(lambda: goes_on(pipeline), within=PATIENCE)


@pytest.mark.timeout(180)
async def test_a_late_heartbeat(host: Troubled, pipeline: Pipeline, eventually: Eventually) -> None:
    host.silent = True
    assert (await pipeline.post("start")).status_code == 202
    words = ("a heartbeat was late since", "provision, attempt 2: The worker that did this was lost")
    await eventually(lambda: is_stuck(pipeline, *words), within=PATIENCE)
    host.go_on.set()
    await pipeline.reaches("Running")
    await eventually(lambda: goes_on(pipeline), within=PATIENCE)

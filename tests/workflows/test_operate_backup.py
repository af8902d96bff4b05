"""`sluicegate backup` and `restore`: all that is remembered, to one file and back, and nothing twice."""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.access.entries import ApiKey
from sluicegate.access.roles import Role
from sluicegate.access.tenant import AddKey, TenantChange, TenantState
from sluicegate.lifecycle import limits
from sluicegate.lifecycle.policies import Schedule
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.values import Packed
from sluicegate.operate import archive, backup, live, restore
from sluicegate.operate.backup import Reader
from sluicegate.operate.verb import Unusable
from tests.conftest import serving_temporal
from tests.workflows.operating import operator

Eventually = Callable[..., Awaitable[Any]]
TENANT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
KEY = ApiKey(id="018f0000-0000-7000-8000-000000000001", name="robot", role=Role.WRITE, sha256="ab" * 32)


@pytest.fixture
async def empty(private_home: Path) -> AsyncIterator[Client]:
    """A server where nothing of ours lives."""
    async with serving_temporal() as server:
        yield server.client


async def begin_access(client: Client) -> None:
    """A directory, and a tenant with a key."""
    for kind, workflow_id, state in (
        ("Directory", temporal.DIRECTORY, DirectoryState(revision=1)),
        ("Tenant", temporal.tenant_workflow_id(TENANT), TenantState(tenant_id=TENANT, revision=1)),
    ):
        encoded = ledger.encoded(state)
        await client.start_workflow(kind, encoded, id=workflow_id, task_queue=temporal.PIPELINES)
    tenant = client.get_workflow_handle(temporal.tenant_workflow_id(TENANT))
    await tenant.execute_update("change", TenantChange(change=AddKey(key=KEY)))


async def end_access(client: Client) -> None:
    """End them."""
    for workflow_id in (temporal.DIRECTORY, temporal.tenant_workflow_id(TENANT)):
        await client.get_workflow_handle(workflow_id).terminate("the test is over")


async def living(client: Client) -> set[str]:
    """Ids of what is listed and lives."""
    listed = [found.workflow_id async for found in live.listed(client)]
    return {workflow_id for workflow_id in listed if await live.run_id(client, workflow_id)}


async def lives_only(client: Client, eventually: Eventually, *workflow_ids: str) -> None:
    """Wait until the list, which is late, shows exactly these."""

    async def so() -> bool:
        return await living(client) == set(workflow_ids)

    await eventually(so)


async def reaches(subject: Any, eventually: Eventually, status: str) -> None:
    """Wait for a deployment status."""

    async def there() -> bool:
        return bool(await subject.status() == status)

    await eventually(there)


async def whole(subject: Any) -> State:
    """All that a pipeline remembers."""
    packed = Packed.model_validate(await subject.handle.query("state", result_type=dict))
    return State.decoded(packed.json_value)


async def kept(subject: Any, eventually: Eventually) -> bool:
    """Wait until a pipeline's schedules are in place."""

    async def placed() -> bool:
        return bool((await subject.handle.query("kept", result_type=dict))["in_place"])

    return bool(await eventually(placed))


@pytest.fixture
async def lives(create: Any, eventually: Eventually) -> dict[str, Any]:
    """Pipelines in the states that matter, by name."""
    made = {name: await create(name) for name in ("runs", "paused", "stopped", "fresh")}
    for name in ("runs", "paused", "stopped"):
        await made[name].tell("start", request_id=f"start-{name}")
        await reaches(made[name], eventually, "Running")
    await made["paused"].tell("pause")
    await reaches(made["paused"], eventually, "Paused")
    await made["stopped"].tell("stop", force=True)
    await reaches(made["stopped"], eventually, "Stopped")
    await made["stopped"].edit(schedules={"yearly": Schedule(verb="start", cron="0 0 1 1 *")})
    await kept(made["stopped"], eventually)
    return made


def moved(subject: Any, client: Client) -> Any:
    """The same pipeline on another server."""
    again = copy.copy(subject)
    again.client = client
    again.handle = client.get_workflow_handle(subject.handle.id)
    return again


async def carried_out(path: Path, *, dry: bool = False) -> tuple[int, str]:
    """Restore in this process."""
    screen = Console(file=StringIO(), width=300)
    status = await restore.carry_out(path, screen, dry=dry)
    return status, screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.timeout(180)
async def test_everything_comes_back_as_it_was_and_nothing_is_started_twice(
    lives: dict[str, Any],
    empty: Client,
    working: Callable[..., Any],
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    source = lives["runs"].client
    await begin_access(source)
    ended = await operator(source, tmp_path, "backup", "all.zip")
    before = {name: await whole(subject) for name, subject in lives.items()}
    await end_access(source)
    assert ended.status == 0, ended.said
    assert "Directory 1, Tenant 1, Pipeline 4" in ended.said
    assert (tmp_path / "all.zip").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]

    ended = await operator(empty, tmp_path, "restore", "all.zip", "--dry-run")
    assert "Would be restored: Directory 1, Tenant 1, Pipeline 4." in ended.said
    assert await living(empty) == set()
    ended = await operator(empty, tmp_path, "restore", "all.zip")
    assert ended.status == 0, ended.said
    assert "Restored: Directory 1, Tenant 1, Pipeline 4." in ended.said

    # Nobody has worked yet, and everything is shown and found as it was.
    again = {name: moved(subject, empty) for name, subject in lives.items()}
    for name, subject in again.items():
        assert (await subject.memo())["status"]["deployment_status"] == before[
            name
        ].pipeline.deployment_status

    async def found() -> bool:
        rows = [row async for row in empty.list_workflows('PipelineStatus = "Paused"')]
        return [row.id for row in rows] == [again["paused"].handle.id]

    await eventually(found)
    scripts = {subject.id: subject.script for subject in lives.values()}
    provisioned = {name: subject.script.provisioned for name, subject in lives.items()}
    watched = {name: lives[name].script.watches for name in ("runs", "paused")}
    async with working(empty, scripts):
        await goes_on(again, before, eventually, watched)
        assert {name: subject.script.provisioned for name, subject in again.items()} == provisioned
        await can_be_told(again, eventually)
    assert (await tenant_of(empty)).keys == {KEY.id: KEY}


async def tenant_of(client: Client) -> TenantState:
    """What the tenant remembers, read without a worker."""
    described = await client.get_workflow_handle(temporal.tenant_workflow_id(TENANT)).describe()
    return TenantState.decoded(await described.memo_value(temporal.ACCESS_MEMO, type_hint=dict))


async def is_shown(again: dict[str, Any], before: dict[str, State], eventually: Eventually) -> None:
    """While nobody works yet, each is shown and found as it was."""
    for name, subject in again.items():
        assert (await subject.memo())["status"]["deployment_status"] == before[
            name
        ].pipeline.deployment_status

    async def found() -> bool:
        rows = [row async for row in again["paused"].client.list_workflows('PipelineStatus = "Paused"')]
        return [row.id for row in rows] == [again["paused"].handle.id]

    await eventually(found)


async def goes_on(
    again: dict[str, Any], before: dict[str, State], eventually: Eventually, watched: dict[str, int]
) -> None:
    """Each has the same status, events and receipts, is watched anew, and has its schedules."""

    async def watching() -> bool:
        return all(again[name].script.watches > count for name, count in watched.items())

    await eventually(watching)
    for name, subject in again.items():
        state, old = await whole(subject), before[name]
        assert state.pipeline.deployment_status == old.pipeline.deployment_status
        assert (state.pipeline.id, state.pipeline.host) == (old.pipeline.id, old.pipeline.host)
        assert state.journal == old.journal
        assert state.receipts == old.receipts
        leap = 0 if name in watched else limits.LEAP
        assert state.pipeline.generation == old.pipeline.generation + leap
    assert await kept(again["stopped"], eventually)
    schedule = temporal.schedule_id(again["stopped"].id, "yearly")
    assert await again["stopped"].client.get_schedule_handle(schedule).describe()
    repeated = await again["runs"].tell("start", request_id="start-runs")
    assert repeated == before["runs"].receipts.kept["start-runs"].model_dump(mode="json")


async def can_be_told(again: dict[str, Any], eventually: Eventually) -> None:
    """Each takes commands."""
    await again["runs"].tell("pause")
    await reaches(again["runs"], eventually, "Paused")
    await again["paused"].tell("stop", force=True)
    await reaches(again["paused"], eventually, "Stopped")
    assert again["paused"].script.live == set()
    await again["stopped"].tell("start")
    await reaches(again["stopped"], eventually, "Running")
    assert again["stopped"].script.live == {limits.LEAP + 2}


@pytest.fixture
async def small(create: Any, tmp_path: Path) -> Path:
    """A backup of two pipelines."""
    subjects = [await create(name) for name in ("one", "two")]
    path = tmp_path / "small.zip"
    reader = Reader(subjects[0].client)
    with archive.writing(path) as writer:
        for subject in subjects:
            line = await reader.read(live.Listed(subject.handle.id, "Pipeline"))
            assert isinstance(line, archive.Line)
            writer.add(line)
    return path


@pytest.fixture
def emptied(empty: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Have this process find the empty server, as the command does."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", empty.service_client.config.target_host)
    return empty


async def test_a_restore_that_was_interrupted_is_repeated(
    small: Path, emptied: Client, eventually: Eventually
) -> None:
    restoring = restore.Restore(emptied, small)
    await restoring.check()
    first = await anext(restoring._records())
    assert await first.start(emptied)
    status, said = await carried_out(small)
    assert status == 0
    await lives_only(emptied, eventually, *(first.workflow_id[:-3] + name for name in ("one", "two")))
    assert "Restored: Pipeline 1." in said
    assert "There already: Pipeline 1." in said
    status, said = await carried_out(small)
    assert status == 0
    assert "Restored: nothing." in said


async def test_a_namespace_that_is_not_empty_is_left_as_it_is(
    small: Path, emptied: Client, eventually: Eventually
) -> None:
    taken = (await anext(_checked(emptied, small))).workflow_id
    for workflow_id in ("pipeline/somebody/else", taken):
        handle = await emptied.start_workflow("Pipeline", {}, id=workflow_id, task_queue=temporal.PIPELINES)
        await lives_only(emptied, eventually, workflow_id)
        for dry in (True, False):
            with pytest.raises(Unusable, match=f"not empty: there is {workflow_id}"):
                await carried_out(small, dry=dry)
        assert await living(emptied) == {workflow_id}
        await handle.terminate("the test is over")
        await lives_only(emptied, eventually)
    cluster = await emptied.start_workflow("Cluster", {}, id=temporal.CLUSTER, task_queue=temporal.PIPELINES)
    assert (await carried_out(small))[0] == 0
    await cluster.terminate("the test is over")


async def _checked(client: Client, path: Path) -> AsyncIterator[Any]:
    restoring = restore.Restore(client, path)
    await restoring.check()
    async for record in restoring._records():
        yield record


async def test_a_name_that_is_taken_meanwhile_is_told_and_left_alone(small: Path, emptied: Client) -> None:
    restoring = restore.Restore(emptied, small)
    await restoring.check()
    there = await restoring.look()
    first = await anext(restoring._records())
    other = await emptied.start_workflow("Pipeline", {}, id=first.workflow_id, task_queue=temporal.PIPELINES)
    with Console(file=StringIO()).status("") as status:
        outcome = await restoring.write(there, status, dry=False)
    assert (outcome.taken, outcome.restored.total()) == ([first.workflow_id], 1)
    assert (await other.describe()).run_id == other.first_execution_run_id


async def test_of_a_pipeline_that_was_renamed_meanwhile_the_newer_record_counts(
    create: Any, tmp_path: Path, emptied: Client, eventually: Eventually
) -> None:
    subject = await create("before")
    reader = Reader(subject.client)
    old = await reader.read(live.Listed(subject.handle.id, "Pipeline"))
    await subject.edit(name="after")
    renamed = subject.handle.id.replace("/before", "/after")
    new = await reader.read(live.Listed(renamed, "Pipeline"))
    assert await reader.read(live.Listed(subject.handle.id, "Pipeline")) is None
    path = tmp_path / "renamed.zip"
    with archive.writing(path) as writer:
        for line in (new, old):
            assert isinstance(line, archive.Line)
            writer.add(line)
    status, said = await carried_out(path)
    assert status == 0
    await lives_only(emptied, eventually, renamed)
    assert "Restored: Pipeline 1." in said


async def test_a_backup_that_nobody_answers_for_is_not_written(
    temporal_server: WorkflowEnvironment, empty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "TRIES", 1)
    monkeypatch.setattr(backup, "ANSWERED_WITHIN", backup.ANSWERED_WITHIN / 30)
    monkeypatch.setenv("TEMPORAL_ADDRESS", empty.service_client.config.target_host)
    await empty.start_workflow(
        "Directory",
        ledger.encoded(DirectoryState(revision=1)),
        id=temporal.DIRECTORY,
        task_queue=temporal.PIPELINES,
    )
    with pytest.raises(Unusable, match="Nothing can be read: no worker has answered"):
        await backup.carry_out(tmp_path / "none.zip", Console(file=StringIO()))
    assert list(tmp_path.iterdir()) == []


async def test_a_backup_that_lacks_something_replaces_no_whole_one(
    create: Any, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (await create("broken")).handle.id
    client = (await create("good")).client

    class Query(Reader):
        async def _query(self, workflow_id: str) -> Any:
            if workflow_id == broken:
                raise WorkflowQueryFailedError("its workflow task fails")
            return await super()._query(workflow_id)

    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    monkeypatch.setattr(backup, "Reader", Query)
    whole, screen = small.read_bytes(), Console(file=StringIO(), width=300)
    status = await backup.carry_out(small, screen)
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert (status, small.read_bytes()) == (1, whole), said
    assert "small.zip.incomplete" in said
    header = archive.read_header(small.with_name("small.zip.incomplete"))
    assert header.missing == {broken: "its workflow task fails"}
    assert header.counts["Pipeline"] >= 3

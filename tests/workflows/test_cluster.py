"""The workflow of the control plane's health: nothing wedges it, and a new history keeps its events."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from sluicegate import temporal
from sluicegate.lifecycle.cluster import ClusterHistory, Finding, Probe
from tests.workflows.test_messages import ARGUMENTS
from tests.workflows.test_replay import load
from workflows.cluster import ClusterWorkflow

Eventually = Callable[..., Awaitable[Any]]
Handle = WorkflowHandle[ClusterWorkflow, None]
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/cluster/*.json"))


async def begin(client: Client) -> Handle:
    """Start a workflow of a test's own."""
    return await client.start_workflow(
        ClusterWorkflow.run,
        ClusterHistory().encoded(),
        id=f"cluster-{uuid4()}",
        task_queue=temporal.PIPELINES,
    )


async def tell(handle: Handle, *, runner: bool) -> None:
    """Report how the runner is."""
    fine = Finding(healthy=True, self_info="fine")
    now = datetime.now(UTC)
    found = Probe(at=now, api=fine, compiler=fine, runner=fine.but(healthy=runner))
    await handle.signal("probed", found.model_dump(mode="json"))


async def events(handle: Handle) -> ClusterHistory:
    """Read what is kept."""
    return ClusterHistory.decoded(await handle.query("events"))


@pytest.fixture
async def handle(temporal_server: WorkflowEnvironment, decider: None) -> Any:
    """A workflow of this test alone."""
    begun = await begin(temporal_server.client)
    yield begun
    await temporal_server.client.get_workflow_handle(begun.id).terminate("the test is over")


async def test_only_changes_are_kept(handle: Handle) -> None:
    assert await handle.query("newest") is None
    for runner in (True, True, False, False):
        await tell(handle, runner=runner)
    assert [event.probe.runner.healthy for event in (await events(handle)).events] == [True, False]
    newest = Probe.model_validate(await handle.query("newest"))
    assert newest == (await events(handle)).newest


async def test_no_payload_wedges_it(handle: Handle) -> None:
    for given in ARGUMENTS.values():
        await handle.signal("probed", args=given)
    await tell(handle, runner=True)
    assert len((await events(handle)).events) == 1


async def test_a_new_history_keeps_the_events(
    handle: Handle, temporal_server: WorkflowEnvironment, eventually: Eventually
) -> None:
    latest = temporal_server.client.get_workflow_handle_for(ClusterWorkflow.run, handle.id)
    told = 0

    async def renewed() -> bool:
        nonlocal told
        await tell(latest, runner=told % 2 == 0)
        told += 1
        return bool((await latest.describe()).run_id != handle.first_execution_run_id)

    await eventually(renewed)
    assert (await events(latest)).count == told


def test_histories_are_recorded() -> None:
    assert {path.stem for path in HISTORIES} == {"continued-before", "continued-after"}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays_and_its_state_decodes(path: Path) -> None:
    history = load(path)
    await Replayer(workflows=[ClusterWorkflow], plugins=[temporal.PLUGIN]).replay_workflow(history)
    started = history.events[0].workflow_execution_started_event_attributes
    [encoded] = await temporal.PLUGIN.data_converter.decode(started.input.payloads)  # type: ignore[union-attr]
    decoded = ClusterHistory.decoded(encoded)
    assert ClusterHistory.decoded(decoded.encoded()) == decoded
    assert bool(decoded.events) is (path.stem == "continued-after")

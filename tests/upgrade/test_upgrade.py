"""Workers and front end go from the release before to this one and back while pipelines live and are told.

Nothing of it may be noticed: no workflow task fails, no process is started again, no idle pipeline has even
an event of it, and every command that is accepted has its effect. `make upgrade-test` is the long form.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskFailedEventAttributes
from temporalio.client import WorkflowHistory

from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from tests.conftest import eventually
from tests.upgrade import plane, releases
from tests.upgrade.load import PATIENCE, Pipeline
from tests.upgrade.plane import Plane, failures
from tests.upgrade.releases import CURRENT, NoHistory, Release

LONG = os.environ.get("UPGRADE_TEST") == "long"
WORKERS = 2 if LONG else 1
EACH = 6 if LONG else 1
"""Pipelines of each sort."""
ROUNDS = 5 if LONG else 1
"""For how long each release works: until every pipeline under load has been round so often."""

NO_PAUSE = 30.0 if LONG else PATIENCE
"""Seconds within which every command has its effect, also one that was given while a worker ended: a query or
a task that was on its way to it is given to another after ten. Beside other tests all takes its time."""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release before."""
    try:
        return releases.previous(tmp_path_factory.mktemp("before") / "source")
    except NoHistory as problem:
        if LONG:
            raise
        pytest.skip(f"the release before this one is not at hand: {problem}")


@dataclass(frozen=True)
class Pipelines:
    """Pipelines of each sort."""

    idle: list[Pipeline]
    paused: list[Pipeline]
    stopped: list[Pipeline]
    steered: list[Pipeline]
    redeployed: list[Pipeline]

    @classmethod
    async def create(cls, on: Plane) -> "Pipelines":
        """Create them and bring each into its state."""
        sorts = [
            [Pipeline(on, f"{sort}-{number}") for number in range(EACH)]
            for sort in ("idle", "paused", "stopped", "steered", "redeployed")
        ]
        found = cls(*sorts)
        await _all(pipeline.create() for sort in sorts for pipeline in sort)
        await _all(p.deployed() for p in (*found.idle, *found.paused, *found.steered))
        await _all(p.tell("pause", {}, "Paused") for p in found.paused)
        return found

    @property
    def quiet(self) -> list[Pipeline]:
        """Those that nobody tells anything."""
        return [*self.idle, *self.paused, *self.stopped]

    @property
    def lasting(self) -> list[Pipeline]:
        """Those whose processes have to be the same to the end."""
        return [*self.idle, *self.paused, *self.steered]

    @property
    def loaded(self) -> list[Pipeline]:
        """Those that are told something all the time."""
        return [*self.steered, *self.redeployed]

    async def go_round(self) -> None:
        """Wait until each under load has been round a few times more."""
        until = {pipeline.name: pipeline.rounds + ROUNDS for pipeline in self.loaded}

        async def done() -> bool:
            return all(pipeline.rounds >= until[pipeline.name] for pipeline in self.loaded)

        await eventually(done, PATIENCE * ROUNDS)


async def _all(work: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for one in work:
            tasks.create_task(one)


async def events(on: Plane, some: list[Pipeline]) -> dict[str, Any]:
    """The transitions of some pipelines."""
    ids = {pipeline.name: temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name) for pipeline in some}
    return {name: await on.events(workflow_id) for name, workflow_id in ids.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800 if LONG else 600)
async def test_nobody_notices_an_upgrade_and_the_way_back(before: Release, tmp_path: Path) -> None:
    with plane.pipelines_ended(tmp_path):
        await go_there_and_back(before, tmp_path)


async def go_there_and_back(before: Release, folder: Path) -> None:
    """Move a control plane to this release, and back where nothing bars the way."""
    back = not releases.newer_patches(CURRENT, before)
    async with plane.running(folder) as on:
        await on.move(before, WORKERS)
        made = await Pipelines.create(on)
        pids, quiet = on.pids(), await events(on, made.quiet)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as load:
            for pipeline in made.steered:
                load.create_task(pipeline.steer(stop))
            for pipeline in made.redeployed:
                load.create_task(pipeline.redeploy(stop))
            await made.go_round()
            for release in (CURRENT, before) if back else (CURRENT,):
                await on.move(release, WORKERS)
                await made.go_round()
            stop.set()
        assert max(pipeline.longest for pipeline in made.loaded) < NO_PAUSE
        assert await events(on, made.quiet) == quiet
        for pipeline in made.lasting:
            assert on.pids()[pipeline.id] == pids[pipeline.id]
            assert psutil.Process(pids[pipeline.id]).is_running()
        await still_answer(made)
        assert await on.failed_tasks() == []


async def still_answer(made: Pipelines) -> None:
    """Each that was idle does what it is told."""
    await _all(p.tell("pause", {}, "Paused") for p in made.idle)
    await _all(p.tell("resume", {}, "Running") for p in made.paused)
    await _all(p.deployed() for p in made.stopped)


def test_a_failed_workflow_task_would_be_seen() -> None:
    def failed(cause: WorkflowTaskFailedCause.ValueType) -> HistoryEvent:
        return HistoryEvent(
            event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            workflow_task_failed_event_attributes=WorkflowTaskFailedEventAttributes(cause=cause),
        )

    wrong = failed(WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
    harmless = failed(WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND)
    [found] = failures(WorkflowHistory("p", [harmless, wrong]))
    assert "NON_DETERMINISTIC" in found

"""The namespace is lost while pipelines run: they go on, and a backup or their host brings them back."""

from pathlib import Path
from typing import Any

import psutil
import pytest

from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from tests.conftest import eventually
from tests.upgrade import plane
from tests.upgrade.load import Pipeline
from tests.upgrade.plane import Plane
from tests.upgrade.releases import CURRENT
from tests.workflows.operating import operator

NAMES = {"runs": "Running", "waits": "Paused"}
"""Pipelines, and the status that each is in when everything is lost."""


def through(on: Plane, before: dict[str, Pipeline]) -> dict[str, Pipeline]:
    """The same pipelines through another control plane."""
    again = {}
    for name, pipeline in before.items():
        again[name] = Pipeline(on, name)
        again[name].id = pipeline.id
    return again


async def begin(on: Plane) -> dict[str, Pipeline]:
    """Bring pipelines into their states."""
    await on.move(CURRENT, 1)
    made = {name: Pipeline(on, name) for name in NAMES}
    for pipeline in made.values():
        await pipeline.create()
        await pipeline.deployed()
    await made["waits"].tell("pause", {}, "Paused")
    return made


async def are_as_before(made: dict[str, Pipeline], on: Plane, pids: dict[str, int]) -> None:
    """Each shows what it showed, in the same process, and is steered."""
    await on.move(CURRENT, 1)
    for name, status in NAMES.items():
        await made[name].shows("deployment_status", status)
    await made["runs"].tell("pause", {}, "Paused")
    await made["runs"].tell("resume", {}, "Running")
    assert on.pids() == pids
    assert all(psutil.Process(pid).is_running() for pid in pids.values())
    await made["waits"].shows("deployment_status", "Paused")


async def stops(pipeline: Pipeline, pid: int) -> None:
    """An adopted pipeline is ended, and its process with it."""
    await pipeline.tell("stop", {"force": "true"}, "Stopped")

    async def gone() -> bool:
        return not psutil.pid_exists(pid)

    await eventually(gone)


async def is_adopted(on: Plane, folder: Path) -> None:
    """Adopt all but the one whose name somebody else has by now, then that one too; then nothing is new."""
    taken = temporal.pipeline_workflow_id(DEFAULT_TENANT, "waits")
    other = await on.client.start_workflow("Pipeline", {}, id=taken, task_queue=temporal.PIPELINES)
    ended = await operator(on.client, folder, "adopt")
    assert ended.status == 1, ended.said
    assert "its name is taken by the pipeline" in ended.said
    assert ended.said.count("adopted") == 1
    assert (await other.describe()).run_id == other.first_execution_run_id
    await other.terminate("the test is over")
    for adopted, there in ((1, 1), (0, 2)):
        ended = await operator(on.client, folder, "adopt")
        assert ended.status == 0, ended.said
        assert (ended.said.count("adopted"), ended.said.count("there already")) == (adopted, there)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_pipelines_are_brought_back_with_the_same_processes(tmp_path: Path) -> None:
    with plane.pipelines_ended(tmp_path):
        async with plane.running(tmp_path) as on:
            made = await begin(on)
            pids = on.pids()
            ended = await operator(on.client, tmp_path, "backup", "all.zip")
            assert ended.status == 0, ended.said
        async with plane.running(tmp_path) as on:
            ended = await operator(on.client, tmp_path, "restore", "all.zip")
            assert ended.status == 0, ended.said
            await are_as_before(through(on, made), on, pids)
        async with plane.running(tmp_path) as on:
            await is_adopted(on, tmp_path)
            again = through(on, made)
            await are_as_before(again, on, pids)
            await stops(again["runs"], pids[made["runs"].id])
            await again["runs"].deployed()


async def test_a_folder_of_no_host_and_a_host_without_pipelines_are_told(
    temporal_server: Any, tmp_path: Path
) -> None:
    ended = await operator(temporal_server.client, tmp_path, "adopt")
    assert (ended.status, "is no host's data folder" in ended.said) == (2, True), ended.said
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "host.json").write_text('{"host_id": "h", "layout": 1}')
    ended = await operator(temporal_server.client, tmp_path, "adopt")
    assert (ended.status, "No pipeline runs on this host" in ended.said) == (0, True), ended.said

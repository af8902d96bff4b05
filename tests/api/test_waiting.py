"""`wait_for`: answered when it is so, when it is too late, and when it cannot be."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.projection import Projection
from api.waiting import Wait, is_there
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

LONG = "20s"
Answer = tuple[int, str]


async def wait(pipeline: Any, wait_for: str, timeout: str = LONG, **more: str) -> httpx.Response:
    """Wait for a pipeline."""
    parameters = {"wait_for": wait_for, "timeout": timeout, "selector": "status", **more}
    answer: httpx.Response = await pipeline.http.get(pipeline.path, params=parameters)
    return answer


async def keep(pipeline: Any, schedule: dict[str, Any]) -> None:
    """Give it a schedule."""
    answer = await pipeline.http.put(f"{pipeline.path}/schedules/only", json=schedule)
    assert answer.status_code == 200, answer.text


def refused(answer: httpx.Response) -> Answer:
    """Status and code."""
    return answer.status_code, answer.json()["error_code"]


@pytest.mark.usefixtures("api_worker")
class TestWithAWorker:
    """While somebody decides."""

    async def test_each_stage_of_a_life(self, api_pipeline: Any) -> None:
        await api_pipeline.create()
        assert (await wait(api_pipeline, "compiled")).json()["program_status"] == "Success"
        assert (await wait(api_pipeline, "stopped,running")).json()["deployment_status"] == "Stopped"
        await api_pipeline.post("start", initial="paused")
        assert (await wait(api_pipeline, "running,paused")).json()["deployment_status"] == "Paused"
        await api_pipeline.post("resume")
        whole = await wait(api_pipeline, "running", selector="all")
        assert (whole.status_code, whole.json()["deployment_status"]) == (200, "Running")
        assert "program_code" in whole.json()
        await api_pipeline.post("stop", force="true")
        assert (await wait(api_pipeline, "stopped")).json()["deployment_desired_status"] == "Stopped"
        await api_pipeline.post("clear")
        assert (await wait(api_pipeline, "cleared")).json()["storage_status"] == "Cleared"

    async def test_an_accepted_start_is_not_taken_for_an_end(self, api_pipeline: Any) -> None:
        await api_pipeline.create()
        await wait(api_pipeline, "compiled")
        await api_pipeline.post("start")
        waits = asyncio.create_task(wait(api_pipeline, "stopped"))
        await api_pipeline.reaches("Running")
        assert not waits.done()
        await api_pipeline.post("stop", force="true")
        assert (await waits).status_code == 200

    async def test_too_late(self, api_pipeline: Any) -> None:
        await api_pipeline.create()
        await wait(api_pipeline, "compiled")
        await api_pipeline.running()
        began = asyncio.get_running_loop().time()
        late = await wait(api_pipeline, "paused,stopped", "300ms")
        assert refused(late) == (504, "WaitTimedOut")
        assert 0.3 <= asyncio.get_running_loop().time() - began < 3
        assert late.json()["details"] == {
            "pipeline_name": api_pipeline.name,
            "wait_for": "paused or stopped",
            "milliseconds": 300,
            "deployment_status": "Running",
            "deployment_desired_status": "Running",
            "program_status": "Success",
            "storage_status": "InUse",
        }

    @pytest.mark.parametrize("word", ["running", "paused,running", "cleared", "provisioning"])
    async def test_in_vain_at_rest(self, api_pipeline: Any, word: str) -> None:
        await api_pipeline.create()
        await api_pipeline.running()
        await api_pipeline.post("stop", force="true")
        await wait(api_pipeline, "stopped")
        vain = await wait(api_pipeline, word)
        assert refused(vain) == (409, "WaitInVain")
        assert vain.json()["details"] == {
            "pipeline_name": api_pipeline.name,
            "wait_for": word.replace(",", " or "),
            "deployment_status": "Stopped",
            "program_status": "Success",
            "storage_status": "InUse",
            "deployment_error": None,
        }

    async def test_a_schedule_that_starts_it_in_time_is_waited_for(self, api_pipeline: Any) -> None:
        await api_pipeline.create()
        await wait(api_pipeline, "compiled")
        second = (datetime.now(UTC) + timedelta(seconds=3)).second
        due = {"verb": "start", "cron": f"{second} * * * * * *", "arguments": {"initial": "Paused"}}
        stop = {"verb": "stop", "cron": due["cron"]}
        for schedule in (due | {"cron": "0 0 1 1 *"}, due | {"paused": True}, stop):
            await keep(api_pipeline, schedule)
            assert refused(await wait(api_pipeline, "paused")) == (409, "WaitInVain")
        await keep(api_pipeline, due)
        assert (await wait(api_pipeline, "paused")).status_code == 200

    async def test_in_vain_for_a_program_in_error(self, api_pipeline: Any) -> None:
        await api_pipeline.create(program_code="this is not SQL")
        assert refused(await wait(api_pipeline, "compiled")) == (409, "WaitInVain")
        assert refused(await wait(api_pipeline, "running")) == (409, "WaitInVain")

    async def test_in_vain_with_the_error_of_the_deployment(self, api_pipeline: Any) -> None:
        await api_pipeline.create(program_code="this is not SQL")
        assert (await api_pipeline.post("start")).status_code == 202
        vain = await wait(api_pipeline, "running")
        assert refused(vain) == (409, "WaitInVain")
        assert vain.json()["details"]["deployment_error"]["error_code"] == "StartFailedDueToFailedCompilation"
        assert vain.json()["details"]["deployment_error"]["message"] in vain.json()["message"]

    @pytest.mark.parametrize(
        "parameters",
        [
            {"wait_for": "Running"},
            {"wait_for": ""},
            {"wait_for": "running,"},
            {"wait_for": "running", "timeout": "30"},
            {"wait_for": "running", "timeout": "-1s"},
            {"wait_for": "running", "timeout": "1h"},
            {"wait_for": "running", "timeout": "1.5s"},
        ],
    )
    async def test_what_is_not_understood(self, api_pipeline: Any, parameters: dict[str, str]) -> None:
        answer = await api_pipeline.http.get(api_pipeline.path, params=parameters)
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/plain")

    async def test_nobody_of_that_name(self, api_pipeline: Any) -> None:
        assert refused(await wait(api_pipeline, "running")) == (404, "UnknownPipelineName")


@pytest.mark.parametrize(
    ("timeout", "longest", "within"),
    [("500ms", 300, 0.5), ("30s", 300, 30), ("5m", 300, 300), ("9999999m", 300, 300), ("30s", 2, 2)],
)
def test_how_long_is_waited(timeout: str, longest: int, within: float) -> None:
    wait = Wait.of("tenant", "p", ("running", timeout), timedelta(seconds=longest))
    assert wait.within == timedelta(seconds=within)


async def test_without_a_worker_nothing_is_in_vain(
    api_deserted: httpx.AsyncClient, api_named: Any, api_working: Any
) -> None:
    """A start that nobody has decided yet may still lead to what is waited for."""
    pipeline = api_named(api_deserted)
    async with api_working():
        await pipeline.create()
        assert (await wait(pipeline, "compiled")).status_code == 200
    assert (await pipeline.post("start")).status_code == 202
    assert refused(await wait(pipeline, "running", "500ms")) == (504, "WaitTimedOut")
    waits = asyncio.create_task(wait(pipeline, "running"))
    async with api_working():
        assert (await waits).json()["deployment_status"] == "Running"


async def test_gone_meanwhile(
    api_deserted: httpx.AsyncClient, api_named: Any, api_deserted_server: Any
) -> None:
    """Nobody compiles it, so the wait lasts until the workflow is ended."""
    pipeline = api_named(api_deserted)
    await pipeline.create()
    waits = asyncio.create_task(wait(pipeline, "compiled"))
    done, _ = await asyncio.wait({waits}, timeout=0.5)
    assert not done
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
    await api_deserted_server.client.get_workflow_handle(workflow).terminate()
    assert refused(await waits) == (404, "UnknownPipelineName")


def test_nobody_is_told_that_it_stopped_while_a_restart_is_awaited() -> None:
    stopped = {"deployment_status": "Stopped", "deployment_desired_status": "Stopped"}
    assert is_there(Projection(revision=1, status=stopped), "stopped")
    assert not is_there(Projection(revision=1, status=stopped, restarting=True), "stopped")

"""No part of the control plane takes a pipeline with it, whether it runs or is just starting."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from sluicegate.settings import RUNTIME, Settings

PARTS = ("worker", "api", "temporal")


async def restarted(control_plane: Any, part: str, old_pid: int, eventually: Any) -> None:
    """Wait until the part is there again under another pid and the API is healthy."""

    async def there() -> bool:
        described = control_plane.described
        if described["children"].get(part) in (None, old_pid):
            return False
        async with httpx.AsyncClient(base_url=described["api_url"]) as client:
            return (await client.get("/healthz")).status_code == 200

    await eventually(there, 60)


def own_client(control_plane: Any, running: dict[str, Any]) -> httpx.AsyncClient:
    """A client of a pipeline's own process, past every part of the control plane."""
    [port] = (control_plane.home / "pipelines" / running["id"] / "run").glob("*/port")
    token = Settings(home=control_plane.home).token(RUNTIME, running["deployment_id"])
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port.read_text().strip()}", headers=headers)


async def said_until(back: asyncio.Task[None], process: httpx.AsyncClient) -> set[tuple[int, str]]:
    """What a process says of itself, from now until the part that was killed is back."""
    said = set()
    while True:
        answer = await process.get("/status", timeout=2)
        said.add((answer.status_code, answer.json()["runtime_status"]))
        if back.done():
            return said
        await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
async def test_a_running_pipeline_survives_and_can_be_stopped(
    pipeline: Any, control_plane: Any, eventually: Any, part: str
) -> None:
    running = await pipeline.started()
    engine = control_plane.engine(running["id"])
    async with own_client(control_plane, running) as process, asyncio.TaskGroup() as tasks:
        old_pid = control_plane.kill(part)
        back = tasks.create_task(restarted(control_plane, part, old_pid, eventually))
        assert await said_until(back, process) == {(200, "Running")}
    assert engine.is_running()
    status = await pipeline.reaches("Running")
    assert status["deployment_id"] == running["deployment_id"]
    answer = await pipeline.api.get(f"{pipeline.path}/query", params={"sql": "SELECT * FROM summary"})
    assert answer.status_code == 200
    assert (await pipeline.post("pause")).status_code == 202
    await pipeline.reaches("Paused")
    assert control_plane.engine(running["id"]).pid == engine.pid
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    assert not engine.is_running()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
async def test_a_pipeline_that_is_starting_comes_up(
    pipeline: Any, control_plane: Any, eventually: Any, part: str
) -> None:
    assert (await pipeline.post("start")).status_code == 202
    old_pid = control_plane.kill(part)
    await restarted(control_plane, part, old_pid, eventually)
    running = await pipeline.reaches("Running", 60)
    engine = control_plane.engine(running["id"])
    answer = await pipeline.api.get(f"{pipeline.path}/query", params={"sql": "SELECT * FROM summary"})
    assert answer.status_code == 200
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    assert not engine.is_running()


async def test_the_embedded_server_writes_to_a_log(control_plane: Any) -> None:
    file = control_plane.home / "temporal" / "temporal.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)

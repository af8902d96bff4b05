"""No part of the control plane takes a pipeline with it, whether it runs or is just starting."""

from typing import Any

import httpx
import pytest

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


@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
async def test_a_running_pipeline_survives_and_can_be_stopped(
    pipeline: Any, control_plane: Any, eventually: Any, part: str
) -> None:
    running = await pipeline.started()
    engine = control_plane.engine(running["id"])
    old_pid = control_plane.kill(part)
    await restarted(control_plane, part, old_pid, eventually)
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

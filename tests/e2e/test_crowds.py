"""Many callers at once: no receipt is lost, no second process, and the last accepted intent holds."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal

SOURCE = Path(__file__).parents[2]
STARTS = 200
RACE_FOR = float(os.environ.get("RACE_SECONDS", "30"))


async def start_all(apis: list[httpx.AsyncClient], path: str) -> list[httpx.Response]:
    """Start one pipeline many times at once, through all APIs in turn."""
    turns = [apis[number % len(apis)] for number in range(STARTS)]
    return list(await asyncio.gather(*(api.post(f"{path}/start") for api in turns)))


async def outcomes(api: httpx.AsyncClient, locations: list[str]) -> dict[str, int]:
    """Count how the requests at these addresses were decided, by the workflow's own receipts."""
    found: dict[str, int] = {}
    for first in range(0, len(locations), 50):
        looks = (api.get(location) for location in locations[first : first + 50])
        for answer in await asyncio.gather(*looks):
            status = str(answer.json().get("status", answer.text))
            found[status] = found.get(status, 0) + 1
    return found


async def test_two_hundred_starts_on_our_server(pipeline: Any, control_plane: Any) -> None:
    answers = await start_all([pipeline.api], pipeline.path)
    assert {answer.status_code for answer in answers} == {202}
    locations = [answer.headers["location"] for answer in answers]
    assert await outcomes(pipeline.api, locations) == {"accepted": STARTS}
    running = await pipeline.reaches("Running")
    assert control_plane.engine(running["id"]).is_running()


@pytest.fixture
async def stock_apis(tmp_path: Path, end_process: Any) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two API processes and a worker on a Temporal server with stock flags."""
    async with AsyncExitStack() as parts:
        server = await parts.enter_async_context(
            await WorkflowEnvironment.start_local(
                dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
                plugins=[temporal.PLUGIN],
                dev_server_log_level="error",
                dev_server_database_filename=str(tmp_path / "temporal.db"),
            )
        )
        base = {
            **os.environ,
            "SLUICEGATE_HOME": str(tmp_path / "home"),
            "TEMPORAL_ADDRESS": server.client.service_client.config.target_host,
        }
        apis = []
        for number in range(2):
            port = _free_port()
            environment = {**base, "SLUICEGATE_API_PORT": str(port)}
            _run(parts, "api", environment, end_process, tmp_path / f"api{number}.log")
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
            apis.append(await parts.enter_async_context(client))
        _run(parts, "worker", base, end_process, tmp_path / "worker.log")
        yield apis


def _free_port() -> int:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _run(parts: AsyncExitStack, module: str, environment: dict[str, str], end: Any, log: Path) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=SOURCE,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    parts.callback(end, process)


@pytest.mark.timeout(180)
async def test_two_hundred_starts_through_two_apis_on_a_stock_server(
    stock_apis: list[httpx.AsyncClient], pipeline_type: Any, eventually: Any
) -> None:
    async def healthy() -> bool:
        return all([(await api.get("/v0/cluster_healthz")).status_code == 200 for api in stock_apis])

    await eventually(healthy, 60)
    pipeline = pipeline_type(stock_apis[0], "crowded", eventually)
    await pipeline.create()

    async def compiled() -> bool:
        return bool((await pipeline.get())["program_status"] == "Success")

    await eventually(compiled)
    answers = await start_all(stock_apis, pipeline.path)
    assert {answer.status_code for answer in answers} == {202}
    locations = [answer.headers["location"] for answer in answers]
    assert await outcomes(stock_apis[1], locations) == {"accepted": STARTS}
    await pipeline.reaches("Running")
    await pipeline.remove()


@pytest.mark.slow
@pytest.mark.timeout(RACE_FOR + 120)
async def test_starts_racing_forced_stops(pipeline: Any, control_plane: Any, eventually: Any) -> None:
    """Ten clients start and stop one pipeline; then one more intent is accepted, and it alone holds."""
    pipeline_id = (await pipeline.get())["id"]
    deadline = asyncio.get_running_loop().time() + RACE_FOR
    accepted: list[str] = []
    refused: set[str] = set()

    async def race(client: int) -> None:
        chance = random.Random(client)
        while asyncio.get_running_loop().time() < deadline:
            verb = chance.choice(["start", "stop?force=true"])
            answer = await pipeline.api.post(f"{pipeline.path}/{verb}")
            # A pace that stays below the 4,096 receipts that are kept within ten minutes.
            await asyncio.sleep(chance.uniform(0.05, 0.15))
            if answer.status_code == 202:
                accepted.append(answer.headers["location"])
            else:
                refused.add(answer.json()["error_code"])

    await asyncio.gather(*(race(client) for client in range(10)))
    assert len(accepted) > 100
    assert refused <= {"IllegalPipelineAction", "Overloaded"}
    assert await outcomes(pipeline.api, accepted) == {"accepted": len(accepted)}

    async def started() -> bool:
        return bool((await pipeline.post("start")).status_code == 202)

    await eventually(started)
    await pipeline.reaches("Running")
    assert control_plane.engine(pipeline_id).is_running()
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    left = [p for p in control_plane.engines() if any(pipeline_id in word for word in p.cmdline())]
    assert left == []

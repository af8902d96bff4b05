"""Upkeep is passed on to the process, and what can go wrong on the way has its code (contract §2.0)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api.data_plane import READ_TIMEOUT
from tests.api.conftest import working

CALLS = [
    ("POST", "rebalance"),
    ("POST", "start_compaction"),
    ("POST", "clock/advance"),
    ("GET", "checkpoints"),
    ("GET", "checkpoints/remote"),
    ("POST", "checkpoint"),
    ("GET", "checkpoint_status"),
    ("POST", "checkpoint/sync"),
    ("GET", "checkpoint/sync_status"),
]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.mark.parametrize("call", ["rebalance", "start_compaction"])
async def test_it_answers_with_nothing(running: Any, call: str) -> None:
    for _ in range(2):
        answer = await running.post(call)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_the_clock_and_the_checkpoints_are_those_of_the_process(running: Any) -> None:
    answer = await running.http.post(f"{running.path}/clock/advance", json={"delta_ms": 7})
    assert answer.json() == {"now_ms": 7, "now": "1970-01-01T00:00:00Z"}
    assert (await running.http.get(f"{running.path}/checkpoints")).json() == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [("{", "application/json"), ('{"delta_ms": -1}', "application/json"), ('{"delta_ms": 1}', "text/plain")],
)
async def test_a_clock_is_not_moved_by_what_makes_no_sense(
    api: httpx.AsyncClient, api_pipeline: Any, body: str, kind: str
) -> None:
    await api_pipeline.create()
    headers = {"Content-Type": kind}
    answer = await api.post(f"{api_pipeline.path}/clock/advance", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_nothing_is_deployed(api: httpx.AsyncClient, api_pipeline: Any, method: str, path: str) -> None:
    body = {"delta_ms": 1} if path == "clock/advance" else None
    unknown = await api.request(method, f"/v0/pipelines/nobody/{path}", json=body)
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "UnknownPipelineName")
    await api_pipeline.create()
    answer = await api.request(method, f"{api_pipeline.path}/{path}", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error_code"] == "PipelineInteractionNotDeployed"
    assert answer.json()["details"] == {
        "pipeline_name": api_pipeline.name,
        "status": "Stopped",
        "desired_status": "Stopped",
    }


async def _breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)  # until the other side gives up
    writer.close()


@asynccontextmanager
async def _answering(handler: Handler) -> AsyncIterator[str]:
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        pytest.param(_breaks_off, "crashed or was stopped, or the network broke", id="breaks off"),
        pytest.param(_says_nothing, f"within {READ_TIMEOUT:g} s", id="says nothing"),
    ],
)
async def test_a_process_that_does_not_answer(
    api_deserted: Any, api_deserted_server: Any, api_named: Any, handler: Handler, words: str
) -> None:
    pipeline = api_named(api_deserted)
    await pipeline.create()
    async with _answering(handler) as address:
        async with working(api_deserted_server.client, address):
            await pipeline.running()
        answer = await api_deserted.get(f"{pipeline.path}/checkpoints", timeout=READ_TIMEOUT + 5)
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (503, "PipelineInteractionUnreachable")
    assert answer.headers["retry-after"] == "5"
    assert set(body["details"]) == {"pipeline_name", "request", "error"}
    assert words in body["details"]["error"]

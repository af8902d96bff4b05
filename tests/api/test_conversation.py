"""Queries over a WebSocket go through to the process, and a client that leaves ends what it asked for."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


@asynccontextmanager
async def opened(api_url: str, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """A connection to a pipeline's queries."""
    url = f"{api_url.replace('http:', 'ws:')}{path}/query"
    async with connect(url, proxy=None, max_size=2 << 20, **options) as connection:
        yield connection


async def asked(connection: ClientConnection, sql: str) -> list[str | bytes]:
    """Ask; return all frames."""
    await connection.send(json.dumps({"sql": sql, "format": "text"}))
    frames: list[str | bytes] = []
    try:
        while True:
            frames.append(await connection.recv())
    except ConnectionClosed:
        return frames


async def test_frames_go_through(running: Any, api_url: str, api_process: Any, api_tokens: Any) -> None:
    async with opened(api_url, running.path) as connection:
        assert await asked(connection, "SELECT 1") == ["SELECT 1", b"\xff" * (2 << 20)]
    assert connection.close_code == 1000
    deployment_id = (await running.get())["deployment_id"]
    assert api_process.authorizations[-1] == api_tokens(deployment_id)["process"]


async def test_a_failure_goes_through(running: Any, api_url: str) -> None:
    async with opened(api_url, running.path) as connection:
        assert await asked(connection, "fail") == ['{"error":"no"}']
    assert connection.close_code == 1011


async def test_a_process_that_hangs_up(running: Any, api_url: str) -> None:
    async with opened(api_url, running.path) as connection:
        assert await asked(connection, "crash") == []
    assert connection.close_code != 1000


@pytest.mark.parametrize(
    ("offered", "echoed"),
    [(["x", "feldera-ws-v1"], "feldera-ws-v1"), (["x", "y"], "x"), (None, None)],
)
async def test_one_protocol_is_echoed(running: Any, api_url: str, offered: Any, echoed: str | None) -> None:
    async with opened(api_url, running.path, subprotocols=offered) as connection:
        assert connection.subprotocol == echoed


async def test_leaving_ends_the_query(running: Any, api_url: str, api_process: Any) -> None:
    api_process.waiting.clear()
    api_process.abandoned.clear()
    async with opened(api_url, running.path) as connection:
        await connection.send(json.dumps({"sql": "wait"}))
        await api_process.waiting.wait()
        connection.transport.abort()
    async with asyncio.timeout(10):
        await api_process.abandoned.wait()


async def test_refusals_come_before_the_conversation(
    api_worker: None, api_pipeline: Any, api_url: str
) -> None:
    await api_pipeline.create()
    for path, status, code in (
        (api_pipeline.path, 503, "PipelineInteractionNotDeployed"),
        ("/v0/pipelines/nobody", 404, "UnknownPipelineName"),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(api_url, path):
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error_code"] == code

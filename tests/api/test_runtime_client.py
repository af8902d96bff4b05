"""What a process's answers mean, and how calls are passed on to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluicegate import runtime_client
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.runtime_client import (
    Busy,
    NotConnected,
    Outgoing,
    Refused,
    RuntimeClient,
    TimedOut,
    Unreachable,
    observation,
    parts,
    relayed_headers,
)

U = RuntimeStatus.UNAVAILABLE
PAUSED = {"runtime_status": "Paused", "runtime_desired_status": "Running"}


def error(code: str) -> dict[str, Any]:
    """The body of an error."""
    return {"message": f"it is {code}", "error_code": code, "details": None}


@pytest.mark.parametrize(
    ("status", "body", "seen", "desired"),
    [
        pytest.param(200, PAUSED, RuntimeStatus.PAUSED, RuntimeDesired.RUNNING, id="as it is"),
        pytest.param(200, "Running", RuntimeStatus.RUNNING, RuntimeDesired.RUNNING, id="a legacy word"),
        pytest.param(200, "Terminated", U, RuntimeDesired.UNAVAILABLE, id="the legacy end"),
        pytest.param(200, {"runtime_status": "New"}, U, RuntimeDesired.UNAVAILABLE, id="half"),
        pytest.param(200, {**PAUSED, "runtime_status": "?"}, U, RuntimeDesired.UNAVAILABLE, id="a new word"),
        pytest.param(200, [1], U, RuntimeDesired.UNAVAILABLE, id="a list"),
        pytest.param(
            503, error("Initializing"), RuntimeStatus.INITIALIZING, RuntimeDesired.UNAVAILABLE, id="starting"
        ),
        pytest.param(
            503, error("Suspended"), RuntimeStatus.SUSPENDED, RuntimeDesired.SUSPENDED, id="suspended"
        ),
        pytest.param(503, error("Locked"), U, RuntimeDesired.UNAVAILABLE, id="busy"),
        pytest.param(503, None, U, RuntimeDesired.UNAVAILABLE, id="busy without a word"),
    ],
)
def test_answers_that_are_a_status(
    status: int, body: Any, seen: RuntimeStatus, desired: RuntimeDesired
) -> None:
    found = observation(status, json.dumps(body).encode())
    assert (found.runtime_status, found.runtime_desired_status, found.fatal) == (seen, desired, None)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b'"' + b"x" * (2 << 20)])
def test_nonsense_is_unavailable(body: bytes) -> None:
    assert observation(200, body).runtime_status is U


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (json.dumps(error("RuntimeError.WorkerPanic")).encode(), "RuntimeError.WorkerPanic"),
        (b"<html>", "PipelineInteractionInvalidResponse"),
        (b'{"message": 1}', "PipelineInteractionInvalidResponse"),
    ],
)
def test_a_failed_process_is_over(body: bytes, code: str) -> None:
    fatal = observation(500, body).fatal
    assert fatal
    assert fatal.error_code == code


def test_what_a_process_says_has_a_bound() -> None:
    long = {**error("RuntimeError.WorkerPanic"), "message": "x" * 200_000, "details": {"y": "z" * 200_000}}
    fatal = observation(500, json.dumps(long).encode()).fatal
    assert fatal
    assert "196000 characters are left out" in fatal.message
    assert "200009 bytes" in fatal.details["reason"]
    seen = observation(200, json.dumps({**PAUSED, "runtime_status_details": long}).encode())
    assert (seen.runtime_status, list(seen.details)) == (RuntimeStatus.PAUSED, ["reason"])
    assert len(seen.model_dump_json()) < 1_000


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (None, {}),
        ("slow", {"reason": "slow"}),
        (True, {"reason": "Bool: true"}),
        (7, {"reason": "Number: 7"}),
        ([1], {"reason": "Array: [1]"}),
        ({"program_diff": 1}, {"approval_diff": {"program_diff": 1}}),
        ({"connector_stats": {"num_errors": 1}}, {"connector_stats": {"num_errors": 1}}),
    ],
)
def test_details_of_all_ages(raw: Any, shown: dict[str, Any]) -> None:
    assert runtime_client.details(raw) == shown


# Over the wire


@pytest.fixture
async def client() -> AsyncIterator[RuntimeClient]:
    """A client whose tokens name what they are for."""
    async with RuntimeClient(lambda deployment_id: f"for {deployment_id}") as client:
        yield client


async def test_somebody_else_at_the_address_is_nobody(client: RuntimeClient) -> None:
    async def foreign(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(foreign, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable, match="not this deployment"):
            await client.forward(address, "d1", Outgoing("GET", b"/stats", timeout=5.0))
        with pytest.raises(Unreachable, match="not this deployment"):
            await client.command(address, "d1", "POST", "/pause")


async def test_passing_on(client: RuntimeClient, api_process: Any) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"1\n"
        yield b"2\n"

    headers = [("Authorization", "Bearer mine"), ("Cookie", "x"), ("Content-Type", "text/csv")]
    outgoing = Outgoing("POST", b"/ingress/t%20x?format=csv&x=%2F", headers, rows(), 5.0)
    answer = await client.forward(api_process.address, "d1", outgoing)
    body = b"".join([part async for part in parts(answer)])
    await answer.aclose()
    assert json.loads(body) == {"token": "t", "query": "format=csv&x=%2F"}
    assert api_process.bodies[-1] == b"1\n2\n"
    assert api_process.authorizations[-1] == "Bearer for d1"
    names = {name for name, _ in relayed_headers(answer)}
    assert b"content-type" in names
    assert not names & {b"connection", b"transfer-encoding", b"server", b"date"}


async def test_nobody_listens(client: RuntimeClient) -> None:
    with pytest.raises(NotConnected, match="Failed to connect to host"):
        await client.status("127.0.0.1:1", "d", timeout=1)
    with pytest.raises(NotConnected, match="Failed to connect to host"):
        await client.status("not an address", "d", timeout=1)


async def test_nobody_answers(client: RuntimeClient, api_process: Any) -> None:
    with pytest.raises(TimedOut, match=r"0\.1 s"):
        await client.command(api_process.address, "d", "GET", "/query?sql=wait", timeout=0.1)


async def test_commands(client: RuntimeClient, api_process: Any) -> None:
    await client.command(api_process.address, "d", "GET", "/stats")
    with pytest.raises(Busy, match="not yet"):
        await client.command(api_process.address, "d", "GET", "/query?sql=busy")
    with pytest.raises(Refused, match="no") as refused:
        await client.command(api_process.address, "d", "POST", "/ingress/missing")
    assert (refused.value.status_code, refused.value.response.error_code) == (
        404,
        "ConfigError.UnknownInputStream",
    )

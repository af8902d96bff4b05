"""A line to a process is kept open, tells when the process hangs up, and is none the worse for what fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sluicegate import lines
from sluicegate.lines import Broken, Line
from sluicegate.runtime_client import Disconnected, NotConnected, RuntimeClient, TimedOut, Unreachable

BODY = b'{"runtime_status": "Running", "runtime_desired_status": "Paused"}'
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY


class Server:
    """Answers each request with the next of its answers, the last one for ever; None hangs up instead."""

    def __init__(self, *answers: bytes | None) -> None:
        """Nobody has called yet."""
        self.answers = list(answers)
        self.calls = 0
        self.requests: list[bytes] = []
        self.peers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.calls += 1
        self.peers.append(writer)
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if answer is CLOSED:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the line was closed
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[tuple[Server, str]]:
    """A server, and where it is."""
    server = Server(*answers)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()[:2]
        yield server, f"{host}:{port}"


@pytest.fixture
async def runtime() -> AsyncIterator[RuntimeClient]:
    """A client whose lines end with the test."""
    async with RuntimeClient(lambda deployment: f"token of {deployment}") as client:
        yield client


async def test_looks_share_a_connection(runtime: RuntimeClient) -> None:
    async with serving(KEPT) as (server, location):
        for _ in range(5):
            assert (await runtime.status(location, "d", timeout=5)).runtime_status == "Running"
    assert (server.calls, len(server.requests)) == (1, 5)
    assert b"GET /status HTTP/1.1\r\n" in server.requests[0]
    assert b"Authorization: Bearer token of d\r\n" in server.requests[0]


async def test_one_that_was_closed_is_made_again(runtime: RuntimeClient) -> None:
    async with serving(CLOSED) as (server, location):
        for _ in range(3):
            assert (await runtime.status(location, "d", timeout=5)).runtime_status == "Running"
    assert server.calls == 3


async def test_a_look_that_meets_the_end_of_the_line_is_made_again(runtime: RuntimeClient) -> None:
    async with serving(KEPT, None, KEPT) as (server, location):
        for _ in range(2):
            assert (await runtime.status(location, "d", timeout=5)).runtime_status == "Running"
    assert server.calls == 2


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((None,), Disconnected),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None), TimedOut),
        ((b"what?\r\n\r\n",), Disconnected),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000000x\r\n\r\n",), Disconnected),
    ],
)
async def test_what_goes_wrong(runtime: RuntimeClient, answers: Any, problem: type[Unreachable]) -> None:
    async with serving(*answers) as (_, location):
        with pytest.raises(problem):
            await runtime.status(location, "d", timeout=0.5)


@pytest.mark.parametrize("location", ["127.0.0.1:1", "not an address", "", "127.0.0.1:x", "[::1"])
async def test_nobody_is_there(runtime: RuntimeClient, location: str) -> None:
    with pytest.raises(NotConnected):
        await runtime.status(location, "d", timeout=5)


async def test_the_next_look_has_an_answer_of_its_own(
    runtime: RuntimeClient,
) -> None:
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    async with serving(late, KEPT) as (_, location):
        with pytest.raises(TimedOut):
            await runtime.status(location, "d", timeout=0.2)
        assert (await runtime.status(location, "d", timeout=5)).runtime_status == "Running"


async def test_an_answer_without_end_is_cut_off() -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
    async with serving(endless) as (_, location):
        line = Line(location, lambda: None)
        assert await line.get("/status", "t", 100) == (200, b"x" * 1024)
        line.end()


async def test_a_process_that_hangs_up_is_noticed_at_once(
    runtime: RuntimeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "HANGS_UP_AFTER", 0.0)
    noticed = asyncio.Event()
    async with serving(KEPT) as (server, location):
        await runtime.status(location, "d", timeout=5, hung_up=noticed.set)
        assert not noticed.is_set()
        server.peers[0].close()
        await asyncio.wait_for(noticed.wait(), 10)


async def test_a_server_that_closes_each_connection_says_nothing_by_it(runtime: RuntimeClient) -> None:
    noticed = asyncio.Event()
    async with serving(CLOSED) as (server, location):
        await runtime.status(location, "d", timeout=5, hung_up=noticed.set)
        await asyncio.wait_for(server.peers[0].wait_closed(), 10)
        await runtime.status(location, "d", timeout=5, hung_up=noticed.set)
    assert not noticed.is_set()


async def test_a_line_that_nobody_uses_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(lines, "CLOSED_AFTER", 0.05)
    forgotten = asyncio.Event()
    async with serving(KEPT) as (server, location):
        line = Line(location, forgotten.set)
        await line.get("/status", "t", 1000)
        await asyncio.wait_for(forgotten.wait(), 10)
        await asyncio.wait_for(server.peers[0].wait_closed(), 10)


async def test_a_broken_line_says_so() -> None:
    async with serving(None) as (_, location):
        line = Line(location, lambda: None)
        with pytest.raises(Broken):
            await line.get("/status", "t", 1000)
        line.end()

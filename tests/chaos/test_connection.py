"""A client of the harness asks again under its key until it is decided, and knows what it does not know."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.gateway import RECORDED
from tests.chaos import connection, history
from tests.chaos.connection import Commander
from tests.chaos.history import ACCEPTED, Operation
from tests.chaos.recording import Recording

UNKNOWN = (404, {"error_code": "UnknownPipelineName"})
LOST = (503, {"error_code": "OutcomeUnknown"})


@asynccontextmanager
async def answering(answers: Iterator[tuple[int, object]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A front end that gives one answer after the other; its address, and the keys that it was sent."""
    keys: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        keys.extend(line.split(": ")[1] for line in head.splitlines() if "idempotency-key" in line.lower())
        status, body = next(answers)
        content = json.dumps(body).encode()
        lines = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(lines.encode() + content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", keys


async def told(folder: Path, *answers: tuple[int, object]) -> tuple[Operation, list[str]]:
    """Give one command; what the history says of it, and the keys that were sent."""
    recording = Recording(folder)
    async with answering(iter(answers)) as (url, keys):
        client = Commander((url,), "tenant", 1, (1, recording))
        await client.say("p", "start")
        await client.aclose()
    [operation] = history.read(recording.path("history"))
    return operation, keys


async def test_what_is_on_record_is_asked_for_again_under_the_same_key(tmp_path: Path) -> None:
    operation, keys = await told(tmp_path, (202, RECORDED), LOST, (202, "Pipeline is starting"))
    assert operation.outcome == ACCEPTED
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_refusal_is_its_code(tmp_path: Path) -> None:
    operation, _ = await told(tmp_path, (400, {"error_code": "IllegalPipelineAction"}))
    assert operation.outcome == "IllegalPipelineAction"


@pytest.mark.parametrize(
    ("answers", "outcome"), [((UNKNOWN,), "UnknownPipelineName"), ((LOST, UNKNOWN), None)]
)
async def test_gone_at_the_second_time_of_asking_says_nothing_of_the_first(
    tmp_path: Path, answers: tuple[tuple[int, object], ...], outcome: str | None
) -> None:
    operation, _ = await told(tmp_path, *answers)
    assert operation.outcome == outcome
    assert (operation.end == float("inf")) is (outcome is None)


async def test_an_answer_that_no_rule_gives_is_an_outcome(tmp_path: Path) -> None:
    operation, _ = await told(tmp_path, (500, "Internal Server Error"))
    assert operation.outcome == "HTTP 500"


async def test_patience_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    operation, _ = await told(tmp_path, *[LOST] * 100)
    assert (operation.outcome, operation.ended) == (None, None)

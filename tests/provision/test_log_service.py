"""The log service of a host, spoken to over its socket."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sluicegate import logs
from sluicegate.provision import LogPlace

PIPELINE = "0190d6b4-6b1f-7c3a-9f52-2c0d6f1b8a11"
EPOCH = "0190d6b4-6b1f-7c3a-9f52-2c0d6f1b8a12"
AUTH = {"Authorization": "Bearer secret"}


class Source:
    """Logs of one pipeline, that never end when followed."""

    def __init__(self) -> None:
        self.open = 0
        self.start: int | None = None
        self.collected: dict[str, bytes] = {}
        self.asked: list[tuple[str, bool]] = []

    async def log_place(self, pipeline_id: str, cursor: str) -> LogPlace:
        """Begin where the cursor says."""
        read = int(cursor.partition(":")[2] or 0)
        return LogPlace(start=read * 100, epoch=EPOCH, seq=read, gap=1)

    async def keep(self, pipeline_id: str, name: str, data: bytes) -> None:
        """Keep it, unless the pipeline is another."""
        if pipeline_id != PIPELINE:
            raise FileNotFoundError
        self.collected[name] = data

    async def kept(self, pipeline_id: str) -> dict[str, bytes]:
        """Give it."""
        return self.collected

    async def logs(
        self, pipeline_id: str, *, follow: bool = True, start: int | None = None
    ) -> AsyncIterator[bytes]:
        """Give two lines, and then wait for ever."""
        self.asked.append((pipeline_id, follow))
        self.start = start
        self.open += 1
        try:
            yield b"one\n"
            yield b"two\n"
            if follow:
                await asyncio.Event().wait()
        finally:
            self.open -= 1


@pytest.fixture
def source() -> Source:
    """What is served."""
    return Source()


@pytest.fixture
def stop() -> asyncio.Event:
    """Ends the service."""
    return asyncio.Event()


@pytest.fixture
async def client(source: Source, stop: asyncio.Event) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running service."""
    bound = logs.bind("127.0.0.1")
    serving = asyncio.create_task(logs.serve(logs.create_app(source, "secret"), bound, stop))
    base = f"http://127.0.0.1:{bound.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=base, headers=AUTH, trust_env=False) as found:
        yield found
    stop.set()
    async with asyncio.timeout(10):
        await serving


async def test_history_with_the_headers_of_a_log(client: httpx.AsyncClient, source: Source) -> None:
    answer = await client.get(f"/logs/{PIPELINE}", params={"follow": "false"})
    assert answer.text == "one\ntwo\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert source.asked == [(PIPELINE, False)]


async def test_a_reader_with_a_cursor_is_told_where_it_begins(
    client: httpx.AsyncClient, source: Source
) -> None:
    for cursor, seq in (("", "0"), (f"{EPOCH}:7", "7")):
        asked = {"follow": "false", "cursor": cursor}
        answer = await client.get(f"/logs/{PIPELINE}", params=asked)
        assert answer.text == "one\ntwo\n"
        told = {name: answer.headers[f"feldera-logs-{name}"] for name in ("epoch", "seq", "gap")}
        assert told == {"epoch": EPOCH, "seq": seq, "gap": "1"}
        assert source.start == int(seq) * 100
    plain = await client.get(f"/logs/{PIPELINE}", params={"follow": "false"})
    assert "feldera-logs-epoch" not in plain.headers
    assert source.start is None


@pytest.mark.parametrize("cursor", ["nonsense", "7", f"{EPOCH}:", f"{EPOCH}:-1", f"{EPOCH}:1 "])
async def test_a_garbled_cursor_is_refused(client: httpx.AsyncClient, source: Source, cursor: str) -> None:
    assert (await client.get(f"/logs/{PIPELINE}", params={"cursor": cursor})).status_code == 400
    assert source.asked == []


async def test_a_counted_stream_ends_without_a_line_of_ours(
    client: httpx.AsyncClient, source: Source, stop: asyncio.Event
) -> None:
    async with client.stream("GET", f"/logs/{PIPELINE}", params={"cursor": ""}) as answer:
        received = answer.aiter_lines()
        assert await anext(received) == "one"
        stop.set()
        assert [line async for line in received] == ["two"]
    assert source.open == 0


async def test_a_client_that_leaves_ends_the_iterator(
    client: httpx.AsyncClient, source: Source, until: Any
) -> None:
    async with client.stream("GET", f"/logs/{PIPELINE}") as answer:
        received = answer.aiter_lines()
        assert [await anext(received), await anext(received)] == ["one", "two"]
        assert source.open == 1
    await until(lambda: source.open == 0)


async def test_open_streams_end_with_a_line_when_the_service_stops(
    client: httpx.AsyncClient, source: Source, stop: asyncio.Event
) -> None:
    async with client.stream("GET", f"/logs/{PIPELINE}") as answer:
        received = answer.aiter_lines()
        assert await anext(received) == "one"
        stop.set()
        assert "stopping" in [line async for line in received][-1]
    assert source.open == 0


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer sécret", "Basic secret", "secret"])
async def test_without_the_token_there_is_nothing(
    client: httpx.AsyncClient, source: Source, header: str
) -> None:
    answer = await client.get(f"/logs/{PIPELINE}", headers={b"Authorization": header.encode()})
    assert answer.status_code == 401
    assert source.asked == []


@pytest.mark.parametrize("name", ["x", "..%2f..%2fetc%2fpasswd", "%2e%2e", PIPELINE + "x"])
async def test_only_a_uuid_names_a_pipeline(client: httpx.AsyncClient, source: Source, name: str) -> None:
    assert (await client.get(f"/logs/{name}")).status_code == 404
    assert source.asked == []


MOMENT = "2025-01-01T00-00-00.000001Z"


async def test_collections_are_kept(client: httpx.AsyncClient) -> None:
    assert (await client.put(f"/collected/{PIPELINE}/{MOMENT}", content=b"x" * 100_000)).status_code == 204
    answer = await client.get(f"/collected/{PIPELINE}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [MOMENT]
        assert archive.read(MOMENT) == b"x" * 100_000


async def test_collections_that_are_refused(
    client: httpx.AsyncClient, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LARGEST", 10)
    other = "0190d6b4-6b1f-7c3a-9f52-2c0d6f1b8a99"
    for path, content, status in (
        (f"{PIPELINE}/{MOMENT}", b"x" * 11, 413),
        (f"{PIPELINE}/..", b"", 404),
        (f"{PIPELINE}/{MOMENT}.zip", b"", 404),
        (f"{other}/{MOMENT}", b"", 404),
        (f"x/{MOMENT}", b"", 404),
    ):
        assert (await client.put(f"/collected/{path}", content=content)).status_code == status
    for call in (f"PUT {PIPELINE}/{MOMENT}", f"GET {PIPELINE}"):
        method, _, path = call.partition(" ")
        answer = await client.request(method, f"/collected/{path}", headers={"Authorization": "Bearer no"})
        assert answer.status_code == 401
    assert source.collected == {}


async def test_health_needs_no_token(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"Authorization": ""})
    assert answer.text == "ok\n"


def test_a_port_is_taken_again_if_it_is_free() -> None:
    first = logs.bind("127.0.0.1")
    first.listen()
    port = first.getsockname()[1]
    with logs.bind("127.0.0.1", port) as other:
        assert other.getsockname()[1] != port
    first.close()
    with logs.bind("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port

"""What the tests of transports share: taking a source's chunks, and small servers on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sluicegate.engine.formats.config import Raw
from sluicegate.engine.formats.splitting import Splitter
from sluicegate.engine.transports.protocol import Chunk, Gate, Source, Surroundings

LOOPBACK = ("127.0.0.0/8",)


def opened() -> Gate:
    """Return a gate that is open."""
    gate = Gate()
    gate.set(active=True)
    return gate


def around(*folders: Path, networks: tuple[str, ...] = LOOPBACK, most: int | None = None) -> Surroundings:
    """Return surroundings for lines of text."""
    return Surroundings(
        splitter=lambda: Splitter(Raw(0, lines=True), most), folders=folders, networks=networks
    )


async def all_of(source: Source, offset: Any = None) -> tuple[bytes, Any]:
    """Return all bytes that a source gives after an offset, and the offset at its end."""
    found = b""
    async for chunk in source.chunks(offset, opened()):
        found += chunk.data
        offset = chunk.offset
    return found, offset


async def until(chunks: AsyncIterator[Chunk], size: int) -> Chunk:
    """Take chunks until so many bytes have come; returns the last one."""
    while True:
        chunk = await anext(chunks)
        size -= len(chunk.data)
        if size <= 0:
            return chunk


Handler = Callable[[str, dict[str, str], asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP by a handler, which is given path and headers and writes its answer; yields the URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            await handler(request.split(" ")[1], headers, writer)
            await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answer(status: str, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """Write an answer, whose length may be a lie."""
    given = {"Content-Length": str(len(body) if length is None else length), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body

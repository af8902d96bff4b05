"""A way to a server that breaks: connections are reset after so many bytes of answers, or of questions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Way:
    """Relays to one server."""

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self.limit: int | None = None
        """Bytes that a connection may carry in one direction; None for all."""
        self.broken = 0
        """Connections that were cut."""
        self.url = ""

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on both ways until one ends or is cut."""
        there_reader, there_writer = await asyncio.open_connection(self._there.hostname, self._there.port)
        ways = [
            asyncio.create_task(self._pass(reader, there_writer)),
            asyncio.create_task(self._pass(there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, there_writer):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = 0
        while piece := await reader.read(64 << 10):
            carried += len(piece)
            if self.limit is not None and carried > self.limit:
                self.broken += 1
                return
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def breaking(url: str) -> AsyncIterator[Way]:
    """Listen on a port of our own."""
    way = Way(url)
    server = await asyncio.start_server(way.relay, "127.0.0.1", 0)
    try:
        way.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield way
    finally:
        server.close()

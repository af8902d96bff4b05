"""A proxy of our own, for libraries that make their connections themselves.

What goes through it reaches what `network` allows, redirects included, and nothing else. It listens on
loopback and wants a password, so that no other process of the host is served.
"""

import asyncio
import base64
import secrets
from urllib.parse import urlsplit

from sluicegate.engine.transports import network
from sluicegate.engine.transports.protocol import Fatal, Unavailable

HEAD = 64 << 10
"""Bytes of the head of a request."""
PIECE = 256 << 10
HOP_BY_HOP = ("proxy-", "connection:", "keep-alive:")


class Outbound:
    """The proxy of one connector."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """Allow public addresses and some networks."""
        self._networks = networks
        self._password = secrets.token_hex(16)
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; returns the URL that clients use."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://sluicegate:{self._password}@127.0.0.1:{port}"

    async def close(self) -> None:
        """Listen no more, and break off what goes through."""
        if self._server is not None:
            self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever asked sees the connection end, and says so
        except asyncio.CancelledError:
            pass  # the connector has ended
        finally:
            self._relays.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *headers = head.rstrip().split("\r\n")
        method, target, _ = request.split(" ", 2)
        if not self._is_ours(headers):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        tunnel = method == "CONNECT"
        url = urlsplit(f"//{target}" if tunnel else target)
        port = url.port or (443 if tunnel else 80)
        try:
            connected = await network.connect(url.hostname or "", port, self._networks)
        except (Fatal, Unavailable) as error:
            status = "403 Forbidden" if isinstance(error, Fatal) else "502 Bad Gateway"
            body = str(error).encode()
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return
        there_reader, there_writer = await asyncio.open_connection(sock=connected)
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            there_writer.write(_origin_form(method, url.path, url.query, headers))
        await _relay((reader, writer), (there_reader, there_writer))

    def _is_ours(self, headers: list[str]) -> bool:
        expected = base64.b64encode(f"sluicegate:{self._password}".encode()).decode()
        given = [line.partition(":")[2].strip() for line in headers if _is(line, "proxy-authorization:")]
        return len(given) == 1 and secrets.compare_digest(given[0], f"Basic {expected}")


def _origin_form(method: str, path: str, query: str, headers: list[str]) -> bytes:
    """Return the head for the server itself; its connection ends with the answer, as ours does."""
    kept = [line for line in headers if not any(_is(line, name) for name in HOP_BY_HOP)]
    target = (path or "/") + (f"?{query}" if query else "")
    lines = [f"{method} {target} HTTP/1.1", *kept, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _is(line: str, name: str) -> bool:
    return line.lower().startswith(name)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _relay(here: Ends, there: Ends) -> None:
    """Pass bytes on in both directions until the server has no more, or the client has gone."""
    ways = [asyncio.create_task(_pass(there[0], here[1])), asyncio.create_task(_pass(here[0], there[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        there[1].close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()

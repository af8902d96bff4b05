"""Lines: a connection to each process that is looked at, kept open between looks.

A pool of connections searches itself at every request, which for a thousand processes costs more than the
requests. A line belongs to one process, speaks HTTP/1.1 by h11, and tells at once when the other side hangs
up, which is how a process that dies is noticed before the next look.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import h11

CLOSED_AFTER = 60.0
"""Seconds without a look after which a line is closed, longer than looks ever are apart."""
CONNECT_WITHIN = 5.0
HANGS_UP_AFTER = 0.5
"""Seconds that the other side must have kept an idle line for its end to mean anything: some servers close
each connection when they have answered."""


class Broken(Exception):
    """The line ended in the middle of a request."""


class _Protocol(asyncio.Protocol):
    """Feeds what comes into h11, and remembers that the other side has hung up."""

    def __init__(self, hung_up: Callable[[], None]) -> None:
        self.http = h11.Connection(h11.CLIENT)
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self._hung_up = hung_up
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self.http.receive_data(data)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take that nothing more comes."""
        self.closed = True
        self.http.receive_data(b"")
        self._news.set()
        self._hung_up()

    async def event(self) -> object:
        """The next thing that the other side says. Raises h11.RemoteProtocolError."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self._news.clear()
            await self._news.wait()
        return event


class Line:
    """The line to one process."""

    def __init__(self, location: str, forgotten: Callable[[], None]) -> None:
        """Connect at the first request; `forgotten` is called when nobody has looked for a while."""
        self._location = location
        self._forgotten = forgotten
        self._protocol: _Protocol | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._answered_at = float("inf")
        self._turn = asyncio.Lock()
        self.tell: Callable[[], None] | None = None
        """Called when the process hangs up on an idle line."""

    async def get(self, path: str, token: str, at_most: int) -> tuple[int, bytes]:
        """Ask, and return status and body, which is cut off where it is longer than `at_most` bytes.

        Raises Broken, and OSError or ValueError where no connection can be made.
        """
        async with self._turn:
            if self._closing is not None:
                self._closing.cancel()
            reused = self._protocol is not None and not self._protocol.closed
            try:
                try:
                    return await self._ask(path, token, at_most)
                except Broken:
                    if not reused:
                        raise
                    self.close()  # it had been hung up on while nobody looked
                    return await self._ask(path, token, at_most)
            except BaseException:
                self.close()  # whatever comes on it now answers nobody
                raise
            finally:
                self._closing = asyncio.get_running_loop().call_later(CLOSED_AFTER, self._forget)

    def close(self) -> None:
        """Hang up."""
        protocol, self._protocol = self._protocol, None
        self._answered_at = float("inf")
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()

    def end(self) -> None:
        """Hang up for good."""
        if self._closing is not None:
            self._closing.cancel()
        self.close()

    def _forget(self) -> None:
        self.close()
        self._forgotten()

    async def _ask(self, path: str, token: str, at_most: int) -> tuple[int, bytes]:
        protocol = await self._connected()
        self._answered_at = float("inf")
        request = h11.Request(
            method="GET",
            target=path,
            headers=[("Host", self._location), ("Authorization", f"Bearer {token}")],
        )
        assert protocol.transport is not None
        protocol.transport.write(protocol.http.send(request) or b"")
        protocol.http.send(h11.EndOfMessage())
        status, body = 0, bytearray()
        try:
            while not isinstance(event := await protocol.event(), h11.EndOfMessage):
                match event:
                    case h11.Response():
                        status = event.status_code
                    case h11.Data():
                        body += event.data
                        if len(body) > at_most:
                            self.close()
                            return status, bytes(body)
                    case h11.ConnectionClosed():
                        raise Broken("the connection was closed")
        except h11.RemoteProtocolError as nonsense:
            raise Broken(str(nonsense)) from nonsense
        if protocol.http.our_state is h11.DONE and protocol.http.their_state is h11.DONE:
            protocol.http.start_next_cycle()
            self._answered_at = asyncio.get_running_loop().time()
        else:
            self.close()
        return status, bytes(body)

    async def _connected(self) -> _Protocol:
        if self._protocol is None or self._protocol.closed:
            self.close()
            where = urlsplit(f"//{self._location}")
            if not where.hostname or where.port is None:
                raise ValueError(f"{self._location!r} is not an address")
            async with asyncio.timeout(CONNECT_WITHIN):
                _, self._protocol = await asyncio.get_running_loop().create_connection(
                    lambda: _Protocol(self._hung_up), where.hostname, where.port
                )
        return self._protocol

    def _hung_up(self) -> None:
        idle_for = asyncio.get_running_loop().time() - self._answered_at
        if self.tell is not None and idle_for > HANGS_UP_AFTER:
            self.tell()

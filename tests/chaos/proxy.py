"""A relay in front of a part, which may be slow, and can reset its connections in the middle of an answer."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE = 64 << 10


class Proxy:
    """Relays connections to a port until it is told to cut them."""

    def __init__(self, target: int, lag: float = 0) -> None:
        """Relay to that port of this machine, so many seconds late in both directions."""
        self._target = target
        self._lag = lag
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        self.port = 0
        self.cuts = 0
        """Ends of connections that were reset."""

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        if self._server:
            self._server.close()
        self._reset()

    def cut_after(self, size: int) -> None:
        """Let that many bytes of answers pass, by whichever connections, then reset all that there are."""
        self._left = size

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            behind, before = await asyncio.open_connection("127.0.0.1", self._target)
            ends.add(before)
            self._ends |= ends
            await asyncio.gather(self._pump(reader, before), self._answers(behind, writer))
        except OSError:
            pass  # either side has hung up, or nobody listens: the other one is told so
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(self._lag)
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(self._lag)
            if self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            writer.write(piece)
            if self._left == 0:
                self._left = None
                self.cuts += len(self._ends)
                self._reset()
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    def _reset(self) -> None:
        for end in self._ends:
            end.transport.abort()

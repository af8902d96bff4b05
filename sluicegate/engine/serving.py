"""The HTTP server of the engine: sleeps until there is something to do, and ends as soon as it can.

What it is made from wakes up ten times a second, in each of a thousand idle engines, and keeps whoever waits
for the end waiting as long.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

DRAIN = 1
"""Seconds that requests in flight get at the end."""
LOOK_EVERY = 0.002
"""Seconds between looks at whether they are over."""


class Server(uvicorn.Server):
    """A server that leaves signals to us: its own handler would end the process by the signal."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Serve until told to end."""
        super().__init__(config)
        self._told_to_end = asyncio.Event()

    def end(self) -> None:
        """Have it end."""
        self._told_to_end.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def main_loop(self) -> None:
        """Wait."""
        await self._told_to_end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle at once, and the rest after its answer, which has so much time."""
        for server in self.servers:
            server.close()
        for bound in sockets or []:
            bound.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while self.server_state.connections:
                    await asyncio.sleep(LOOK_EVERY)


class WebSocket(asyncio.Protocol):
    """The protocol of a WebSocket; what makes it up is imported with the first one, not at the start."""

    def __new__(cls, **arguments: Any) -> Any:
        """Return one."""
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

        return WebSocketsSansIOProtocol(**arguments)

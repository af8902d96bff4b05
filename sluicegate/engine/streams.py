"""The streams of a pipeline: how many there may be, and how they end with it (contract §4.5, §5.3)."""

import asyncio
from typing import TYPE_CHECKING

from sluicegate.engine.errors import EngineError

if TYPE_CHECKING:
    from sluicegate.engine.stream import Stream

MOST = 100
"""Streams of a pipeline at once."""
PARTING = 0.5
"""Seconds that readers get for what has been delivered, when a pipeline ends."""


class Streams:
    """The streams of a pipeline."""

    def __init__(self) -> None:
        self._running: set[Stream] = set()
        self._closed: EngineError | None = None

    def add(self, stream: "Stream") -> None:
        """Take in one more; raises where that is one too many."""
        if self._closed is not None:
            raise self._closed
        if len(self._running) >= MOST:
            message = f"The pipeline has {MOST} API connections already; close one of them"
            raise EngineError(429, "ApiConnectionLimit", message)
        self._running.add(stream)

    def remove(self, stream: "Stream") -> None:
        """Forget one that has ended."""
        self._running.discard(stream)

    def end(self) -> None:
        """Have all end when they have sent what has been delivered."""
        for stream in self._running:
            stream.end()

    def cut_snapshots(self) -> None:
        """Break those off that are still sending the snapshot that they begin with."""
        for stream in self._running:
            if stream.sends_snapshot:
                stream.cut()

    async def close(self, reason: EngineError) -> None:
        """Have all end, soon; no other begins, for the given reason."""
        self._closed = reason
        self.end()
        ends = [asyncio.create_task(stream.ended.wait()) for stream in self._running]
        if ends:
            await asyncio.wait(ends, timeout=PARTING)
        for stream in self._running:
            stream.cut()
        await asyncio.gather(*ends)

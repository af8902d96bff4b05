"""A file that comes in pieces, down on the disk when it is finished."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path


class Receiver:
    """One file; its methods block."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.size = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, target: Path) -> AsyncIterator["Receiver"]:
        """Begin a file anew."""
        file = await asyncio.to_thread(FileIO, target, "wb")
        try:
            yield cls(file)
        finally:
            await asyncio.to_thread(file.close)

    def take(self, piece: "memoryview | bytes") -> None:
        """Add a piece; raises OSError where the disk is full."""
        rest = memoryview(piece)
        while rest:
            written = self._file.write(rest)
            self.size += written
            rest = rest[written:]

    def finish(self) -> None:
        """Have all of it on the disk."""
        os.fsync(self._file.fileno())

"""A file that comes in pieces, down on the disk when it is finished."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO


class Receiver:
    """One file; its methods block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, target: Path) -> AsyncIterator["Receiver"]:
        """Begin a file anew."""
        file = await asyncio.to_thread(target.open, "wb")
        try:
            yield cls(file)
        finally:
            await asyncio.to_thread(file.close)

    def take(self, piece: "memoryview | bytes") -> None:
        """Add a piece; raises OSError where the disk is full."""
        self.size += self._file.write(piece)

    def finish(self) -> None:
        """Have all of it on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

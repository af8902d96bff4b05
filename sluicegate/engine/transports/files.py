"""Files: read once or followed as they grow, and written with each step on disk before it counts."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sluicegate.engine.transports import framing, places
from sluicegate.engine.transports.options import Options
from sluicegate.engine.transports.protocol import Chunk, Fatal, Gate, Surroundings

LOOK_EVERY = 0.2
"""Seconds between looks at whether a followed file has grown."""


class FileSource:
    """Reads a file; an offset is a position in bytes."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Read the configuration; raises BadConfig."""
        options = Options("file_input", config)
        self._path = places.path_of(options.required_text("path"), surroundings)
        self._piece = options.count("buffer_size_bytes", framing.PIECE, least=1, most=framing.LARGEST)
        self._follow = options.flag("follow")
        self._surroundings = surroundings

    async def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Read what follows a position."""
        at = int(offset or 0)
        assert self._surroundings.splitter is not None
        splitter = self._surroundings.splitter()
        await gate.opens()
        descriptor = await asyncio.to_thread(places.open_to_read, self._path, self._surroundings)
        try:
            pieces = self._pieces(descriptor, at, gate)
            async for data, end in framing.whole_records(pieces, splitter, at):
                yield Chunk(data, end, first=end == len(data))
        finally:
            os.close(descriptor)

    async def _pieces(self, descriptor: int, at: int, gate: Gate) -> AsyncIterator[bytes]:
        while True:
            await gate.opens()
            piece = await asyncio.to_thread(os.pread, descriptor, self._piece, at)
            if piece:
                at += len(piece)
                yield piece
                continue
            self._check(descriptor, at)
            if not self._follow:
                return
            await asyncio.sleep(LOOK_EVERY)

    def _check(self, descriptor: int, at: int) -> None:
        """See that the file is still the one that was begun; raises Fatal."""
        opened = os.fstat(descriptor)
        if opened.st_size < at:
            raise Fatal(f"{self._path} was cut to {opened.st_size} bytes after {at} had been read")
        if not self._follow:
            return
        try:
            named = os.stat(self._path)
        except OSError as error:
            raise Fatal(f"{self._path} is gone: {error.strerror}") from error
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            raise Fatal(f"{self._path} was replaced by another file after {at} bytes had been read")


class FileSink:
    """Writes a file, which begins empty at each start of the pipeline."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Read the configuration; raises BadConfig."""
        path = places.path_of(Options("file_output", config).required_text("path"), surroundings)
        self._descriptor = places.open_to_write(path, surroundings)

    async def write(self, data: bytes) -> None:
        """Append to the file, down to the disk."""
        await asyncio.to_thread(self._write, data)

    async def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise Fatal(f"cannot write the file: {error.strerror}") from error

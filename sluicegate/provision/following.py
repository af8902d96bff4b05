"""Following a pipeline's log: what is kept of it, then what is appended, until the pipeline is deleted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from sluicegate.provision.folder import Folder
from sluicegate.provision.logfile import fresh_line, labels_of, manager_line

POLL = 0.1
"""Seconds between two looks: a reader notices no delay, and a look costs some 20 microseconds."""

_LONGEST_LINE = 65_536


class _Lines:
    """Cuts a stream of bytes after its last whole line."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """Return the whole lines so far; a line without an end is given out once it is absurdly long."""
        data = self._rest + data
        cut = len(data) if len(data) > _LONGEST_LINE and b"\n" not in data else data.rfind(b"\n") + 1
        self._rest = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        """Return what has no end yet, with one."""
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


async def follow(folder: Folder, *, forever: bool) -> AsyncGenerator[bytes]:
    """Yield chunks of whole lines: the history, then (forever) what follows it."""
    labels, lines = labels_of(folder.pipeline_id, ""), _Lines()
    made_up = not folder.log.path.exists()
    if made_up:
        yield fresh_line(labels)
    async with contextlib.aclosing(_pieces(folder, forever=forever)) as pieces:
        async for piece in pieces:
            # The file begins with the line that was made up for it above.
            data, made_up = piece[piece.find(b"\n") + 1 :] if made_up else piece, False
            if chunk := lines.take(data):
                yield chunk
    if rest := lines.rest():
        yield rest
    if folder.removed:
        yield manager_line("end of the logs: the pipeline was deleted", labels)


async def _pieces(folder: Folder, *, forever: bool) -> AsyncGenerator[bytes]:
    """Yield the log as it is read, until the pipeline is deleted or (not forever) there is no more of it."""
    log = folder.log
    position, data = await asyncio.to_thread(log.history)
    while True:
        if data:
            yield data
        expected = position + len(data)
        position, data = log.read(expected)
        if position != expected:
            labels = labels_of(folder.pipeline_id, "")
            yield b"\n" + manager_line("lines were rotated away before they were read", labels)
        if data:
            continue
        if folder.removed or not (forever or position < log.end()):
            return
        await asyncio.sleep(POLL)

"""Following a pipeline's log: what is kept of it, then what is appended, until the pipeline is deleted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from uuid import UUID, uuid5

from sluicegate.provision import LogPlace
from sluicegate.provision.folder import Folder
from sluicegate.provision.logfile import fresh_line, labels_of, manager_line
from sluicegate.provision.numbering import Line

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


def place(folder: Folder, host_id: str, cursor: str) -> LogPlace:
    """Say where a reader begins; a cursor of another log counts as none, one from beyond the end as the end.

    A log lives as long as the pipeline on this host, so both name it, also before its first line.
    """
    epoch = str(uuid5(UUID(folder.pipeline_id), host_id))
    given, _, count = cursor.partition(":")
    wanted = int(count) if given == epoch else 0
    try:
        found = folder.log.line(wanted)
    except FileNotFoundError:
        found = Line(0, 0)
    return LogPlace(found.position, epoch, found.number, max(0, found.number - wanted))


async def follow_from(folder: Folder, start: int, *, forever: bool) -> AsyncGenerator[bytes]:
    """Yield lines from a position on and nothing that does not stand in the log, so that they can be counted:
    it ends where lines were rotated away before they were read."""
    while forever and not (folder.log.path.exists() or folder.removed):
        await asyncio.sleep(POLL)
    lines, expected = _Lines(), start
    async with contextlib.aclosing(_read(folder, start, forever=forever)) as pieces:
        async for position, piece in pieces:
            if position != expected:
                return
            expected += len(piece)
            if chunk := lines.take(piece):
                yield chunk


async def _pieces(folder: Folder, *, forever: bool) -> AsyncGenerator[bytes]:
    """Yield the log as it is read, until the pipeline is deleted or (not forever) there is no more of it."""
    position, data = await asyncio.to_thread(folder.log.history)
    if data:
        yield data
    expected = position + len(data)
    async with contextlib.aclosing(_read(folder, expected, forever=forever)) as pieces:
        async for position, data in pieces:
            if position != expected:
                labels = labels_of(folder.pipeline_id, "")
                yield b"\n" + manager_line("lines were rotated away before they were read", labels)
            yield data
            expected = position + len(data)


async def _read(folder: Folder, position: int, *, forever: bool) -> AsyncGenerator[tuple[int, bytes]]:
    """Yield what is kept from a position on with the positions, until the pipeline is deleted or (not
    forever) there is no more of it."""
    log = folder.log
    while True:
        position, data = log.read(position)
        if data:
            yield position, data
            position += len(data)
        elif folder.removed or not (forever or position < log.end()):
            return
        else:
            await asyncio.sleep(POLL)

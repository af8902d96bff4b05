"""One pipeline's log: a file that its process appends to, bounded from outside, read by absolute position.

The process holds the descriptor for its whole life, so the file cannot be swapped under it; its beginning is
copied into a segment beside it and then cut off. Where the file system can collapse a range (ext4, XFS) that
loses nothing, however fast the process writes; elsewhere the file is truncated, and a line written in the
microseconds between the last look at its size and the cut is lost, as with every copy-and-truncate.

    pipeline.log                  the newest part
    pipeline.log.<from>-<to>      the part before it, named by its positions in the log as a whole
    pipeline.log.<from>-<to>.next the same while the cut is going on: what was read meanwhile means nothing

Since a segment's name tells where the current file begins, a follower keeps one number and finds its place
after any rotation. How many lines were before a position (`pipeline.log.lines`) is written down with each
rotation, so that lines have numbers for as long as the log lives.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sluicegate.lifecycle.values import rfc3339
from sluicegate.provision.numbering import Line, Numbering

HISTORY_BYTES = 1_000_000
HISTORY_LINES = 50_000
MANAGER = "[manager]"

_NAME = "pipeline.log"
_SEGMENT = re.compile(r"pipeline\.log\.(\d+)-(\d+)(\.next)?")
_COLLAPSE_RANGE = 0x08
_TAIL_BYTES = 16_384
_LINE_SHOWN = 300
_COPY = 1 << 20


class _Layout(NamedTuple):
    base: int
    """Position of the current file's first byte."""
    segment: int | None
    """Position of the segment's first byte."""
    turning: bool


class LogFile:
    """The log of the pipeline whose folder this is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / _NAME
        self._numbering = Numbering(self, folder / f"{_NAME}.lines")

    def open(self, labels: str) -> int:
        """Return a descriptor to append to the log, which says first that it is new where it is."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):
            return os.open(self.path, flags)
        try:
            descriptor = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(self.path, flags)
        os.write(descriptor, fresh_line(labels))
        return descriptor

    def say(self, text: str, labels: str, *, level: str = "INFO") -> None:
        """Append a line of the control plane's own."""
        descriptor = self.open(labels)
        try:
            os.write(descriptor, manager_line(text, labels, level=level))
        finally:
            os.close(descriptor)

    def end(self) -> int:
        """Return the position after the last byte."""
        try:
            return self._layout().base + self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, position: int, limit: int = 65_536) -> tuple[int, bytes]:
        """Read from a position, or from the first byte kept after it; say where the bytes begin."""
        try:
            before = self._layout()
            if before.turning:
                return position, b""
            found = self._read(before, position, limit)
            return found if self._layout() == before else (position, b"")
        except FileNotFoundError:
            return position, b""

    def history(self, limit: int = HISTORY_BYTES, lines: int = HISTORY_LINES) -> tuple[int, bytes]:
        """Read the last so many bytes and lines, beginning with a whole line; say where they begin."""
        start, text = self._gather(max(0, self.end() - limit), limit)
        skip = text.find(b"\n") + 1 if start > 0 else 0
        surplus = text.count(b"\n", skip) - lines
        for _ in range(max(0, surplus)):
            skip = text.index(b"\n", skip) + 1
        return start + skip, text[skip:]

    def tail(self, since: int, lines: int) -> list[str]:
        """Return the last lines that a process wrote since a position, each cut to a readable length."""
        start, text = self._gather(max(since, self.end() - _TAIL_BYTES), _TAIL_BYTES)
        written = text.decode(errors="replace").splitlines()
        if start > since:
            written = written[1:]
        return [line[:_LINE_SHOWN] for line in written if not line.startswith(MANAGER)][-lines:]

    def _gather(self, start: int, limit: int) -> tuple[int, bytes]:
        """Read until the end or the limit, across the seam between segment and current file."""
        text = b""
        while len(text) < limit:
            begin, chunk = self.read(start + len(text))
            if not chunk:
                break
            if begin != start + len(text):  # rotated away meanwhile
                start, text = begin, b""
            text += chunk
        return start, text

    def rotate(self, bound: int) -> bool:
        """Move what has been written out of the current file if that is more than `bound` bytes."""
        try:
            if self.path.stat().st_size <= bound and not self._layout().turning:
                return False
            with self._locked(fcntl.LOCK_NB):
                return self._rotate(bound)
        except (BlockingIOError, FileNotFoundError):  # somebody else is at it, or the pipeline is gone
            return False

    @property
    def kept_from(self) -> int:
        """The position of the first byte that is kept."""
        base, segment, _ = self._layout()
        return base if segment is None else segment

    def line(self, number: int) -> Line:
        """Find the line of a number, as `Numbering.find`. Raises FileNotFoundError where there is no log."""
        with self._locked():
            return self._numbering.find(number)

    @contextlib.contextmanager
    def _locked(self, how: int = 0) -> Iterator[None]:
        """Keep others from rotating the log, and finish or undo what one who was killed has left."""
        lock = os.open(self._folder / f"{_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | how)
            self._recover()
            yield
        finally:
            os.close(lock)

    def _layout(self) -> _Layout:
        base, segment, turning = 0, None, False
        for name in os.listdir(self._folder):
            match = _SEGMENT.fullmatch(name)
            if match and match[3]:
                turning = True
            elif match and int(match[2]) > base:
                base, segment = int(match[2]), int(match[1])
        return _Layout(base, segment, turning)

    def _read(self, layout: _Layout, position: int, limit: int) -> tuple[int, bytes]:
        if position >= layout.base or layout.segment is None:
            return position, _read_at(self.path, position - layout.base, limit)
        begin = max(position, layout.segment)
        path = self._segment(layout.segment, layout.base)
        return begin, _read_at(path, begin - layout.segment, limit)

    def _segment(self, begin: int, end: int) -> Path:
        return self._folder / f"{_NAME}.{begin}-{end}"

    def _rotate(self, bound: int) -> bool:
        base = self._layout().base
        copy = self._folder / f"{_NAME}.copy"
        with self.path.open("r+b") as current:
            size = os.fstat(current.fileno()).st_size
            if size <= bound:
                return False
            block = os.fstatvfs(current.fileno()).f_bsize
            cut = (size - 1) // block * block  # a collapse may not reach the end of the file
            if not cut:
                return False
            done = begin = max(0, cut - bound) if cut > 2 * bound else 0
            self._numbering.write_down(base + begin)
            with copy.open("wb", buffering=0) as kept:
                done = _copy(current.fileno(), kept.fileno(), done, cut)
                turning = self._turn(copy, base + begin, base + done)
                if _collapse(current.fileno(), cut):
                    return self._settle(turning)
                while (size := os.fstat(current.fileno()).st_size) > done:
                    done = _copy(current.fileno(), kept.fileno(), done, size)
                    turning = self._turn(turning, base + begin, base + done)
                os.ftruncate(current.fileno(), 0)
                return self._settle(turning)

    def _turn(self, copy: Path, begin: int, end: int) -> Path:
        path = self._segment(begin, end)
        return copy.rename(path.with_name(f"{path.name}.next"))

    def _settle(self, turning: Path) -> bool:
        """Make the copy the segment; from here on readers know the new beginning of the current file."""
        turning.rename(turning.with_suffix(""))
        base = self._layout().base
        for name in os.listdir(self._folder):
            match = _SEGMENT.fullmatch(name)
            if match and int(match[2]) < base:
                (self._folder / name).unlink(missing_ok=True)
        return True

    def _recover(self) -> None:
        """Finish or undo what a rotation that was killed has left: has the cut happened or not?"""
        base = self._layout().base
        for name in os.listdir(self._folder):
            match = _SEGMENT.fullmatch(name)
            if match and match[3]:
                begin, end = int(match[1]), int(match[2])
                kept = (self._folder / name).read_bytes()
                uncut = end > base and _read_at(self.path, begin - base, len(kept)) == kept
                if uncut:
                    (self._folder / name).unlink()
                else:
                    self._settle(self._folder / name)


def manager_line(text: str, labels: str, *, level: str = "INFO") -> bytes:
    """Render a line of the control plane's own (contract §5.8)."""
    return f"{MANAGER} {rfc3339(datetime.now(UTC))} {level} provision: {text}  {labels}\n".encode()


def fresh_line(labels: str) -> bytes:
    """Render the line with which a pipeline's log begins."""
    return manager_line("fresh start of the pipeline's logs", labels)


def labels_of(pipeline_id: str, name: str) -> str:
    """Render what every manager line ends with."""
    return f'pipeline-id="{pipeline_id}" pipeline-name="{name}"'


def _read_at(path: Path, offset: int, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, limit, offset)
    finally:
        os.close(descriptor)


def _copy(source: int, target: int, begin: int, end: int) -> int:
    while begin < end:
        chunk = os.pread(source, min(_COPY, end - begin), begin)
        if not chunk:
            break
        begin += os.write(target, chunk)
    return begin


def _collapse(descriptor: int, length: int) -> bool:
    """Cut the first bytes off a file in one step; False where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, _COLLAPSE_RANGE, ctypes.c_int64(0), ctypes.c_int64(length)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))

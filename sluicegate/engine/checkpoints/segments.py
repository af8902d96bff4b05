"""Segments: files of whole blocks, named by their content, each down on the disk before it has its name."""

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from sluicegate import faults
from sluicegate.engine.checkpoints.manifest import BLOCK, Damaged, Place, digest_of, segment_name

LARGEST = 64 << 20
"""Bytes of a segment at most."""


class Segments:
    """The segments of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where a segment is, or would be."""
        return self.folder / name

    def names(self) -> set[str]:
        """Return the segments that there are."""
        return {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}

    def count(self, name: str) -> int:
        """Return how many blocks a segment has; none where it is missing."""
        try:
            return self.path(name).stat().st_size // BLOCK
        except FileNotFoundError:
            return 0

    def part(self, label: str) -> Path:
        """Return a name under which a segment may be written; what is left under it is swept away."""
        return self.folder / f".{label}"

    def adopt(self, part: Path, name: str) -> None:
        """Give what was written under the name of a `part` its own; raises Damaged where it has another."""
        verify(part, name)
        sync(part)
        part.rename(self.path(name))
        sync(self.folder)

    def verify(self, name: str) -> None:
        """Read a segment; raises Damaged unless it is there and has the content that its name says."""
        verify(self.path(name), name)

    def remove(self, name: str) -> None:
        """Remove a segment that nobody needs."""
        with contextlib.suppress(FileNotFoundError):
            self.path(name).unlink()

    def sweep(self) -> None:
        """Remove what was being written when a process ended."""
        for part in self.folder.glob(".*"):
            part.unlink()


class SegmentWriter:
    """Writes blocks into segments; one is brought down to the disk while the next is written."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._file: BinaryIO | None = None
        self._digests: list[str] = []
        self._number = 0
        self._down = ThreadPoolExecutor(1, "segment")
        self._going_down: list[Future[dict[str, Place]]] = []

    def add(self, digest: str, block: bytes | bytearray | memoryview) -> None:
        """Write a block."""
        if self._file is None:
            self._number += 1
            self._file = self._part.open("wb")
        self._file.write(block)
        self._digests.append(digest)
        if len(self._digests) * BLOCK >= LARGEST:
            self._put_down()

    def finish(self) -> dict[str, Place]:
        """Have all segments on the disk, under their names; return the place of each block by its digest."""
        self._put_down()
        places: dict[str, Place] = {}
        for segment in self._going_down:
            places |= segment.result()
        sync(self._segments.folder)
        return places

    def abandon(self) -> None:
        """Leave nothing of a segment that is not finished; it is fine to call this at the end, too."""
        self._down.shutdown(cancel_futures=True)
        if self._file is not None:
            with contextlib.suppress(OSError), self._file:  # what it could not write, it cannot flush either
                pass
            self._file = None
        for part in self._segments.folder.glob(".new-*"):
            part.unlink()

    @property
    def _part(self) -> Path:
        return self._segments.part(f"new-{self._number}")

    def _put_down(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            digests, self._digests = self._digests, []
            self._going_down.append(self._down.submit(self._name, file, self._part, digests))

    def _name(self, file: BinaryIO, part: Path, digests: Sequence[str]) -> dict[str, Place]:
        with file:
            file.flush()
            os.fsync(file.fileno())
        name = segment_name(digests)
        faults.reach(faults.CHECKPOINT_SEGMENT)
        part.rename(self._segments.path(name))
        return {digest: Place(digest, name, number) for number, digest in enumerate(digests)}


def verify(file: Path, name: str) -> None:
    """Read a file; raises Damaged unless it has the content of the segment that is named."""
    try:
        with file.open("rb") as opened:
            digests = [digest_of(block) for block in iter(lambda: opened.read(BLOCK), b"")]
    except FileNotFoundError:
        raise Damaged(f"segment {name} is missing") from None
    if segment_name(digests) != name:
        raise Damaged(f"segment {name} is damaged: its content is not what its name says")


def sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

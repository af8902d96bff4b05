"""Segments: files of whole blocks, named by their content, each down on the disk before it has its name."""

import contextlib
import os
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
    """Writes blocks into segments, one after the other."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._file: BinaryIO | None = None
        self._digests: list[str] = []
        self.places: dict[str, Place] = {}
        """Of each block in a finished segment, by its digest."""

    def add(self, digest: str, block: bytes | bytearray | memoryview) -> None:
        """Write a block."""
        if self._file is None:
            self._file = self._part.open("wb")
        self._file.write(block)
        self._digests.append(digest)
        if len(self._digests) * BLOCK >= LARGEST:
            self.finish()

    def finish(self) -> None:
        """Have the last segment on the disk, under its name."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with file:
            file.flush()
            os.fsync(file.fileno())
        digests, self._digests = self._digests, []
        name = segment_name(digests)
        faults.reach(faults.CHECKPOINT_SEGMENT)
        self._part.rename(self._segments.path(name))
        sync(self._segments.folder)
        self.places |= {digest: Place(digest, name, number) for number, digest in enumerate(digests)}

    def abandon(self) -> None:
        """Leave nothing of a segment that is not finished; it is fine to call this at the end, too."""
        if self._file is not None:
            with contextlib.suppress(OSError), self._file:  # what it could not write, it cannot flush either
                pass
            self._file = None
        self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self._segments.part("new")


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

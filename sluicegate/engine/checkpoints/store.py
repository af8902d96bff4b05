"""The checkpoints of one folder.

    <uuid>.json         a manifest: whole once it has this name
    segments/<name>     the blocks that manifests name, see `segments`
    <uuid>/             a checkpoint of a former format, see `former`

**Making** one takes three calls: `begin` while nobody writes, `save` in a thread while the pipeline goes on,
which reads the file and writes the blocks that no kept checkpoint has, and then `retain`. The blocks that the
head of a database names are not overwritten before DuckDB's next checkpoint, and nobody makes one meanwhile.

**Copying** them elsewhere or here is done under `held`: nothing is removed meanwhile. Who brings checkpoints
from elsewhere writes segments (`segments.part`, `segments.adopt`) and then, last, the manifest (`put`).

Everything here reads or writes files: call it in a thread.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from uuid import UUID

from sluicegate import faults
from sluicegate.engine.checkpoints import former, reading
from sluicegate.engine.checkpoints.manifest import BLOCK, HEAD, Damaged, Manifest, Place, is_uuid
from sluicegate.engine.checkpoints.reading import TOGETHER
from sluicegate.engine.checkpoints.segments import Segments, SegmentWriter, sync

KEPT = 2
"""Checkpoints kept: the newest, and one more in case its disk blocks go bad."""


class CheckpointError(Exception):
    """A checkpoint cannot be made or used; says which and why."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    manifests: tuple[Manifest, ...]
    """Those that can be read, the newest first. Their blocks are verified when they are put together."""
    damaged: Mapping[str, str]
    """Why others cannot be read, by uuid."""
    newest: str | None
    """The uuid of the newest one, be it readable or not."""

    def find(self, uuid: str) -> Manifest:
        """Return a checkpoint; raises CheckpointError where there is none that can be read."""
        for manifest in self.manifests:
            if manifest.uuid == uuid:
                return manifest
        if uuid in self.damaged:
            raise CheckpointError(f"checkpoint {uuid} is damaged: {self.damaged[uuid]}")
        raise CheckpointError(f"there is no checkpoint {uuid} in the storage")


@dataclass(frozen=True)
class Snapshot:
    """A database file at a moment: what its head names does not change before DuckDB's next checkpoint."""

    file: Path
    head: bytes
    count: int
    """Of its blocks."""

    def runs(self) -> Iterator[reading.Run]:
        """Say where they lie."""
        for first in range(0, self.count, TOGETHER):
            count = min(TOGETHER, self.count - first)
            yield reading.Run(self.file, HEAD + first * BLOCK, count)


class Store:
    """The checkpoints of one pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.segments = Segments(folder / "segments")
        self._lock = Lock()
        self._holds = 0
        self._sound: set[str] = set()
        """Segments that this process has written, or read and found as they should be."""
        self._digests = reading.DigestCache()

    def sweep(self) -> None:
        """Remove what was being written, or removed, when a process ended."""
        self.segments.sweep()
        for left in self.folder.glob(".*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def listing(self) -> Listing:
        """Return what there is."""
        found: list[Manifest] = []
        damaged: dict[str, str] = {}
        for path in self.folder.glob("[!.]*.json"):
            if not is_uuid(path.stem):
                continue  # somebody else's file
            try:
                manifest = Manifest.from_text(path.read_bytes())
                if manifest.uuid != path.stem:
                    raise Damaged(f"it is the manifest of checkpoint {manifest.uuid}")
                found.append(manifest)
            except Damaged as error:
                damaged[path.stem] = f"{path}: {error}"
        found.sort(key=lambda manifest: manifest.uuid, reverse=True)
        before, damaged_before = former.listed(self.folder)
        newest = max((*(each.uuid for each in found), *damaged), default=None)
        of_before = (*damaged_before, *(each.uuid for each in before))
        return Listing((*found, *before), damaged_before | damaged, newest or next(iter(of_before), None))

    def text(self, uuid: str) -> bytes:
        """Return the manifest of a checkpoint as it is on the disk, to be copied."""
        return self._path(uuid).read_bytes()

    def lacking(self, manifest: Manifest) -> list[str]:
        """Return which segments of a checkpoint are not here, or are cut short."""
        return [name for name, needed in manifest.needs.items() if self.segments.count(name) < needed]

    def put(self, text: bytes) -> Manifest:
        """Have a checkpoint here whose segments are here already; raises Damaged where that cannot be."""
        manifest = Manifest.from_text(text)
        for name in self.lacking(manifest):
            raise Damaged(f"segment {name} of checkpoint {manifest.uuid} is missing or too short")
        self._write(manifest)
        return manifest

    def begin(self, file: Path) -> Snapshot:
        """Return what `save` needs of a database that is folded and that nobody writes to at the moment."""
        with file.open("rb") as opened:
            head = opened.read(HEAD)
            size = os.fstat(opened.fileno()).st_size
        if len(head) < HEAD or (size - HEAD) % BLOCK:
            raise CheckpointError(f"{file} has {size} bytes, which is no database")
        return Snapshot(file, head, (size - HEAD) // BLOCK)

    def save(
        self, snapshot: Snapshot, draft: Manifest, going_on: Callable[[], bool] = lambda: True
    ) -> Manifest | None:
        """Make a checkpoint whole and return it; None where it was not to go on.

        Of the draft, the uuid, head, blocks and checksum are filled in here.
        """
        listing = self.listing()
        places = self._reusable(listing)
        writer = SegmentWriter(self.segments)
        try:
            digests = self._write_new(snapshot, places, writer, going_on)
        except reading.Short as error:
            raise CheckpointError(f"{snapshot.file} has become shorter while it was read") from error
        finally:
            writer.abandon()
        if digests is None:
            return None
        blocks = tuple(places[digest] for digest in digests)
        faults.reach(faults.CHECKPOINT_BLOCKS)
        made = replace(draft, uuid=_next_uuid(listing), head=snapshot.head, blocks=blocks).sealed()
        self._write(made)
        return made

    def assemble(self, manifest: Manifest, target: Path) -> None:
        """Write a checkpoint's database to a file, down to the disk; raises CheckpointError if it is damaged.

        Each block is compared with its digest on its way. What is there is whole only once this returns.
        """
        try:
            with target.open("wb") as writer:
                if manifest.former_size is not None:
                    former.copy(self.folder, manifest, writer)
                else:
                    writer.write(manifest.head)
                    faults.reach(faults.RESTORE_ASSEMBLING)
                    for block in self._blocks(manifest):
                        writer.write(block)
                writer.flush()
                os.fsync(writer.fileno())
        except Damaged as error:
            target.unlink()
            raise CheckpointError(f"checkpoint {manifest.uuid} is damaged: {error}") from error

    def verify(self, manifest: Manifest) -> None:
        """Read all of a checkpoint; raises CheckpointError where a block is not what was written."""
        with Path(os.devnull).open("wb") as nowhere:
            try:
                if manifest.former_size is not None:
                    former.copy(self.folder, manifest, nowhere)
                else:
                    for _ in self._blocks(manifest):
                        pass
            except Damaged as error:
                raise CheckpointError(f"checkpoint {manifest.uuid} is damaged: {error}") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have nothing removed meanwhile."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1

    def retain(self, count: int = KEPT, *, also: str | None = None) -> None:
        """Remove all but so many of the newest checkpoints that can be read, and the segments of none.

        One more is kept where it is named: it was brought here to start from, be it older than all others.
        """
        with self._lock:
            if self._holds:
                return  # whoever makes the next checkpoint comes by again
            listing = self.listing()
            old = [manifest for manifest in listing.manifests[count:] if manifest.uuid != also]
            for manifest in old:
                self._remove(manifest)
            faults.reach(faults.CHECKPOINT_RETAINING)
            damaged = self._remove_damaged(listing, count)
            if not damaged:  # else it cannot be known what they need
                kept = {name for each in listing.manifests if each not in old for name in each.segments}
                for name in self.segments.names() - kept:
                    self.segments.remove(name)

    def _remove_damaged(self, listing: Listing, count: int) -> set[str]:
        """Remove what cannot be read and is older than all that are kept; returns the others."""
        kept = [each.uuid for each in listing.manifests[:count]]
        old = {uuid for uuid in listing.damaged if len(kept) == count and uuid < min(kept)}
        for uuid in old:
            self._path(uuid).unlink(missing_ok=True)
        return listing.damaged.keys() - old

    def _remove(self, manifest: Manifest) -> None:
        if manifest.former_size is not None:
            former.remove(self.folder, manifest.uuid)
        else:
            self._path(manifest.uuid).unlink()

    def _reusable(self, listing: Listing) -> dict[str, Place]:
        """Return the blocks that need not be written again: those in sound segments that are used well."""
        newest = listing.manifests[0] if listing.manifests else None
        if newest is None:
            return {}
        used = Counter(place.segment for place in set(newest.blocks))
        well = {name for name, number in used.items() if number * 2 >= self.segments.count(name)}
        kept = {name for name in well if self._is_sound(name)}
        return {place.digest: place for place in newest.blocks if place.segment in kept}

    def _is_sound(self, name: str) -> bool:
        """Look once in the life of a process: what is damaged must not get into further checkpoints."""
        if name not in self._sound:
            try:
                self.segments.verify(name)
            except Damaged:
                return False
            self._sound.add(name)
        return True

    def _write_new(
        self,
        snapshot: Snapshot,
        places: dict[str, Place],
        writer: SegmentWriter,
        going_on: Callable[[], bool],
    ) -> list[str] | None:
        """Write the blocks that have no place yet, and note theirs; return the digests of all, in order."""
        digests: list[str] = []
        seen = set(places)
        with closing(reading.blocks(snapshot.runs(), self._digests.digest)) as read:
            for blocks in read:
                if not going_on():
                    return None
                for digest, block in blocks:
                    digests.append(digest)
                    if digest not in seen:
                        writer.add(digest, block)
                        seen.add(digest)
        new = writer.finish()
        places |= new
        self._sound |= {place.segment for place in new.values()}
        return digests

    def _blocks(self, manifest: Manifest) -> Iterator[memoryview]:
        """Give the blocks of a checkpoint; raises Damaged where one is not what was written."""
        wanted = iter(manifest.blocks)
        try:
            with closing(reading.blocks(self._runs(manifest))) as read:
                for blocks in read:
                    for digest, block in blocks:
                        place = next(wanted)
                        if digest != place.digest:
                            where = f"block {place.number} of segment {place.segment}"
                            raise Damaged(f"{where} is not what was written")
                        yield block
        except FileNotFoundError as error:
            raise Damaged(f"{error.filename} is missing") from error
        except reading.Short as error:
            raise Damaged(str(error)) from error

    def _runs(self, manifest: Manifest) -> Iterator[reading.Run]:
        """Say where the blocks of a checkpoint lie."""
        begin, count = None, 0
        for place in manifest.blocks:
            follows = begin is not None and begin.segment == place.segment
            if begin is None or not follows or begin.number + count != place.number or count == TOGETHER:
                if begin is not None:
                    yield self._run(begin, count)
                begin, count = place, 0
            count += 1
        if begin is not None:
            yield self._run(begin, count)

    def _run(self, begin: Place, count: int) -> reading.Run:
        return reading.Run(self.segments.path(begin.segment), begin.number * BLOCK, count)

    def _write(self, manifest: Manifest) -> None:
        part = self.folder / f".{manifest.uuid}"
        with part.open("w") as file:
            file.write(manifest.to_text())
            file.flush()
            os.fsync(file.fileno())
        faults.reach(faults.CHECKPOINT_MANIFEST)
        part.rename(self._path(manifest.uuid))
        sync(self.folder)

    def _path(self, uuid: str) -> Path:
        return self.folder / f"{uuid}.json"


def _next_uuid(listing: Listing) -> str:
    """Return a uuid of version 7, later than all there are, whatever the clock says."""
    now = time.time_ns() // 1_000_000
    if listing.newest is not None and (newest := UUID(listing.newest)).version == 7:
        now = max(now, 1 + (newest.int >> 80))
    value = (now & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(10))
    version, variant = 15 << 76, 3 << 62
    return str(UUID(int=value & ~(version | variant) | 7 << 76 | 2 << 62))

"""A database that is put together before it is needed: that of the newest checkpoint a standby has pulled.

The first one is written whole; from then on only the blocks that differ are. Each block is compared with its
digest on its way. What lies in the folder counts for the process that put it there only: the next one begins
with nothing. All of it blocks; one thread at a time.
"""

import os
import shutil
from pathlib import Path

from sluicegate.engine.checkpoints.manifest import BLOCK, HEAD, Damaged, Manifest, Place, digest_of
from sluicegate.engine.checkpoints.store import CheckpointError, Store

FOLDER = "standby"


def clear(storage: Path) -> None:
    """Remove what an earlier process has left."""
    shutil.rmtree(storage / FOLDER, ignore_errors=True)


class Ahead:
    """The database of one checkpoint, beside the live one."""

    def __init__(self, storage: Path, store: Store) -> None:
        self._store = store
        self.path = storage / FOLDER / "ahead.duckdb"
        self._of: Manifest | None = None
        self.path.parent.mkdir()

    @property
    def uuid(self) -> str | None:
        """Return of which checkpoint it is, None where there is none yet."""
        return None if self._of is None else self._of.uuid

    def follow(self, manifest: Manifest) -> None:
        """Make it that of a checkpoint, down to the disk; raises CheckpointError where that is damaged."""
        had, self._of = self._of, None
        with self._store.held():
            if had is None or had.former_size is not None or manifest.former_size is not None:
                self._store.assemble(manifest, self.path)
            else:
                self._change(had, manifest)
        self._of = manifest

    def _change(self, had: Manifest, manifest: Manifest) -> None:
        before = dict(enumerate(place.digest for place in had.blocks))
        with self.path.open("r+b") as file:
            for number, place in enumerate(manifest.blocks):
                if before.get(number) != place.digest:
                    file.seek(HEAD + number * BLOCK)
                    file.write(self._block(manifest, place))
            file.truncate(HEAD + len(manifest.blocks) * BLOCK)
            file.seek(0)
            file.write(manifest.head)
            file.flush()
            os.fsync(file.fileno())

    def _block(self, manifest: Manifest, place: Place) -> bytes:
        try:
            with self._store.segments.path(place.segment).open("rb") as segment:
                segment.seek(place.number * BLOCK)
                block = segment.read(BLOCK)
        except FileNotFoundError:
            block = b""
        if digest_of(block) != place.digest:
            raise CheckpointError(
                f"checkpoint {manifest.uuid} is damaged: block {place.number} of segment {place.segment} is "
                "not what was written"
            )
        return block


def heal(store: Store, manifest: Manifest) -> None:
    """Remove the segments of a checkpoint that are damaged, so that the next pull brings them anew."""
    for name in manifest.segments:
        try:
            store.segments.verify(name)
        except Damaged:
            store.segments.remove(name)

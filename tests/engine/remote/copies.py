"""Checkpoints of files that look like databases, made, changed and compared."""

import random
from pathlib import Path

from sluicegate.engine.checkpoints.manifest import BLOCK, HEAD, Manifest
from sluicegate.engine.checkpoints.store import Store

CHANCE = random.Random(1)


class Shelf:
    """A folder of checkpoints, and the file that they are of."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "checkpoints")
        self.file = folder / "database"
        self.folder = folder

    def grow(self, blocks: int = 3) -> Manifest:
        """Add blocks to the file and make a checkpoint of it."""
        with self.file.open("ab") as file:
            file.write(CHANCE.randbytes(blocks * BLOCK + (0 if file.tell() else HEAD)))
        draft = Manifest("", "2026-01-01", "pipeline-1", 1, "abc", {}, 7, 3)
        made = self.store.save(self.store.begin(self.file), draft)
        assert made is not None
        return made

    def content(self, manifest: Manifest) -> bytes:
        """Return the database of a checkpoint."""
        target = self.folder / "assembled"
        self.store.assemble(manifest, target)
        return target.read_bytes()

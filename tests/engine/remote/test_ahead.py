"""The database that a standby has at hand: it follows checkpoints block by block, and never wrongly."""

from pathlib import Path

import pytest

from sluicegate.engine.ahead import Ahead, heal
from sluicegate.engine.checkpoints.manifest import BLOCK, HEAD
from sluicegate.engine.checkpoints.store import CheckpointError
from tests.engine.remote.copies import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make checkpoints of a file."""
    return Shelf(tmp_path / "shelf")


def test_it_follows_what_changes(shelf: Shelf) -> None:
    ahead = Ahead(shelf.folder, shelf.store)
    first = shelf.grow(6)
    ahead.follow(first)
    assert (ahead.uuid, ahead.path.read_bytes()) == (first.uuid, shelf.file.read_bytes())
    with shelf.file.open("r+b") as file:
        file.write(b"another head")
        file.seek(HEAD + 2 * BLOCK)
        file.write(b"another block")
    longer = shelf.grow(2)
    ahead.follow(longer)
    assert ahead.path.read_bytes() == shelf.file.read_bytes()
    with shelf.file.open("r+b") as file:
        file.truncate(HEAD + 3 * BLOCK)
    shorter = shelf.grow(0)
    ahead.follow(shorter)
    assert (ahead.uuid, ahead.path.read_bytes()) == (shorter.uuid, shelf.file.read_bytes())


@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_block_is_found_and_brought_anew(shelf: Shelf, *, missing: bool) -> None:
    ahead = Ahead(shelf.folder, shelf.store)
    ahead.follow(shelf.grow(3))
    second = shelf.grow(2)
    segment = shelf.store.segments.path(second.blocks[-1].segment)
    good = segment.read_bytes()
    segment.write_bytes(good[:-1] + b"x")
    if missing:
        segment.unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        ahead.follow(second)
    assert ahead.uuid is None
    heal(shelf.store, second)
    assert not segment.exists()
    assert len(shelf.store.segments.names()) == 1
    segment.write_bytes(good)
    ahead.follow(second)
    assert ahead.path.read_bytes() == shelf.file.read_bytes()

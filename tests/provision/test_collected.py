"""What was collected of a pipeline: the newest is kept, as long as the pipeline is."""

from pathlib import Path
from uuid import uuid4

import pytest

from sluicegate.provision.collected import KEPT, Collected
from sluicegate.provision.folder import Folder


def moment(number: int) -> str:
    """A name."""
    return f"2025-01-01T00-00-{number:02d}.000000Z"


def test_the_newest_are_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path, str(uuid4()))
    folder.furnish(0o700)
    collected = Collected(folder.root)
    assert collected.all() == {}
    for number in (3, 1, 4, 2, 5):
        collected.add(moment(number), b"%d" % number)
    assert list(collected.all().items()) == [(moment(n), b"%d" % n) for n in (5, 4, 3)][:KEPT]
    assert {path.stat().st_mode & 0o777 for path in (folder.root / "collected").iterdir()} == {0o600}
    folder.discard()
    assert collected.all() == {}


def test_a_pipeline_that_was_never_here(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Collected(Folder(tmp_path, str(uuid4())).root).add(moment(1), b"")

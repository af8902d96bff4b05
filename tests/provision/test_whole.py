"""A file is there whole or not at all, and nothing remains of one that could not be written."""

import errno
import os
from pathlib import Path

import pytest

from sluicegate.provision.launcher import write_whole


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    write_whole(tmp_path / "file", "first", durable=durable)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", "second", durable=durable)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "first"

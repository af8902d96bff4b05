"""The store alone, over files that look like databases: what is written, shared and removed."""

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from sluicegate.engine.checkpoints import reading
from sluicegate.engine.checkpoints.manifest import (
    BLOCK,
    HEAD,
    Damaged,
    Manifest,
    digest_of,
    draft,
    segment_name,
)
from sluicegate.engine.checkpoints.segments import LARGEST
from sluicegate.engine.checkpoints.store import CheckpointError, Store
from sluicegate.engine.stored import Stored

CHANCE = Random(1)
DRAFT = draft("pipeline-1", Stored("0123456789abcdef", 3, {"tables": []}), steps=5, records=7)


class File:
    """A file of a head and blocks."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.blocks = [CHANCE.randbytes(BLOCK) for _ in range(count)]
        self.write()

    def write(self) -> None:
        """Have it on the disk."""
        self.path.write_bytes(CHANCE.randbytes(HEAD) + b"".join(self.blocks))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Make an empty one."""
    return Store(tmp_path / "checkpoints")


def save(store: Store, file: File) -> Manifest:
    """Make a checkpoint of a file."""
    made = store.save(store.begin(file.path), DRAFT)
    assert made is not None
    return made


def restored(store: Store, manifest: Manifest, tmp_path: Path) -> bytes:
    """Put a checkpoint together."""
    store.assemble(manifest, tmp_path / "restored")
    return (tmp_path / "restored").read_bytes()


def stored(store: Store) -> int:
    """Return how many blocks all segments have."""
    return sum(store.segments.count(name) for name in store.segments.names())


def test_what_is_put_together_is_what_was_saved(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 5)
    made = save(store, file)
    assert restored(store, made, tmp_path) == file.path.read_bytes()
    assert store.listing().manifests == (made,)
    assert (made.size, made.steps, made.processed_records) == (HEAD + 5 * BLOCK, 5, 7)
    assert made.describe()["fingerprint"] == 0x0123456789ABC
    store.verify(made)


def test_an_empty_database_has_a_head_only(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 0)
    assert restored(store, save(store, file), tmp_path) == file.path.read_bytes()
    assert not store.segments.names()


def test_only_changed_blocks_are_hashed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []

    def counting(block: memoryview) -> str:
        hashed.append(bytes(block))
        return digest_of(block)

    monkeypatch.setattr(reading, "digest_of", counting)
    file = File(tmp_path / "db", 10)
    before = save(store, file)
    assert sorted(hashed) == sorted(file.blocks)
    old = file.path.read_bytes()
    changed = bytearray(file.blocks[3])
    changed[BLOCK // 2] ^= 1
    file.blocks[3] = bytes(changed)
    file.blocks[7], file.blocks[8] = file.blocks[8], file.blocks[7]
    file.write()
    hashed.clear()
    made = save(store, file)
    assert sorted(hashed) == sorted([file.blocks[3], file.blocks[7], file.blocks[8]])
    hashed.clear()
    assert restored(store, made, tmp_path) == file.path.read_bytes()
    assert sorted(hashed) == sorted(file.blocks)  # who puts it together trusts nothing
    assert restored(store, before, tmp_path) == old


def test_only_new_blocks_are_written(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 10)
    save(store, file)
    file.blocks[3] = CHANCE.randbytes(BLOCK)
    file.blocks.append(CHANCE.randbytes(BLOCK))
    file.blocks[0], file.blocks[1] = file.blocks[1], file.blocks[0]
    file.write()
    made = save(store, file)
    assert stored(store) == 12
    assert restored(store, made, tmp_path) == file.path.read_bytes()


def test_equal_blocks_are_written_once(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 1)
    file.blocks *= 4
    file.write()
    assert restored(store, save(store, file), tmp_path) == file.path.read_bytes()
    assert stored(store) == 1


def test_a_segment_has_a_largest_size(store: Store, tmp_path: Path) -> None:
    most = LARGEST // BLOCK
    file = File(tmp_path / "db", most + 1)
    made = save(store, file)
    assert sorted(store.segments.count(name) for name in store.segments.names()) == [1, most]
    assert restored(store, made, tmp_path) == file.path.read_bytes()


def test_segments_are_named_by_their_content(store: Store, tmp_path: Path) -> None:
    made = save(store, File(tmp_path / "db", 3))
    assert made.segments == (segment_name([place.digest for place in made.blocks]),)
    store.segments.verify(made.segments[0])


def test_a_segment_that_is_little_used_is_written_anew_and_goes(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 10)
    [first] = save(store, file).segments
    for number in range(6):
        file.blocks[number] = CHANCE.randbytes(BLOCK)
    file.write()
    assert first in save(store, file).segments, "what is new is not known before"
    newest = save(store, file)
    assert first not in newest.segments
    store.retain(1)
    assert store.segments.names() == set(newest.segments)
    assert restored(store, newest, tmp_path) == file.path.read_bytes()


def test_the_oldest_go_and_what_others_share_stays(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 4)
    made = []
    for _ in range(4):
        file.blocks.append(CHANCE.randbytes(BLOCK))
        file.write()
        made.append(save(store, file))
        store.retain()
    assert store.listing().manifests == (made[3], made[2])
    for manifest in made[2:]:
        store.verify(manifest)


def test_nothing_is_removed_while_somebody_copies(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 2)
    first = save(store, file)
    with store.held():
        save(store, file)
        store.retain(1)
        store.verify(first)
        assert len(store.listing().manifests) == 2
    store.retain(1)
    assert len(store.listing().manifests) == 1


def test_uuids_are_in_order_whatever_the_clock_says(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = File(tmp_path / "db", 1)
    first = save(store, file)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    second, third = save(store, file), save(store, file)
    assert first.uuid < second.uuid < third.uuid


def test_a_block_that_went_bad_does_not_get_into_a_later_checkpoint(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 3)
    [name] = save(store, file).segments
    path = store.segments.path(name)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    later = Store(store.folder)
    made = save(later, file)
    later.verify(made)
    assert restored(later, made, tmp_path) == file.path.read_bytes()


def test_what_was_not_to_go_on_leaves_nothing(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 3)
    file.blocks *= 20
    file.write()
    answers = iter([True, True, False])
    assert store.save(store.begin(file.path), DRAFT, lambda: next(answers)) is None
    assert not list(store.folder.rglob("*.json"))
    assert not list((store.folder / "segments").iterdir())


def test_what_is_no_database_is_refused(store: Store, tmp_path: Path) -> None:
    for size in (0, 100, HEAD - 1, HEAD + 1, HEAD + BLOCK - 1):
        (tmp_path / "db").write_bytes(bytes(size))
        with pytest.raises(CheckpointError, match="no database"):
            store.begin(tmp_path / "db")


def test_a_file_that_becomes_shorter_makes_no_checkpoint(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 3)
    snapshot = store.begin(file.path)
    os.truncate(file.path, HEAD + BLOCK)
    with pytest.raises(CheckpointError, match="shorter"):
        store.save(snapshot, DRAFT)
    assert store.listing().newest is None


def test_a_manifest_comes_back_with_what_a_later_release_has_added(store: Store, tmp_path: Path) -> None:
    made = replace(save(store, File(tmp_path / "db", 1)), notes={"later": [1]}).sealed()
    assert Manifest.from_text(made.to_text()) == made


def forged(made: Manifest, **changes: object) -> str:
    """Return the text of a manifest that somebody has changed, and whose checksum is right."""
    raw = {**json.loads(made.to_text()), **changes}
    del raw["checksum"]
    checksum = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
    return json.dumps({**raw, "checksum": checksum})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"segments": ["./../../victim"]}, id="a path for a segment"),
        pytest.param({"segments": ["0" * 63]}, id="a name that is too short"),
        pytest.param({"segments": ["0" * 64 + "\n"]}, id="a name with more"),
        pytest.param({"segments": [7]}, id="a number for a name"),
        pytest.param({"blocks": [["../victim", 0, 0]]}, id="a path for a digest"),
        pytest.param({"blocks": [["0" * 64, -1, 0]]}, id="a segment from the end"),
        pytest.param({"blocks": [["0" * 64, 1, 0]]}, id="a segment of none"),
        pytest.param({"blocks": [["0" * 64, 0, -1]]}, id="a block before the first"),
        pytest.param({"blocks": [["0" * 64, 0, 0.5]]}, id="half a block"),
        pytest.param({"blocks": [["0" * 64, 0, True]]}, id="no number"),
        pytest.param({"uuid": "../victim"}, id="a path for a uuid"),
        pytest.param({"uuid": "0190A0C2-0000-7000-8000-00000000000F"}, id="another spelling"),
        pytest.param({"uuid": None}, id="no uuid"),
    ],
)
def test_a_manifest_names_nothing_but_blocks(
    store: Store, tmp_path: Path, changes: dict[str, object]
) -> None:
    made = save(store, File(tmp_path / "db", 1))
    assert Manifest.from_text(forged(made)) == made
    with pytest.raises(Damaged):
        Manifest.from_text(forged(made, **changes))


def test_a_copied_checkpoint_needs_its_segments_first(store: Store, tmp_path: Path) -> None:
    file = File(tmp_path / "db", 2)
    made = save(store, file)
    other = Store(tmp_path / "other")
    with pytest.raises(Damaged, match="missing or too short"):
        other.put(store.text(made.uuid))
    [name] = made.segments
    part = other.segments.part("coming")
    part.write_bytes(b"something else")
    with pytest.raises(Damaged, match="not what its name says"):
        other.segments.adopt(part, name)
    part.write_bytes(store.segments.path(name).read_bytes())
    other.segments.adopt(part, name)
    assert other.put(store.text(made.uuid)) == made
    assert restored(other, made, tmp_path) == file.path.read_bytes()

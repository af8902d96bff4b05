"""Checkpoints that are damaged, missing or foreign: what is said, and what can still be started from."""

import json
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.checkpoints.test_running import PROGRAM, checkpoint, crash, ids, ingest
from tests.engine.conftest import Deploy, Engine

Damage = Callable[[Path, str], None]
"""Does something to a folder of checkpoints, or to one of them."""


def own_segment(folder: Path, newest: str) -> Path:
    """Return the segment that only the newest checkpoint has."""
    names = [set(json.loads(path.read_text())["segments"]) for path in folder.glob("*.json")]
    mine = set(json.loads((folder / f"{newest}.json").read_text())["segments"])
    [name] = [name for name in mine if sum(name in others for others in names) == 1]
    return folder / "segments" / str(name)


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_block(folder: Path, newest: str) -> None:
    flip(own_segment(folder, newest), 100_000)


def cut_segment(folder: Path, newest: str) -> None:
    path = own_segment(folder, newest)
    path.write_bytes(path.read_bytes()[:-1])


def lose_segment(folder: Path, newest: str) -> None:
    own_segment(folder, newest).unlink()


def swap_segment(folder: Path, newest: str) -> None:
    path = own_segment(folder, newest)
    path.write_bytes(bytes(path.stat().st_size))


def cut_manifest(folder: Path, newest: str) -> None:
    path = folder / f"{newest}.json"
    path.write_text(path.read_text()[:-10])


def flip_manifest(folder: Path, newest: str) -> None:
    path = folder / f"{newest}.json"
    path.write_text(path.read_text().replace('"steps": 2', '"steps": 3'))


def empty_manifest(folder: Path, newest: str) -> None:
    (folder / f"{newest}.json").write_bytes(b"")


def binary_manifest(folder: Path, newest: str) -> None:
    (folder / f"{newest}.json").write_bytes(bytes(range(256)))


def foreign_manifest(folder: Path, newest: str) -> None:
    [other] = [path for path in folder.glob("*.json") if path.stem != newest]
    (folder / f"{newest}.json").write_text(other.read_text())


def later_format(folder: Path, newest: str) -> None:
    path = folder / f"{newest}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


DAMAGES = [
    *(flip_block, cut_segment, lose_segment, swap_segment),
    *(cut_manifest, flip_manifest, empty_manifest, binary_manifest, foreign_manifest, later_format),
]


def two_checkpoints(engine: Engine) -> tuple[str, str]:
    """Have a checkpoint with one row, one with two, and a crash; return the newer one first."""
    engine.start()
    ingest(engine, 1)
    older = checkpoint(engine)
    ingest(engine, 2)
    newer = checkpoint(engine)
    crash(engine)
    return newer, older


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_can_be_chosen(
    deploy: Deploy, damage: Damage
) -> None:
    engine = deploy(PROGRAM)
    newer, older = two_checkpoints(engine)
    assert engine.storage is not None
    damage(engine.storage / "checkpoints", newer)
    refused = engine.start().http.get("/status")
    assert (refused.status_code, refused.json()["error_code"]) == (500, "InitializationError")
    message = refused.json()["message"]
    assert f"checkpoint {newer} is damaged" in message
    assert f"`checkpoint={older}` starts from another one" in message
    crash(engine)
    assert f"checkpoint {newer} is damaged" in engine.start().http.get("/status").json()["message"]
    crash(engine)
    engine.checkpoint = older
    assert ids(engine.start()) == [1]
    ingest(engine, 3)
    checkpoint(engine)
    crash(engine)
    engine.checkpoint = None
    assert ids(engine.start()) == [1, 3], "a later checkpoint is whole, whatever the one before was"
    ingest(engine, 4)
    checkpoint(engine)
    crash(engine)
    assert ids(engine.start()) == [1, 3, 4]


def test_files_of_others_are_left_alone(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    two_checkpoints(engine)
    assert engine.storage is not None
    folder = engine.storage / "checkpoints"
    (folder / "notes.json").write_text("{}")
    (folder / "zzz.txt").write_text("zzz")
    (folder / str(uuid.uuid4())).mkdir()
    assert ids(engine.start()) == [1, 2]
    ingest(engine, 3)
    checkpoint(engine)
    assert (folder / "notes.json").exists()
    assert (folder / "zzz.txt").exists()


def test_what_was_being_written_when_a_process_ended_is_swept_away(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    two_checkpoints(engine)
    assert engine.storage is not None
    folder = engine.storage / "checkpoints"
    (folder / "segments" / ".new").write_bytes(b"half a block")
    (folder / f".{uuid.uuid4()}").write_text("half a manifest")
    (folder / "segments" / ("0" * 64)).write_bytes(bytes(256 << 10))
    assert ids(engine.start()) == [1, 2]
    ingest(engine, 3)
    checkpoint(engine)
    assert not list(folder.glob("**/.*"))
    assert not (folder / "segments" / ("0" * 64)).exists()


def test_a_database_that_was_left_is_not_lost_by_a_start_that_fails(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["fault_tolerance"] = {"model": "exactly_once", "checkpoint_interval_secs": None}
    newer, _ = two_checkpoints(engine)
    ingest(engine.start(), 3)
    crash(engine)
    assert engine.storage is not None
    flip_block(engine.storage / "checkpoints", newer)
    engine.checkpoint = newer
    assert "is damaged" in engine.start().http.get("/status").json()["message"]
    engine.stop(signal.SIGKILL)
    assert "is damaged" in engine.start().http.get("/status").json()["message"], "the same deployment again"
    crash(engine)
    engine.checkpoint = None
    assert ids(engine.start()) == [1, 2, 3]

"""A disk that is full at each write of a checkpoint, a suspend and a restore: nothing whole is lost by it."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.engine.checkpoints.store import Store
from sluicegate.protocol import STORAGE_FOLDER
from tests.chaos import disk
from tests.engine.checkpoints.test_running import PROGRAM, ask, checkpoint, crash, ids, status
from tests.engine.conftest import Deploy, Engine

SIZE = 48 << 20
ROWS = 5_000
FULL = ("o space left", "database is full", "Could not write", "Could not truncate")
"""How the system and DuckDB say it."""
ROOM = [0, 8 << 10, 100 << 10, 600 << 10, 1500 << 10, 2500 << 10]
"""Bytes that are left: each is enough for one write more than the one before."""


@pytest.fixture
def small() -> Iterator[Path]:
    """Mount a small disk, not among pytest's folders: one that is left over would be in the way of all."""
    folder = Path(tempfile.mkdtemp(prefix="full-disk-"))
    reason = disk.mounted(folder, SIZE)
    if reason is not None:
        folder.rmdir()
        pytest.skip(reason)
    yield folder
    disk.unmounted(folder)
    folder.rmdir()


@pytest.fixture
def engine(small: Path, deploy: Deploy) -> Engine:
    """Make an engine whose storage is on it, with a checkpoint and rows since."""
    engine = deploy(PROGRAM)
    engine.storage = small / STORAGE_FOLDER
    engine.start()
    push(engine, 0)
    checkpoint(engine)
    push(engine, 1)
    return engine


def push(engine: Engine, number: int) -> None:
    """Insert many rows."""
    numbers = range(number * ROWS, (number + 1) * ROWS)
    rows = "".join(json.dumps({"insert": {"id": n, "name": f"{n * 7919}" * 20}}) for n in numbers)
    answer = engine.push("t", rows, format="json")
    assert answer.status_code == 200, answer.text


def leave(engine: Engine, room: int) -> None:
    """Fill the disk but for some bytes."""
    assert engine.storage is not None
    disk.fill(engine.storage)
    filling = engine.storage / "filling"
    os.truncate(filling, max(0, filling.stat().st_size - room))


def free(engine: Engine) -> None:
    """Empty it again."""
    assert engine.storage is not None
    disk.free(engine.storage)


def all_whole(engine: Engine) -> list[int]:
    """Verify all checkpoints; return the records of each, the newest first."""
    assert engine.storage is not None
    store = Store(engine.storage / "checkpoints")
    listing = store.listing()
    assert not listing.damaged
    for manifest in listing.manifests:
        store.verify(manifest)
    return [manifest.processed_records for manifest in listing.manifests]


@pytest.mark.parametrize("room", ROOM)
def test_a_checkpoint_on_a_full_disk_fails_and_a_later_one_succeeds(engine: Engine, room: int) -> None:
    leave(engine, room)
    number = ask(engine)
    engine.eventually(lambda: status(engine)["failure"] or status(engine)["success"] == number)
    if status(engine)["success"] != number:
        assert any(word in status(engine)["failure"]["error"] for word in FULL)
        assert all_whole(engine) == [ROWS]
    free(engine)
    if engine.http.get("/status").status_code != 200 or engine.http.post("/start_compaction").is_error:
        engine.stop(signal.SIGKILL)
        engine.start()
    assert len(ids(engine)) == 2 * ROWS
    push(engine, 2)
    checkpoint(engine)
    assert all_whole(engine)[0] == 3 * ROWS
    crash(engine)
    assert len(ids(engine.start())) == 3 * ROWS


@pytest.mark.parametrize("room", ROOM)
def test_a_suspend_on_a_full_disk_ends_in_an_error_with_the_checkpoint_before(
    engine: Engine, room: int
) -> None:
    leave(engine, room)
    answer = engine.http.post("/suspend")
    if answer.status_code == 500:  # what is desired could not be kept, so nothing has changed
        assert answer.json()["error_code"] == "StorageError"
        assert engine.status()["runtime_status"] == "Running"
    else:
        engine.eventually(
            lambda: engine.status().get("runtime_status") == "Suspended" or "error_code" in engine.status()
        )
        assert engine.status().get("error_code") in (None, "SuspendError")
    assert all_whole(engine)[-1:] == [ROWS]
    free(engine)
    crash(engine)
    engine.runtime_config["fault_tolerance"] = {"model": "exactly_once", "checkpoint_interval_secs": None}
    assert len(ids(engine.start())) == 2 * ROWS, "with fault tolerance the database that was left goes on"


@pytest.mark.parametrize("room", ROOM[:-1])
def test_a_restore_on_a_full_disk_fails_and_a_later_one_succeeds(engine: Engine, room: int) -> None:
    checkpoint(engine)
    crash(engine)
    leave(engine, room)
    refused = engine.start().http.get("/status")
    assert refused.status_code == 500
    assert any(word in refused.json()["message"] for word in FULL)
    free(engine)
    crash(engine)
    assert len(ids(engine.start())) == 2 * ROWS
    assert all_whole(engine) == [2 * ROWS, ROWS]

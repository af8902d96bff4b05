"""The status that outlives a process: down on the disk, lost to no other writer, and told if damaged."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.engine.clock import Clock
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.situation import Situation
from sluicegate.engine.storage import Storage, StorageError
from sluicegate.protocol import EngineConfig
from tests.engine.conftest import Deploy, Engine

PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY);"
DAMAGED = ["", "{", "[]", "1", "{}", '{"desired_status": "Running"}', '{"deployment_id": "d"}']
OFTEN = 200


@pytest.fixture
def situation(tmp_path: Path) -> Iterator[Situation]:
    """Return the situation of a deployment with a folder."""
    config = EngineConfig(
        name="p",
        given_name="p",
        pipeline_id="p",
        deployment_id="d",
        generation=1,
        program_version=1,
        auth_token="t",
        storage_config=None,
        runtime_config={},
        plan={},
    )
    deployment = Deployment(config, "d", "running", "allow", False, False)
    made = Situation(deployment, Clock({}), "Running", lambda _: None, live_of="d")
    made.storage = Storage(tmp_path / "storage")
    yield made
    made.storage._lock.close()


def desired(situation: Situation) -> str:
    """Return what the file says is desired."""
    assert situation.storage is not None
    status = situation.storage.read_status()
    assert status is not None
    return str(status["desired_status"])


def test_it_is_on_the_disk_before_it_has_its_name(
    situation: Situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = situation.storage
    assert storage is not None
    situation.wish("Paused")
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, desired(situation)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    situation.wish("Running")
    assert synced == [("status.new", "Paused"), (storage.path.name, "Running")]


def test_a_wish_is_not_lost_to_what_a_thread_writes(situation: Situation) -> None:
    errors: list[Exception] = []

    def settle() -> None:
        try:
            for _ in range(OFTEN):
                situation.settle()
        except Exception as error:  # noqa: BLE001 - the test tells it
            errors.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    for number in range(OFTEN):
        situation.wish(("Running", "Paused")[number % 2])
    thread.join()
    assert errors == []
    assert desired(situation) == "Paused"


@pytest.mark.parametrize("text", DAMAGED)
def test_whatever_is_wrong_with_it_is_damage(situation: Situation, text: str) -> None:
    storage = situation.storage
    assert storage is not None
    (storage.path / "status.json").write_text(text)
    with pytest.raises(StorageError, match=r"status\.json is damaged"):
        storage.read_status()


def pushed(engine: Engine, number: int) -> None:
    """Insert a row."""
    assert engine.push("t", json.dumps({"insert": {"id": number}}), format="json").status_code == 200


def test_a_checkpoint_that_is_asked_for_gets_past_damage(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    pushed(engine, 1)
    engine.suspend()
    [kept] = engine.http.get("/checkpoints").json()
    engine.stop()
    assert engine.storage is not None
    status = engine.storage / "status.json"
    for chosen, expected in ((kept["uuid"], [{"id": 1}]), ("none", [])):
        status.write_text("")
        engine.checkpoint = None
        engine.redeploy()
        refused = engine.start().http.get("/status").json()
        assert f"{status} is damaged" in refused["message"]
        assert "checkpoint=none" in refused["message"], "what can be done"
        assert status.read_text() == "", "nothing has been decided"
        engine.stop()
        engine.checkpoint = chosen
        engine.redeploy()
        assert engine.start().rows("SELECT id FROM t") == expected
        assert f"{status} is damaged" in engine.output()
        engine.stop()


def test_a_restart_of_the_same_deployment_does_not_go_back_for_it(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.checkpoint = "none"
    engine.start()
    pushed(engine, 1)
    engine.stop()
    assert engine.storage is not None
    status = engine.storage / "status.json"
    kept = status.read_text()
    status.write_text("")
    assert "is damaged" in engine.start().http.get("/status").json()["message"]
    engine.stop()
    status.write_text(kept)
    assert engine.start().rows("SELECT id FROM t") == [{"id": 1}], "its database was left alone"

"""What a start begins from: the live database of before, a checkpoint or nothing, and what is never lost."""

import json
import signal
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"
OTHER_PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, other VARCHAR);"
ALWAYS = {"model": "exactly_once", "checkpoint_interval_secs": 60}
NEVER = {"model": "none", "checkpoint_interval_secs": 60}


def ingest(engine: Engine, number: int) -> None:
    """Insert one row."""
    assert engine.push("t", json.dumps({"insert": {"id": number}}), format="json").status_code == 200


def ids(engine: Engine) -> list[int]:
    """Return the rows that there are."""
    return [row["id"] for row in engine.rows("SELECT id FROM t ORDER BY id")]


def tolerant(deploy: Deploy, fault_tolerance: dict[str, Any] | None = None) -> Engine:
    """Make an engine that survives a crash, or as it is told."""
    engine = deploy(PROGRAM)
    engine.runtime_config["fault_tolerance"] = fault_tolerance or ALWAYS
    return engine


def crash(engine: Engine) -> None:
    """Kill the process; the next is another deployment."""
    engine.stop(signal.SIGKILL)
    engine.redeploy()


def refusal(engine: Engine) -> str:
    """Return why the engine has not started."""
    answer = engine.http.get("/status")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "InitializationError")
    return str(answer.json()["message"])


@pytest.mark.parametrize("model", ["exactly_once", "at_least_once"])
def test_with_fault_tolerance_nothing_acknowledged_is_lost(deploy: Deploy, model: str) -> None:
    engine = tolerant(deploy, {**ALWAYS, "model": model}).start()
    for number in (1, 2, 3):
        ingest(engine, number)
        crash(engine)
        engine.start()
        assert ids(engine) == list(range(1, number + 1))
    assert engine.http.get("/stats").json()["global_metrics"]["total_processed_records"] == 3


def test_a_taken_over_database_outlives_a_restart_of_its_new_deployment(deploy: Deploy) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    crash(engine)
    engine.start()
    ingest(engine, 2)
    engine.stop(signal.SIGKILL)
    assert ids(engine.start()) == [1, 2]


def test_what_came_after_a_checkpoint_is_there_too(deploy: Deploy) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    engine.suspend()
    crash(engine)
    engine.start()
    ingest(engine, 2)
    crash(engine)
    engine.start()
    assert ids(engine) == [1, 2]
    engine.suspend()
    engine.stop()
    assert engine.start().status()["runtime_status"] == "Suspended", "its database is gone, whoever made it"
    crash(engine)
    assert ids(engine.start()) == [1, 2]


def test_without_fault_tolerance_only_a_checkpoint_is_kept(deploy: Deploy) -> None:
    engine = tolerant(deploy, NEVER).start()
    ingest(engine, 1)
    engine.suspend()
    crash(engine)
    engine.start()
    ingest(engine, 2)
    crash(engine)
    assert ids(engine.start()) == [1]
    assert engine.storage is not None
    assert len(list(engine.storage.glob("live/*.duckdb"))) == 1


def test_a_start_from_a_checkpoint_may_be_asked_for(deploy: Deploy) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    engine.suspend()
    crash(engine)
    engine.start()
    ingest(engine, 2)
    [made] = engine.http.get("/checkpoints").json()
    crash(engine)
    engine.runtime_config["storage"] = synchronised(made["uuid"])
    assert ids(engine.start()) == [1]


def synchronised(wanted: str) -> dict[str, Any]:
    """Return a storage whose bucket is asked for a checkpoint; nobody can reach it."""
    sync = {"bucket": "b", "start_from_checkpoint": wanted}
    return {"backend": {"name": "file", "config": {"sync": sync}}}


@pytest.mark.parametrize("suspended", [True, False])
def test_the_latest_is_what_was_left_before_any_checkpoint(deploy: Deploy, suspended: bool) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    if suspended:
        engine.suspend()
        crash(engine)
        engine.start()
    ingest(engine, 2)
    crash(engine)
    engine.runtime_config["storage"] = synchronised("latest")
    assert ids(engine.start()) == [1, 2]


def test_a_changed_program_does_not_cost_what_was_acknowledged(deploy: Deploy) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    crash(engine)
    engine.program, engine.program_version, engine.bootstrap_policy = OTHER_PROGRAM, 2, "reject"
    assert "rejected by the user" in refusal(engine.start())
    assert engine.http.get("/pause").status_code == 500
    [kept] = engine.http.get("/checkpoints").json()
    assert kept["processed_records"] == 1, "what was left has become a checkpoint"
    crash(engine)
    engine.program, engine.program_version = PROGRAM, 3
    assert ids(engine.start()) == [1]


def test_a_crash_while_taking_over_loses_nothing(deploy: Deploy) -> None:
    engine = tolerant(deploy).start()
    ingest(engine, 1)
    for _ in range(3):
        crash(engine)
        engine.start(wait=False)
    crash(engine)
    assert ids(engine.start()) == [1]

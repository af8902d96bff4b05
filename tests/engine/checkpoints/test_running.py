"""Checkpoints of a running engine: asked for, now and then, refused, delayed, and started from."""

import json
import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS c FROM t;
"""


def changes(*numbers: int) -> str:
    """Return rows to insert."""
    return "\n".join(json.dumps({"insert": {"id": number, "name": f"name {number}"}}) for number in numbers)


def ingest(engine: Engine, *numbers: int) -> None:
    """Insert rows."""
    answer = engine.push("t", changes(*numbers), format="json")
    assert answer.status_code == 200, answer.text


def hold(engine: Engine, *numbers: int) -> None:
    """Insert rows within a transaction, whose commit writes them."""
    answer = engine.send("t", changes(*numbers), format="json")
    assert answer.status_code == 200, answer.text


def ids(engine: Engine) -> list[int]:
    """Return the rows that there are."""
    return [row["id"] for row in engine.rows("SELECT id FROM t ORDER BY id")]


def ask(engine: Engine) -> int:
    """Ask for a checkpoint; returns its number."""
    answer = engine.http.post("/checkpoint")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["incarnation_uuid"] == incarnation(engine)
    return int(body["checkpoint_sequence_number"])


def checkpoint(engine: Engine) -> str:
    """Make a checkpoint; returns its uuid."""
    number = ask(engine)
    engine.eventually(lambda: status(engine)["success"] == number)
    return str(listed(engine)[0]["uuid"])


def is_made(engine: Engine, number: int) -> bool:
    """Tell whether the checkpoint with a number is whole."""
    return bool(status(engine)["success"] == number)


def status(engine: Engine, **parameters: str) -> dict[str, Any]:
    """Return the body of /checkpoint_status."""
    body: dict[str, Any] = engine.http.get("/checkpoint_status", params=parameters).json()
    return body


def incarnation(engine: Engine) -> str:
    """Return what tells this process from others."""
    return str(engine.http.get("/stats").json()["global_metrics"]["incarnation_uuid"])


def listed(engine: Engine) -> list[dict[str, Any]]:
    """Return the checkpoints that there are."""
    found: list[dict[str, Any]] = engine.http.get("/checkpoints").json()
    return found


def crash(engine: Engine) -> None:
    """Kill the process; the next is another deployment."""
    engine.stop(signal.SIGKILL)
    engine.redeploy()


def test_a_checkpoint_is_what_the_next_deployment_begins_from(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1, 2)
    assert status(engine) == {"success": None, "failure": None}
    assert checkpoint(engine)
    ingest(engine, 3)
    assert ids(engine) == [1, 2, 3]
    crash(engine)
    engine.start()
    assert ids(engine) == [1, 2]
    assert engine.rows("SELECT c FROM v") == [{"c": 2}]
    assert engine.http.get("/stats").json()["global_metrics"]["total_processed_records"] == 2


def test_numbers_count_from_zero_in_each_process(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    for number in range(3):
        ingest(engine, number)
        assert ask(engine) == number
        engine.eventually(partial(is_made, engine, number))
    [newest, before] = listed(engine)
    assert set(newest) == {"uuid", "identifier", "fingerprint", "size", "steps", "processed_records"}
    assert (newest["steps"], before["steps"]) == (3, 2)
    assert newest["uuid"] > before["uuid"]
    assert engine.status()["storage_status_details"]["checkpoints"] == [newest, before]
    crash(engine)
    assert ask(engine.start()) == 0


def test_a_question_about_another_process_is_refused(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert status(engine, incarnation_uuid=incarnation(engine)) == {"success": None, "failure": None}
    other = str(uuid.uuid4())
    answer = engine.http.get("/checkpoint_status", params={"incarnation_uuid": other})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "IncarnationUuidMismatch")
    assert answer.json()["details"] == {"requested": other, "expected": incarnation(engine)}


def test_without_storage_a_checkpoint_fails_and_says_why(deploy: Deploy) -> None:
    engine = deploy(PROGRAM, storage=False).start()
    assert ask(engine) == 0
    engine.eventually(lambda: status(engine)["failure"])
    failure = status(engine)["failure"]
    assert set(failure) == {"sequence_number", "error", "failed_at"}
    assert (failure["sequence_number"], status(engine)["success"]) == (0, None)
    assert "no storage" in failure["error"]
    assert "could not make checkpoint 0" in engine.output()
    stats = engine.http.get("/stats").json()
    assert stats["permanent_checkpoint_errors"] == ["StorageRequired"]
    assert stats["checkpoint_activity"] is None
    assert ids_after_all(engine) == [1]


def ids_after_all(engine: Engine) -> list[int]:
    """Return the rows after one more, since it goes on."""
    ingest(engine, 1)
    return ids(engine)


def test_an_open_transaction_delays_a_checkpoint(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.http.post("/start_transaction")
    hold(engine, 1)
    ask(engine)
    engine.eventually(lambda: activity(engine)["status"] == "delayed")
    assert activity(engine)["reasons"] == ["TransactionInProgress"]
    assert status(engine) == {"success": None, "failure": None}
    engine.http.post("/commit_transaction")
    engine.eventually(lambda: status(engine)["success"] == 0)
    assert activity(engine) == {"status": "idle"}
    assert listed(engine)[0]["processed_records"] == 1


def activity(engine: Engine) -> dict[str, Any]:
    """Return what /stats tells of checkpoints."""
    found: dict[str, Any] = engine.http.get("/stats").json()["checkpoint_activity"]
    return found


def fill(engine: Engine) -> None:
    """Insert more than fits between a client that does not read and an engine."""
    rows = (json.dumps({"insert": {"id": number, "name": "x" * 1000}}) for number in range(20_000))
    assert engine.push("t", "\n".join(rows), format="json").status_code == 200


@contextmanager
def querying(engine: Engine, form: str) -> Iterator[Iterator[bytes]]:
    """Begin to read a query of gigabytes; yields what more of it comes."""
    sql = "SELECT a.id, b.name FROM t AS a CROSS JOIN t AS b"
    with engine.http.stream("GET", "/query", params={"sql": sql, "format": form}) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces)
        yield pieces


@contextmanager
def listening(engine: Engine) -> Iterator[None]:
    """Begin to read a snapshot, and read no further."""
    parameters = {"format": "json", "send_snapshot": "true"}
    with engine.http.stream("POST", "/egress/t", params=parameters) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        yield


def test_a_query_and_a_snapshot_delay_a_checkpoint_and_do_not_fail_it(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    fill(engine)
    with querying(engine, "json"), listening(engine):
        ingest(engine, 100_000)
        ask(engine)
        engine.eventually(lambda: activity(engine)["status"] == "delayed")
        assert activity(engine)["reasons"] == ["SnapshotInProgress"]
        ingest(engine, 100_001)
        assert status(engine) == {"success": None, "failure": None}
    engine.eventually(lambda: is_made(engine, 0))
    assert status(engine)["failure"] is None
    assert listed(engine)[0]["processed_records"] == 20_002


def test_a_query_that_saw_the_last_step_delays_nothing(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    fill(engine)
    with querying(engine, "json"), listening(engine):
        assert checkpoint(engine)


def test_queries_and_snapshots_that_never_end_are_told_to(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"checkpoint_patience_secs": 0}
    engine.start()
    fill(engine)
    with ExitStack() as open_:
        pieces, *_ = [
            open_.enter_context(querying(engine, form)) for form in ("json", "arrow_ipc", "parquet")
        ]
        open_.enter_context(listening(engine))
        ingest(engine, 100_000)
        assert checkpoint(engine)
        assert status(engine)["failure"] is None
        *_, last = b"".join(pieces).splitlines()
        assert "kept a checkpoint waiting" in json.loads(last)["error"]
        assert engine.http.get("/stats").json()["outputs"] == []
    assert "ending the queries and snapshots that a checkpoint has waited for" in engine.output()
    ingest(engine, 100_001)
    crash(engine)
    assert len(ids(engine.start())) == 20_001


def test_a_suspend_does_not_wait_for_who_reads_slowly(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    fill(engine)
    with querying(engine, "arrow_ipc"), querying(engine, "parquet"), listening(engine):
        ingest(engine, 100_000)
        engine.suspend()


def test_it_is_made_now_and_then_where_something_has_happened(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["fault_tolerance"] = {"model": "at_least_once", "checkpoint_interval_secs": 1}
    engine.start()
    ingest(engine, 1)
    engine.eventually(lambda: listed(engine))
    ingest(engine, 2)
    engine.eventually(lambda: len(listed(engine)) == 2)
    assert [each["processed_records"] for each in listed(engine)] == [2, 1]
    assert status(engine) == {"success": 1, "failure": None}


def test_a_suspend_makes_the_last_one_and_serves_who_asked(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.http.post("/start_transaction")
    ask(engine)
    hold(engine, 1)
    engine.http.post("/suspend")
    engine.http.post("/commit_transaction")
    engine.eventually(lambda: engine.status()["runtime_status"] == "Suspended")
    assert status(engine) == {"success": 0, "failure": None}
    assert listed(engine)[0]["processed_records"] == 1


@pytest.mark.parametrize("model", ["none", "exactly_once"])
def test_an_older_checkpoint_or_none_may_be_chosen(deploy: Deploy, model: str) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["fault_tolerance"] = {"model": model, "checkpoint_interval_secs": None}
    engine.start()
    ingest(engine, 1)
    first = checkpoint(engine)
    ingest(engine, 2)
    ask(engine)
    engine.eventually(lambda: status(engine)["success"] == 1)
    crash(engine)
    engine.checkpoint = first
    assert ids(engine.start()) == [1]
    ingest(engine, 3)
    engine.stop(signal.SIGKILL)
    assert ids(engine.start()) == [1, 3], "a restart of the same deployment goes on with its own"
    crash(engine)
    engine.checkpoint = "none"
    assert ids(engine.start()) == []
    crash(engine)
    engine.checkpoint = str(uuid.uuid4())
    refused = engine.start().http.get("/status")
    assert refused.status_code == 500
    assert f"there is no checkpoint {engine.checkpoint}" in refused.json()["message"]

"""A real engine: its statuses, what it keeps across ends of all kinds, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sluicegate.engine.checkpoints.manifest import HEAD
from tests.engine.conftest import ROOT, Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS c FROM t;
"""
OTHER_PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, other VARCHAR);"


def ingest(engine: Engine, number: int) -> None:
    """Insert one row."""
    assert engine.push("t", json.dumps({"insert": {"id": number}}), format="json").status_code == 200


def count(engine: Engine) -> int:
    """Return how many rows there are."""
    return int(engine.rows("SELECT c FROM v")[0]["c"])


@pytest.mark.parametrize(("initial", "status"), [("running", "Running"), ("paused", "Paused")])
def test_it_starts_as_told(deploy: Deploy, initial: str, status: str) -> None:
    engine = deploy(PROGRAM).start(initial)
    assert engine.status() == {
        "runtime_status": status,
        "runtime_desired_status": status,
        "runtime_status_details": {},
        "storage_status_details": {"checkpoints": []},
    }


def test_it_pauses_and_resumes(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    for path, answer, status in (
        ("/pause", "Pipeline transitioning from Running to Paused", "Paused"),
        ("/pause", "Pipeline transitioning from Paused to Paused", "Paused"),
        ("/start", "Pipeline transitioning from Paused to Running", "Running"),
    ):
        said = engine.http.get(path)
        assert (said.status_code, said.json()) == (202, answer)
        assert engine.status()["runtime_status"] == status


def test_activate_acts_like_resume_and_pause(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.http.post("/activate", params={"initial": "paused"}).status_code == 202
    assert engine.status()["runtime_status"] == "Paused"
    assert engine.http.post("/activate").status_code == 202
    assert engine.status()["runtime_status"] == "Running"
    wrong = engine.http.post("/activate", params={"initial": "standby"})
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "InvalidActivateStatus")
    assert wrong.json()["details"] == "standby"


def test_approve_is_harmless(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    said = engine.http.post("/approve")
    assert (said.status_code, said.json()) == (200, "Bootstrap approved")
    both = {"silent_bootstrap": "true", "concurrent_bootstrap": "true"}
    assert engine.http.post("/approve", params=both).json()["error_code"] == "InvalidBootstrapConfig"
    assert engine.http.post("/approve", params={"silent_bootstrap": "yes"}).status_code == 400


def test_nobody_is_let_in_without_the_token(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.connect("another token")
    assert engine.http.get("/status").status_code == 401
    engine.http.headers.pop("Authorization")
    refused = engine.http.post("/suspend")
    assert (refused.status_code, refused.headers["content-type"]) == (401, "text/plain")
    engine.connect()
    assert engine.status()["runtime_status"] == "Running"


def test_an_unknown_route_is_not_found(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.http.post("/no_such_route").status_code == 404


def test_a_start_does_without_what_only_queries_need() -> None:
    """Every import before the first answer is time that a user waits."""
    modules = "app, database, loading, pipeline, server"
    late = {"sqlglot", "prettytable", "pandas", "numpy", "pyarrow", "pydantic", "httpx", "faker", "obstore"}
    late |= {f"sluicegate.engine.{name}" for name in ("connecting.all", "egress", "formats.config")}
    code = (
        f"import sys\nfrom sluicegate.engine import {modules}\nsys.exit(str({late} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=False)
    assert done.stderr.strip() == ""


def test_it_says_in_a_line_what_it_does(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.http.get("/pause")
    assert engine.stop() == 0
    lines = engine.output().splitlines()
    port = engine.folder.joinpath("port").read_text()
    rest = f"deployment {engine.deployment_id} of pipeline demo, 1 table, 1 view, 127.0.0.1:{port}"
    assert lines == [f"running {rest}", f"paused {rest}", f"ended {rest}"]


def test_a_killed_engine_goes_on_where_it_was(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1)
    ingest(engine, 2)
    engine.http.get("/pause")
    engine.stop(signal.SIGKILL)
    engine.start("running")
    assert engine.status()["runtime_status"] == "Paused", "what was desired outlives the process"
    assert count(engine) == 2
    assert engine.http.get("/stats").json()["global_metrics"]["total_processed_records"] == 2


def test_a_new_deployment_without_a_checkpoint_starts_empty(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1)
    engine.stop(signal.SIGKILL)
    engine.redeploy()
    engine.start("paused")
    assert engine.status()["runtime_status"] == "Paused"
    assert count(engine) == 0


def test_a_suspended_engine_keeps_its_state_for_the_next(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    ingest(engine, 1)
    engine.suspend()
    (checkpoint,) = engine.status()["storage_status_details"]["checkpoints"]
    assert set(checkpoint) == {"uuid", "identifier", "fingerprint", "size", "steps", "processed_records"}
    assert (checkpoint["steps"], checkpoint["processed_records"]) == (1, 1)
    engine.stop()
    engine.redeploy()
    engine.start()
    assert count(engine) == 1
    ingest(engine, 2)
    engine.suspend()
    assert len(engine.status()["storage_status_details"]["checkpoints"]) == 2
    engine.stop()
    engine.redeploy()
    assert count(engine.start()) == 2


def test_only_the_newest_checkpoints_are_kept(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    made = []
    for number in range(3):
        engine.redeploy()
        engine.start()
        ingest(engine, number)
        engine.suspend()
        made.append(engine.status()["storage_status_details"]["checkpoints"][0]["uuid"])
        engine.stop()
    engine.redeploy()
    listed = engine.start().http.get("/checkpoints").json()
    assert [checkpoint["uuid"] for checkpoint in listed] == [made[2], made[1]]


def test_a_suspended_engine_answers_that_it_is(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.suspend()
    for answer in (engine.http.get("/stats"), engine.push("t", "1"), engine.http.get("/query?sql=SELECT 1")):
        assert (answer.status_code, answer.json()["error_code"]) == (503, "Suspended")
        assert answer.json()["details"] is None
    for path, action in (("/start", "start"), ("/pause", "pause")):
        refused = engine.http.get(path)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidTransition")
        assert refused.json()["details"] == [action, "Suspended"]
    assert engine.http.post("/suspend").status_code == 202
    assert engine.stop() == 0
    assert engine.start().status()["runtime_status"] == "Suspended", "the same deployment stays suspended"


def test_suspending_needs_storage(deploy: Deploy) -> None:
    engine = deploy(PROGRAM, storage=False).start()
    assert engine.status()["storage_status_details"] is None
    assert engine.http.get("/stats").json()["suspend_error"] == {"Permanent": ["StorageRequired"]}
    assert engine.http.post("/suspend").status_code == 202
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    assert engine.status()["error_code"] == "SuspendError"


def test_a_changed_program_does_not_start_from_a_checkpoint_unasked(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.suspend()
    engine.stop()
    engine.redeploy()
    engine.program, engine.bootstrap_policy = OTHER_PROGRAM, "reject"
    engine.start()
    answer = engine.http.get("/status")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "InitializationError")
    assert "program has changed" in answer.json()["message"]
    assert answer.json()["details"]["error"]["error_code"] == "BootstrapRejected"
    assert engine.http.get("/stats").status_code == 500


def test_a_damaged_checkpoint_is_not_started_from(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.suspend()
    engine.stop()
    engine.redeploy()
    assert engine.storage is not None
    [segment] = engine.storage.glob("checkpoints/segments/*")
    segment.write_bytes(segment.read_bytes()[:-1] + b"?")
    answer = engine.start().http.get("/status")
    assert answer.status_code == 500
    assert "is not what was written" in answer.json()["message"]


@pytest.mark.parametrize("size", [0, 100, 4096, 8192])
def test_a_database_whose_making_was_cut_short_is_made_anew(deploy: Deploy, size: int) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.storage is not None
    engine.stop(signal.SIGKILL)
    [file] = (engine.storage / "live").glob("*.duckdb")
    for each in (engine.storage / "live").glob("*.duckdb.wal"):
        each.unlink()
    os.truncate(file, size)
    engine.start()
    assert engine.status()["runtime_status"] == "Running"


def test_a_new_database_is_no_smaller_than_its_headers(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.storage is not None
    [file] = (engine.storage / "live").glob("*.duckdb")
    assert file.stat().st_size >= HEAD


def test_standby_is_refused(deploy: Deploy) -> None:
    answer = deploy(PROGRAM).start("standby").http.get("/status")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "InitializationError")
    assert answer.json()["details"]["error"]["error_code"] == "InvalidStandby"


def test_what_ran_does_not_start_as_standby(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.stop()
    engine.redeploy()
    answer = engine.start("standby").http.get("/status").json()
    assert answer["details"]["error"]["error_code"] == "InvalidStartupTransition"
    assert answer["details"]["error"]["details"] == ["Running", "Standby"]


def test_two_processes_do_not_share_storage(deploy: Deploy) -> None:
    first = deploy(PROGRAM).start()
    second = deploy(PROGRAM).start()
    assert "in use" in second.http.get("/status").json()["message"]
    assert first.process is not None
    assert first.process.poll() is None


def test_a_paused_engine_takes_only_what_is_forced(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start("paused")
    row = '{"insert": {"id": 1}}'
    assert engine.push("t", row, format="json", force="true").status_code == 200
    assert count(engine) == 1
    with pytest.raises(httpx.ReadTimeout):
        engine.http.post(
            "/ingress/t", params={"format": "json"}, content='{"insert": {"id": 2}}', timeout=0.2
        )
    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(engine.push, "t", '{"insert": {"id": 3}}', format="json")
        with httpx.Client(base_url=engine.http.base_url, headers=engine.http.headers) as another:
            another.get("/start")
        assert blocked.result().status_code == 200
    assert [row["id"] for row in engine.rows("SELECT id FROM t ORDER BY id")] == [1, 3]


def test_a_blocked_request_does_not_delay_the_end(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start("paused")
    with ThreadPoolExecutor() as pool:
        address = str(engine.http.base_url.join("/ingress/t"))
        blocked = pool.submit(httpx.post, address, headers=engine.http.headers, content="1,a")
        engine.eventually(lambda: engine.http.get("/stats").json()["inputs"])
        assert engine.stop() == 0
        assert (blocked.result().status_code, blocked.result().json()["error_code"]) == (410, "Terminating")

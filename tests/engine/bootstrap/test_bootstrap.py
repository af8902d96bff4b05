"""An edited program goes on with what is stored: approval, refusals, and what becomes of each part."""

import json
import signal
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

T = "CREATE TABLE t (id INT PRIMARY KEY, x INT);"
BAG = "CREATE TABLE bag (x INT) WITH ('materialized' = 'true');"
TOTAL = "CREATE MATERIALIZED VIEW total AS SELECT SUM(x) AS s FROM t;"
LARGEST = "CREATE MATERIALIZED VIEW largest AS SELECT MAX(x) AS m FROM t;"


def connected(head: str, rest: str, name: str, transport: str, **config: Any) -> str:
    """Give a relation a connector."""
    connector = {"name": name, "transport": {"name": transport, "config": config}, "format": {"name": "json"}}
    if transport == "datagen":
        del connector["format"]
    return f"{head} WITH ('connectors' = '{json.dumps([connector])}') {rest};"


def fill(engine: Engine, *rows: dict[str, int], table: str = "t") -> None:
    """Insert rows."""
    body = "".join(json.dumps({"insert": row}) + "\n" for row in rows)
    assert engine.push(table, body, format="json").status_code == 200


def stored(deploy: Deploy, program: str, *rows: dict[str, int], table: str = "t") -> Engine:
    """Return an engine that has stopped, with these rows in its checkpoint."""
    engine = deploy(program).start()
    fill(engine, *(rows or ({"id": 1, "x": 10}, {"id": 2, "x": 20})), table=table)
    engine.suspend()
    engine.stop()
    engine.redeploy()
    return engine


def edit(engine: Engine, program: str, policy: str = "allow", *flags: str) -> Engine:
    """Have the next start be one of another program."""
    engine.program, engine.bootstrap_policy, engine.flags = program, policy, flags
    engine.program_version += 1
    return engine


def force(engine: Engine) -> None:
    """End the process without a checkpoint."""
    engine.stop(signal.SIGKILL)
    engine.redeploy()


def refusal(engine: Engine) -> tuple[str, str]:
    """Return the inner code and the message of an engine that could not start."""
    answer = engine.http.get("/status")
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (500, "InitializationError")
    return body["details"]["error"]["error_code"], body["message"]


def test_changed_views_are_computed_from_what_is_there(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL + LARGEST)
    edit(
        engine,
        T
        + TOTAL.replace("SUM(x)", "SUM(x + 1)")
        + "CREATE MATERIALIZED VIEW n AS SELECT COUNT(*) AS n FROM t;",
    )
    assert engine.start().status()["runtime_status"] == "Running"
    assert engine.rows("SELECT * FROM t ORDER BY id") == [{"id": 1, "x": 10}, {"id": 2, "x": 20}]
    assert engine.rows("SELECT * FROM total") == [{"s": 32}]
    assert engine.rows("SELECT * FROM n") == [{"n": 2}]
    assert engine.http.get("/query", params={"sql": "SELECT * FROM largest"}).status_code == 400
    fill(engine, {"id": 3, "x": 30})
    assert (engine.rows("SELECT * FROM total"), engine.rows("SELECT * FROM n")) == ([{"s": 63}], [{"n": 3}])
    metrics = engine.http.get("/stats").json()["global_metrics"]
    assert (metrics["total_processed_records"], metrics["bootstrap_in_progress"]) == (3, False)


def test_a_changed_table_begins_anew_and_a_new_one_empty(deploy: Deploy) -> None:
    engine = stored(deploy, T + BAG + TOTAL)
    edit(
        engine, T.replace("x INT", "x BIGINT") + BAG + TOTAL + "CREATE TABLE more (id INT PRIMARY KEY);"
    ).start()
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 0}]
    assert engine.rows("SELECT COUNT(*) AS n FROM more") == [{"n": 0}]
    assert engine.rows("SELECT * FROM total") == [{"s": None}]
    fill(engine, {"id": 5, "x": 50})
    assert engine.rows("SELECT * FROM total") == [{"s": 50}]


def test_a_table_becomes_a_view_and_a_view_a_table(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(
        engine, "CREATE TABLE total (id INT PRIMARY KEY); CREATE MATERIALIZED VIEW t AS SELECT id FROM total;"
    ).start()
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 0}]
    fill(engine, {"id": 1}, table="total")
    assert engine.rows("SELECT * FROM t") == [{"id": 1}]


def test_comments_are_no_change(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(
        engine, "-- as before\n" + T.lower() + TOTAL.replace("SELECT", "SELECT /* all */\n"), "reject"
    ).start()
    assert engine.rows("SELECT * FROM total") == [{"s": 30}]


def test_an_approval_is_waited_for(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(engine, T + TOTAL.replace("SUM(x)", "SUM(x + 1)"), "await_approval").start()
    status = engine.status()
    assert (status["runtime_status"], status["runtime_desired_status"]) == ("AwaitingApproval", "Running")
    diff = status["runtime_status_details"]["approval_diff"]
    assert diff["program_diff"]["modified_views"] == ["total"]
    assert (len(diff), len(diff["program_diff"])) == (8, 6)
    assert engine.push("t", '{"id": 3}').json()["error_code"] == "Initializing"
    assert engine.http.get("/pause").status_code == 202
    refused = engine.http.post(
        "/approve", params={"silent_bootstrap": "true", "concurrent_bootstrap": "true"}
    )
    assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidBootstrapConfig")
    assert engine.status()["runtime_status"] == "AwaitingApproval"
    answer = engine.http.post("/approve")
    assert (answer.status_code, answer.json()) == (200, "Bootstrap approved")
    assert engine.status()["runtime_status"] != "AwaitingApproval"
    engine.eventually(lambda: engine.status()["runtime_status"] == "Paused")
    assert "approval_diff" not in engine.status()["runtime_status_details"]
    assert engine.rows("SELECT * FROM total") == [{"s": 32}]
    assert engine.http.post("/approve").status_code == 200


def test_without_an_approval_nothing_changes(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    for end in (signal.SIGTERM, signal.SIGKILL):
        edit(engine, T, "await_approval").start()
        assert engine.status()["runtime_status"] == "AwaitingApproval"
        engine.stop(end)
        engine.redeploy()
    edit(engine, T + TOTAL, "reject").start()
    assert engine.rows("SELECT * FROM total") == [{"s": 30}]


def test_a_suspension_waits_for_the_approval(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(engine, T + LARGEST, "await_approval").start()
    assert engine.http.post("/suspend").status_code == 202
    assert engine.status()["runtime_status"] == "AwaitingApproval"
    assert engine.http.post("/approve").status_code == 200
    engine.eventually(lambda: engine.status()["runtime_status"] == "Suspended")
    engine.stop()
    engine.redeploy()
    edit(engine, T + LARGEST, "reject").start()
    assert engine.rows("SELECT * FROM largest") == [{"m": 20}]


def test_a_restarted_process_has_been_approved(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(engine, T + LARGEST, "await_approval").start()
    assert engine.http.post("/approve").status_code == 200
    engine.eventually(lambda: engine.status()["runtime_status"] == "Running")
    fill(engine, {"id": 3, "x": 30})
    engine.stop(signal.SIGKILL)
    assert engine.start().status()["runtime_status"] == "Running"
    assert engine.rows("SELECT * FROM largest") == [{"m": 30}]


def test_before_a_new_checkpoint_a_start_sees_the_same_change_again(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(engine, T + LARGEST, "await_approval")
    seen = []
    for _ in range(3):
        engine.start()
        seen.append(engine.status()["runtime_status_details"]["approval_diff"])
        assert engine.http.post("/approve").status_code == 200
        engine.eventually(lambda: engine.status()["runtime_status"] == "Running")
        fill(engine, {"id": 3, "x": 30})
        force(engine)
    assert seen[0] == seen[1] == seen[2]
    engine.start()
    assert engine.http.post("/approve").status_code == 200
    engine.eventually(lambda: engine.status()["runtime_status"] == "Running")
    assert engine.rows("SELECT * FROM largest") == [{"m": 20}]
    engine.suspend()
    force(engine)
    assert engine.start().status()["runtime_status"] == "Running"


def test_a_change_may_be_rejected(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL)
    edit(engine, T + LARGEST, "reject").start()
    code, message = refusal(engine)
    assert (code, "rejected by the user" in message, "largest" in message) == (
        "BootstrapRejected",
        True,
        True,
    )


@pytest.mark.parametrize(
    ("old", "new", "flags", "words"),
    [
        (
            T + "CREATE TABLE b (x INT);",
            T + "CREATE TABLE b (x INT); CREATE VIEW v AS SELECT x FROM b;",
            (),
            "not materialized",
        ),
        (
            T + "CREATE TABLE l (ts TIMESTAMP LATENESS INTERVAL '1' HOUR);",
            T + TOTAL + "CREATE TABLE l (ts TIMESTAMP LATENESS INTERVAL '1' HOUR);",
            (),
            "lateness",
        ),
        (T, T.replace("x INT", "x BIGINT"), ("--concurrent-bootstrap",), "bootstrapped concurrently"),
    ],
)
def test_what_is_not_allowed(deploy: Deploy, old: str, new: str, flags: tuple[str, ...], words: str) -> None:
    engine = stored(deploy, old)
    for policy in ("allow", "reject", "await_approval") if not flags else ("allow",):
        code, message = refusal(edit(engine, new, policy, *flags).start())
        assert (code, words in message) == ("BootstrapNotAllowed", True)
        force(engine)
    edit(engine, old, "reject").start()
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 2}]


def test_an_error_in_a_changed_view_leaves_what_is_stored(deploy: Deploy) -> None:
    engine = stored(deploy, T + TOTAL, {"id": 1, "x": 2147483647})
    edit(engine, T + "CREATE MATERIALIZED VIEW v AS SELECT MAX(x + 1) AS m FROM t;").start()
    assert "Overflow" in refusal(engine)[1]
    force(engine)
    edit(engine, T + TOTAL, "reject").start()
    assert engine.rows("SELECT * FROM total") == [{"s": 2147483647}]


def test_positions_of_connectors_go_with_their_tables_and_configurations(deploy: Deploy) -> None:
    def program(kept: int, changed: int, table: str) -> str:
        return "".join(
            connected(f"CREATE TABLE {name} (x INT {more})", "", "c", "datagen", plan=[{"limit": limit}])
            for name, limit, more in (("kept", kept, ""), ("changed", changed, ""), ("anew", 3, table))
        ).replace("WITH (", "WITH ('materialized' = 'true', ")

    engine = deploy(program(3, 3, "")).start()
    numbers = (f"(SELECT COUNT(*) FROM {name}) AS {name[0]}" for name in ("kept", "changed", "anew"))
    counts = f"SELECT {', '.join(numbers)}"
    engine.eventually(lambda: engine.rows(counts) == [{"k": 3, "c": 3, "a": 3}])
    engine.suspend()
    force(engine)
    edit(engine, program(3, 4, "NOT NULL")).start()
    engine.eventually(lambda: engine.http.get("/stats").json()["global_metrics"]["pipeline_complete"])
    assert engine.rows(counts) == [{"k": 3, "c": 7, "a": 3}]


def written(engine: Engine, name: str) -> list[Any]:
    """Return the rows that an output has written, without what was done with them."""
    assert engine.storage is not None
    file = engine.storage / "files" / name
    lines = file.read_text().splitlines() if file.exists() else []
    return sorted((json.loads(line)["insert"] for line in lines if "insert" in line), key=str)


def transmitted(engine: Engine, output: str) -> int:
    """Return how many records an output has written."""
    outputs = engine.http.get("/stats").json()["outputs"]
    [found] = [each["metrics"]["transmitted_records"] for each in outputs if each["endpoint_name"] == output]
    return int(found)


@pytest.mark.parametrize("silent", [False, True])
def test_outputs_of_changed_views_get_all_of_them_unless_they_are_mute(deploy: Deploy, silent: bool) -> None:
    def view(name: str, query: str) -> str:
        return connected(f"CREATE VIEW {name}", f"AS {query}", "o", "file_output", path=f"{name}.json")

    kept = view("kept", "SELECT x FROM t")
    engine = stored(deploy, T + kept + view("changed", "SELECT x FROM t"))
    assert written(engine, "changed.json") == [{"x": 10}, {"x": 20}]
    flags = ("--silent-bootstrap",) if silent else ()
    edit(
        engine,
        T + kept + view("changed", "SELECT x + 1 AS x FROM t") + view("fresh", "SELECT COUNT(*) AS n FROM t"),
        "allow",
        *flags,
    )
    engine.start()
    all_of_it = 2 if silent else 4
    engine.eventually(lambda: transmitted(engine, "changed.o") == all_of_it)
    engine.eventually(lambda: transmitted(engine, "fresh.o") == int(not silent))
    assert transmitted(engine, "kept.o") == 2, "counters go on"
    fill(engine, {"id": 3, "x": 30})
    engine.eventually(lambda: written(engine, "kept.json") == [{"x": 30}])
    before = [] if silent else [{"x": 11}, {"x": 21}]
    engine.eventually(lambda: written(engine, "changed.json") == [*before, {"x": 31}])
    engine.suspend()
    force(engine)
    engine.start()
    fill(engine, {"id": 4, "x": 40})
    engine.eventually(lambda: written(engine, "changed.json") == [{"x": 41}])


def test_what_was_acknowledged_goes_through_the_same(deploy: Deploy) -> None:
    engine = deploy(T + TOTAL)
    engine.runtime_config["fault_tolerance"] = {"model": "exactly_once", "checkpoint_interval_secs": 60}
    engine.start()
    fill(engine, {"id": 1, "x": 10})
    force(engine)
    edit(engine, T + LARGEST, "reject").start()
    assert refusal(engine)[0] == "BootstrapRejected"
    force(engine)
    edit(engine, T + LARGEST, "await_approval").start()
    assert engine.status()["runtime_status"] == "AwaitingApproval"
    force(engine)
    edit(engine, T + LARGEST).start()
    assert engine.rows("SELECT * FROM largest") == [{"m": 10}]
    [kept] = engine.http.get("/checkpoints").json()
    assert kept["processed_records"] == 1, "what it was before is a checkpoint"
    fill(engine, {"id": 2, "x": 20})
    force(engine)
    edit(engine, T + LARGEST, "reject").start()
    assert engine.rows("SELECT * FROM largest") == [{"m": 20}]


def test_while_it_bootstraps_it_says_so(deploy: Deploy) -> None:
    rows = [{"id": i, "x": i % 7} for i in range(3000)]
    engine = stored(deploy, T, *rows)
    few = "(SELECT * FROM t WHERE id < 20)"
    slow = f"SELECT SUM(a.x * b.x + c.x) AS s FROM t a, t b, {few} c"
    edit(engine, f"{T} CREATE MATERIALIZED VIEW slow AS {slow};").start(wait=False)
    engine.eventually(lambda: engine.status()["runtime_status"] == "Bootstrapping")
    answer = engine.push("t", '{"id": 3}')
    assert (answer.status_code, answer.json()["error_code"]) == (503, "BootstrapInProgress")
    assert engine.http.post("/start_transaction").json()["error_code"] == "BootstrapInProgress"
    assert engine.http.get("/stats").json()["global_metrics"]["bootstrap_in_progress"] is True
    assert engine.http.get("/pause").status_code == 202
    engine.eventually(lambda: engine.status()["runtime_status"] == "Paused")

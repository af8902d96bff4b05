"""`/stats` is exact to the key, and its numbers agree with one another whatever has come in."""

import json
import signal
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.engine.observing.memory import Pressure
from tests.engine.conftest import Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, x INT) WITH ('materialized' = 'true');
CREATE TABLE bag (x INT NOT NULL) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS c, SUM(x) AS s FROM bag;
"""
TOP = {
    *("checkpoint_activity", "global_metrics", "inputs", "outputs"),
    *("permanent_checkpoint_errors", "suspend_error"),
}
WORDS = {"state", "transaction_status", "concurrent_bootstrap_phase", "memory_pressure", "incarnation_uuid"}
FLAGS = {"bootstrap_in_progress", "pipeline_complete"}
NUMBERS = {
    *("transaction_id", "rss_bytes", "memory_pressure_epoch", "cpu_msecs", "uptime_msecs", "start_time"),
    *("initial_start_time", "storage_bytes", "storage_mb_secs", "runtime_elapsed_msecs"),
    *("buffered_input_records", "buffered_input_bytes", "total_input_records", "total_input_bytes"),
    *("total_processed_records", "total_processed_bytes", "total_completed_records"),
    *("output_stall_msecs", "total_initiated_steps", "total_completed_steps"),
}
OTHERS = {
    *("transaction_msecs", "transaction_records", "commit_progress", "transaction_initiators"),
    "concurrent_bootstrap_progress",
}
ROW = st.tuples(st.sampled_from(("t", "bag", "query", "bad")), st.integers(0, 5), st.integers(1, 4))


def stats(engine: Engine, **parameters: str) -> dict[str, Any]:
    """Return the body of /stats."""
    answer = engine.http.get("/stats", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def push(engine: Engine, table: str, rows: list[dict[str, Any]]) -> int:
    """Insert rows; returns the status of the answer."""
    lines = "\n".join(json.dumps({"insert": row}) for row in rows)
    return engine.push(table, lines, format="json").status_code


def test_the_keys_are_exact(shared: Engine) -> None:
    push(shared, "bag", [{"x": 1}])
    body = stats(shared)
    figures = body["global_metrics"]
    assert set(body) == TOP
    assert set(figures) == WORDS | FLAGS | NUMBERS | OTHERS
    assert {key for key in figures if isinstance(figures[key], bool)} == FLAGS
    assert {key for key in figures if type(figures[key]) is int} == NUMBERS
    assert {key for key in figures if isinstance(figures[key], str)} == WORDS
    assert all(set(each["config"]) == {"stream"} for each in body["inputs"])


def test_what_has_come_in_is_counted(shared: Engine) -> None:
    before = stats(shared)["global_metrics"]
    assert push(shared, "bag", [{"x": 1}, {"x": 2}]) == 200
    shared.rows("INSERT INTO bag VALUES (3)")
    after = stats(shared)["global_metrics"]
    for key in ("total_input_records", "total_processed_records", "total_completed_records"):
        assert after[key] - before[key] == 3, key
    assert after["total_processed_bytes"] > before["total_processed_bytes"]
    assert after["runtime_elapsed_msecs"] >= before["runtime_elapsed_msecs"]
    assert after["total_completed_steps"] - before["total_completed_steps"] == 2
    assert after["storage_bytes"] > 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=6))
def test_the_numbers_agree_after_any_input(shared: Engine, pushes: list[tuple[str, int, int]]) -> None:
    before = stats(shared)["global_metrics"]
    expected = 0
    for what, number, count in pushes:
        if what == "query":
            shared.rows(f"INSERT INTO bag SELECT {number} FROM range({count})")
            expected += count
        elif what == "bad":
            assert push(shared, "bag", [{"x": "no number"}] * count) == 400
        else:
            row = {"id": number, "x": number} if what == "t" else {"x": number}
            assert push(shared, what, [row] * count) == 200
            expected += count
    body = stats(shared)
    now, inputs = body["global_metrics"], [each["metrics"] for each in body["inputs"]]
    assert now["total_input_records"] - before["total_input_records"] == expected
    assert now["total_processed_records"] == now["total_input_records"] == now["total_completed_records"]
    assert now["total_processed_bytes"] == now["total_input_bytes"]
    assert now["total_initiated_steps"] == now["total_completed_steps"]
    assert now["buffered_input_records"] == now["buffered_input_bytes"] == 0
    assert sum(each["total_records"] for each in inputs) <= now["total_input_records"]
    assert now["pipeline_complete"] is True
    assert shared.status()["runtime_status_details"].get("connector_stats", {"num_errors": 0}) == {
        "num_errors": sum(each["num_parse_errors"] for each in inputs)
    }


def test_a_state_remembers_when_it_began(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    began = stats(engine)["global_metrics"]["initial_start_time"]
    engine.eventually(lambda: int(time.time()) > began)
    engine.stop(signal.SIGKILL)
    figures = stats(engine.start())["global_metrics"]
    assert figures["initial_start_time"] == began < figures["start_time"]
    engine.suspend()
    engine.stop()
    engine.redeploy()
    assert stats(engine.start())["global_metrics"]["initial_start_time"] == began


def test_a_connector_is_told_of(deploy: Deploy) -> None:
    connector = [
        {"name": "five", "transport": {"name": "datagen", "config": {"plan": [{"limit": 5, "fields": {}}]}}}
    ]
    table = f"CREATE TABLE t (x INT NOT NULL) WITH ('connectors' = '{json.dumps(connector)}');"
    engine = deploy(table).start()
    engine.eventually(lambda: stats(engine)["global_metrics"]["pipeline_complete"])
    (told,) = stats(engine, include_connector_errors="true")["inputs"]
    assert told["endpoint_name"] == "t.five"
    assert (told["metrics"]["total_records"], told["metrics"]["total_bytes"]) == (5, 40)
    assert told["metrics"]["end_of_input"] is True
    assert told["health"] == {"status": "Healthy", "description": None}
    assert (told["parse_errors"], told["transport_errors"]) == ([], [])


@pytest.mark.parametrize(
    ("config", "held", "word"),
    [
        ({}, 1 << 40, "low"),
        ({"max_rss_mb": 100}, 50 << 20, "low"),
        ({"max_rss_mb": 100}, 75 << 20, "moderate"),
        ({"resources": {"memory_mb_max": 100}}, 90 << 20, "high"),
        ({"max_rss_mb": 100, "resources": {"memory_mb_max": 1}}, 99 << 20, "critical"),
    ],
)
def test_memory_presses_by_the_configured_limit(config: dict[str, Any], held: int, word: str) -> None:
    pressure = Pressure(config)
    pressure.look(held)
    assert pressure.word == word


def test_an_epoch_begins_when_memory_begins_to_press() -> None:
    pressure = Pressure({"max_rss_mb": 100})
    epochs = []
    for megabytes in (10, 90, 99, 75, 96):
        pressure.look(megabytes << 20)
        epochs.append(pressure.epoch)
    assert epochs == [0, 1, 1, 1, 2]

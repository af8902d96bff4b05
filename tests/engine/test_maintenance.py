"""Upkeep of a real engine: compaction, rebalancing, and the clock."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"
TIMED = (
    "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP);"
    "CREATE MATERIALIZED VIEW clock AS SELECT NOW() AS now;"
    "CREATE MATERIALIZED VIEW recent AS SELECT id FROM t WHERE ts >= NOW() - INTERVAL 1 MINUTE;"
)


def test_compaction_folds_the_log_into_the_file(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    rows = "".join(json.dumps({"insert": {"id": i, "name": "x" * 50}}) + "\n" for i in range(5_000))
    assert engine.push("t", rows, format="json").status_code == 200
    assert engine.storage is not None
    [log] = (engine.storage / "live").glob("*.wal")
    assert log.stat().st_size > 100_000
    for _ in range(2):
        answer = engine.http.post("/start_compaction")
        assert (answer.status_code, answer.content) == (200, b"")
    assert not log.exists() or log.stat().st_size < 10_000
    assert engine.rows("SELECT count(*) AS n FROM t") == [{"n": 5_000}]


def test_compaction_beside_a_query_that_began_before(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    rows = "".join(json.dumps({"insert": {"id": i, "name": "x" * 500}}) + "\n" for i in range(5_000))
    assert engine.push("t", rows, format="json").status_code == 200
    crossed = "SELECT a.name FROM t AS a CROSS JOIN t AS b"
    with engine.http.stream("GET", "/query", params={"sql": crossed, "format": "json"}) as reading:
        pieces = reading.iter_bytes()  # to let go of it would end the query
        assert next(pieces)  # and the rest of gigabytes waits to be read
        assert engine.http.post("/start_compaction").status_code == 200
        assert engine.push("t", '{"delete": {"id": 1}}', format="json").status_code == 200
        answer = engine.http.post("/start_compaction")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "SnapshotInProgress")
    engine.eventually(lambda: engine.http.post("/start_compaction").status_code == 200)


def test_there_is_nothing_to_rebalance(deploy: Deploy) -> None:
    answer = deploy(PROGRAM).start().http.post("/rebalance")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_suspended_pipeline_does_neither(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.suspend()
    for path in ("/start_compaction", "/rebalance", "/clock/advance"):
        answer = engine.http.post(path)
        assert (answer.status_code, answer.json()["error_code"]) == (503, "Suspended"), path


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run an engine that was asked for a clock driven over HTTP."""
    engine = Engine(tmp_path_factory.mktemp("engine"), TIMED)
    engine.runtime_config = {"dev_tweaks": {"now_http_driven": True}, "clock_resolution_usecs": 500_000}
    yield engine.start()
    engine.discard()


def test_the_clock_is_not_driven_unless_asked_for(deploy: Deploy) -> None:
    answer = deploy(PROGRAM).start().http.post("/clock/advance", json={"delta_ms": None})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")
    assert "now_http_driven is not set" in answer.json()["details"]["error"]


def test_a_clock_that_nobody_reads_is_not_driven(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"now_http_driven": True}
    answer = engine.start().http.post("/clock/advance", json={"delta_ms": 1})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")
    assert "NOW()" in answer.json()["details"]["error"]


def advance(engine: Engine, delta: int | None) -> int:
    """Advance the clock; return the time."""
    answer = engine.http.post("/clock/advance", json={"delta_ms": delta})
    assert (answer.status_code, answer.json().keys()) == (200, {"now_ms", "now"}), answer.text
    return int(answer.json()["now_ms"])


def test_the_clock_is_driven_in_its_resolution(driven: Engine) -> None:
    now = advance(driven, 0)
    assert now % 500 == 0
    assert advance(driven, None) == now + 500
    assert advance(driven, 501) == now + 1500
    assert advance(driven, 0) == now + 1500


def test_views_see_the_time_that_they_are_given(driven: Engine) -> None:
    now = datetime.fromtimestamp(advance(driven, 0) / 1000, UTC).replace(tzinfo=None)
    row = {"insert": {"id": 1, "ts": str(now)}}
    assert driven.push("t", json.dumps(row), format="json").status_code == 200
    assert datetime.fromisoformat(driven.rows("SELECT now FROM clock")[0]["now"]) == now
    assert driven.rows("SELECT id FROM recent") == [{"id": 1}]
    advance(driven, 60_000)
    assert driven.rows("SELECT id FROM recent") == [{"id": 1}]
    advance(driven, None)
    assert driven.rows("SELECT id FROM recent") == []


def test_the_time_is_never_after_the_last_year(driven: Engine) -> None:
    answer = driven.http.post("/clock/advance", json={"delta_ms": (1 << 64) - 1})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")


def test_the_clock_of_the_host_moves_views_without_input(deploy: Deploy) -> None:
    engine = deploy(TIMED)
    engine.runtime_config["clock_resolution_usecs"] = 10_000
    engine.start()
    seen = engine.rows("SELECT now FROM clock")
    engine.eventually(lambda: engine.rows("SELECT now FROM clock") != seen)
    engine.stop()
    engine.start()
    assert engine.rows("SELECT now FROM clock")[0]["now"] >= seen[0]["now"]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"delta_ms": -1}', '{"delta_ms": true}', '{"delta_ms": "1"}']
)
def test_a_malformed_advance(driven: Engine, body: str) -> None:
    answer = driven.http.post("/clock/advance", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain")

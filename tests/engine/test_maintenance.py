"""Upkeep of a real engine: compaction, rebalancing, and a clock that follows its host."""

import json
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"


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
    engine = Engine(tmp_path_factory.mktemp("engine"), PROGRAM)
    engine.runtime_config = {"dev_tweaks": {"now_http_driven": True}}
    yield engine.start()
    engine.discard()


def test_the_clock_is_not_driven_unless_asked_for(deploy: Deploy) -> None:
    answer = deploy(PROGRAM).start().http.post("/clock/advance", json={"delta_ms": None})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")
    assert "now_http_driven is not set" in answer.json()["details"]["error"]


def test_the_clock_says_that_it_cannot_be_driven(driven: Engine) -> None:
    answer = driven.http.post("/clock/advance", json={"delta_ms": 1})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")
    assert "cannot be driven" in answer.json()["details"]["error"]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"delta_ms": -1}', '{"delta_ms": true}', '{"delta_ms": "1"}']
)
def test_a_malformed_advance(driven: Engine, body: str) -> None:
    answer = driven.http.post("/clock/advance", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain")

"""Transactions of the API: nothing of one is seen before its commit, all of it after, and never half."""

import json
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.engine.arrivals import Arrival
from tests.engine.conftest import Deploy, Engine
from tests.engine.evaluation import batch_of
from tests.engine.test_connecting import complete, connectors, count, file, reached
from tests.engine.test_egress import listening
from tests.engine.upkeep import House

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, x INT) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS n, SUM(x) AS s FROM t;
"""


def metrics(engine: Engine) -> dict[str, Any]:
    """Return the global metrics."""
    found: dict[str, Any] = engine.http.get("/stats").json()["global_metrics"]
    return found


def start(engine: Engine) -> int:
    """Start a transaction; returns its number."""
    answer = engine.http.post("/start_transaction")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["transaction_id"])


def commit(engine: Engine) -> None:
    """Commit the transaction and wait for it."""
    answer = engine.http.post("/commit_transaction")
    assert (answer.status_code, answer.json()) == (200, "Transaction commit initiated")
    engine.eventually(lambda: metrics(engine)["transaction_id"] == 0)


def status(engine: Engine, token: str) -> Any:
    """Return the status of a completion token."""
    return engine.http.get("/completion_status", params={"token": token}).json()


def total(engine: Engine) -> tuple[int, int | None]:
    """Return what the view has."""
    [row] = engine.rows("SELECT n, s FROM total")
    return row["n"], row["s"]


def test_many_pushes_become_one_change(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.push("t", "1,10\n")
    with listening(engine, "total", format="json") as reader:
        assert start(engine) == 1
        token = engine.send("t", "2,20\n3,30\n").json()["token"]
        engine.send("t", '{"delete": {"id": 3}}', format="json")
        engine.send("t", '{"update": {"id": 1, "x": 11}}', format="json")
        engine.rows("INSERT INTO t VALUES (4, 40)")
        wrong = engine.send("t", "5,50\n6,?\n")
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, "ParseErrors")
        assert (total(engine), count(engine)) == ((1, 10), 1)
        assert status(engine, token) == {"status": "inprogress", "step": None}
        commit(engine)
        [chunk] = reader.until(2)
        assert chunk["json_data"] == [{"delete": {"n": 1, "s": 10}}, {"insert": {"n": 4, "s": 121}}]
    rows = [tuple(row.values()) for row in engine.rows("SELECT id, x FROM t ORDER BY id")]
    assert rows == [(1, 11), (2, 20), (4, 40), (5, 50)]
    engine.eventually(lambda: status(engine, token) == {"status": "complete", "step": 2})
    engine.push("t", "7,1\n")
    assert total(engine) == (5, 122)
    assert start(engine) == 2


def test_it_shows_in_the_statistics(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.push("t", "1,10\n")
    number = start(engine)
    engine.send("t", "2,20\n3,30\n")
    shown = metrics(engine)
    assert (shown["transaction_status"], shown["transaction_id"]) == ("TransactionInProgress", number)
    assert (shown["transaction_records"], shown["transaction_msecs"] >= 0) == (2, True)
    assert shown["transaction_initiators"] == {
        "transaction_id": number,
        "initiated_by_api": "Started",
        "initiated_by_connectors": {},
    }
    assert (shown["total_input_records"], shown["total_processed_records"]) == (3, 1)
    assert (shown["buffered_input_records"], shown["pipeline_complete"]) == (0, False)
    commit(engine)
    shown = metrics(engine)
    assert (shown["transaction_status"], shown["transaction_msecs"]) == ("NoTransaction", None)
    assert (shown["total_input_records"], shown["total_processed_records"]) == (3, 3)
    assert (shown["total_completed_steps"], shown["pipeline_complete"]) == (2, True)


def test_refusals(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    for _ in range(2):
        answer = engine.http.post("/commit_transaction")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "NoTransactionInProgress")
        assert start(engine)
        answer = engine.http.post("/start_transaction")
        assert (answer.status_code, answer.json()["error_code"]) == (409, "TransactionInProgress")
        assert answer.json()["details"] == {}
        commit(engine)
    assert metrics(engine)["total_completed_steps"] == 0


def test_a_listener_in_the_middle(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.push("t", "1,10\n")
    start(engine)
    engine.send("t", "2,20\n")
    with listening(engine, "t", format="json", send_snapshot="true") as reader:
        engine.send("t", "3,30\n")
        commit(engine)
        chunks = reader.until(2)
    rows = [
        (chunk["snapshot"], row["insert"]["id"]) for chunk in chunks for row in chunk.get("json_data", ())
    ]
    assert rows == [(True, 1), (False, 2), (False, 3)]


def test_paused_it_can_be_committed(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    start(engine)
    engine.send("t", "2,20\n")
    engine.http.get("/pause")
    engine.send("t", "3,30\n", force="true")
    commit(engine)
    assert total(engine) == (2, 50)


def test_time_stands_still(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (a INT); CREATE MATERIALIZED VIEW v AS SELECT a, NOW() AS n FROM t;")
    engine.runtime_config |= {"dev_tweaks": {"now_http_driven": True}}
    engine.start()
    engine.push("t", "1\n")
    start(engine)
    before = engine.rows("SELECT n FROM v")
    assert engine.http.post("/clock/advance", json={"delta_ms": 5000}).status_code == 200
    assert engine.rows("SELECT n FROM v") == before
    commit(engine)
    assert engine.rows("SELECT n FROM v") != before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_before_the_commit_takes_all_of_it_away(deploy: Deploy, tmp_path: Path, how: Any) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("1\n2\n")
    given = connectors(file(Path("f.csv"), config={"follow": True}))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(partial(reached, engine, 2))
    number = start(engine)
    token = engine.send("t", "100\n").json()["token"]
    with source.open("a") as more:
        more.write("3\n")
    engine.eventually(lambda: metrics(engine)["transaction_records"] == 2)
    engine.stop(how)
    engine.start("paused")
    assert (count(engine), metrics(engine)["transaction_id"]) == (2, 0)
    assert engine.http.get("/completion_status", params={"token": token}).status_code == 410
    engine.http.get("/start")
    engine.eventually(partial(reached, engine, 3))
    assert engine.rows("SELECT a FROM t ORDER BY a") == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert start(engine) == number + 1


def test_a_commit_survives_with_its_offsets(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("1\n2\n")
    engine = deploy(f"CREATE TABLE t (a INT) {connectors(file(Path('f.csv'), paused=True))};").start()
    start(engine)
    engine.http.get("/input_endpoints/t.file/start")
    engine.eventually(lambda: metrics(engine)["transaction_records"] == 2)
    commit(engine)
    engine.stop(signal.SIGKILL)
    engine.start()
    engine.http.get("/input_endpoints/t.file/start")
    engine.eventually(lambda: complete(engine))
    assert count(engine) == 2


def test_connectors_join(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("".join(f"{n}\n" for n in range(2000)))
    given = connectors(file(Path("f.csv"), paused=True, config={"buffer_size_bytes": 100}))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    start(engine)
    engine.http.get("/input_endpoints/t.file/start")
    engine.eventually(lambda: metrics(engine)["transaction_records"] == 2000)
    assert (count(engine), complete(engine)) == (0, False)
    commit(engine)
    engine.eventually(lambda: complete(engine))
    assert (count(engine), metrics(engine)["total_completed_steps"]) == (2000, 1)


def test_suspension_waits_for_the_commit(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    start(engine)
    engine.send("t", "2,20\n")
    assert engine.http.post("/suspend").status_code == 202
    assert engine.http.get("/stats").json()["suspend_error"] == {"Temporary": ["TransactionInProgress"]}
    assert engine.status()["runtime_status"] == "Paused"
    assert total(engine) == (0, None)
    assert engine.http.post("/commit_transaction").status_code == 200
    engine.eventually(lambda: engine.status().get("runtime_status") == "Suspended")
    assert engine.http.post("/start_transaction").json()["error_code"] == "Suspended"
    engine.stop()
    engine.redeploy()
    engine.start()
    assert total(engine) == (1, 20)


def test_an_error_in_a_view_comes_with_the_commit(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a + 1 AS b FROM t;").start()
    start(engine)
    assert engine.send("t", f"{2**31 - 1}\n").status_code == 200
    engine.http.post("/commit_transaction")
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    assert engine.status()["error_code"] == "RuntimeError.WorkerPanic"


HOUSES = """
CREATE TABLE keyed (id INT PRIMARY KEY, x INT, y VARCHAR);
CREATE TABLE bag (x INT);
CREATE MATERIALIZED VIEW sums AS SELECT y, SUM(x) AS s, COUNT(*) AS n FROM keyed GROUP BY y;
CREATE MATERIALIZED VIEW pairs AS SELECT keyed.id, bag.x FROM keyed JOIN bag ON keyed.x = bag.x;
"""
ROW = st.fixed_dictionaries({"id": st.integers(0, 3), "x": st.integers(0, 2), "y": st.sampled_from("ab")})
CHANGE = st.one_of(
    st.tuples(st.just("insert"), ROW),
    st.tuples(st.just("delete"), st.fixed_dictionaries({"id": st.integers(0, 3)})),
    st.tuples(
        st.just("update"), st.fixed_dictionaries({"id": st.integers(0, 3)}, optional={"x": st.just(2)})
    ),
)
KEYED = st.tuples(st.just("keyed"), st.lists(CHANGE, max_size=3))
BAG = st.tuples(st.just("bag"), st.lists(st.integers(0, 2).map(lambda x: ("insert", {"x": x})), max_size=3))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(KEYED | BAG, max_size=5), max_size=3))
def test_a_transaction_does_what_its_steps_would_do(transactions: list[Any]) -> None:
    one_by_one, at_once = House(HOUSES), House(HOUSES)
    for house in (one_by_one, at_once):
        for relation in ("keyed", "sums", "pairs"):
            house.watch(relation)
    for arrivals in transactions:
        heard: dict[str, Counter[Any]] = {}
        for name, changes in arrivals:
            one_by_one.step({name: changes})
            table = at_once.tables[name]
            at_once.writer.hold([Arrival(table, batch_of(at_once.database, table, changes))])
        outcome = at_once.writer.commit()
        assert outcome.stepped == any(changes for _, changes in arrivals)
        for relation, rows in outcome.changes.items():
            heard[relation] = Counter(json.dumps(row, sort_keys=True) for row in rows.to_pylist())
            assert all(times == 1 for times in heard[relation].values())
        for relation in ("keyed", "bag", "sums", "pairs"):
            assert at_once.rows(relation) == one_by_one.rows(relation)
    for house in (one_by_one, at_once):
        house.database.close()


@pytest.mark.parametrize("again", [False, True])
def test_what_cannot_be_held_leaves_nothing(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    house = House(HOUSES)
    table = house.tables["keyed"]
    good = Arrival(table, batch_of(house.database, table, [("insert", {"id": 1, "x": 1, "y": "a"})]))
    other = house.tables["bag"]
    more = Arrival(other, batch_of(house.database, other, [("insert", {"x": 1})]))
    holding = house.writer._holding
    copy, calls = holding._copy, 0

    def fail(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        copy(*arguments)

    monkeypatch.setattr(holding, "_copy", fail)
    with pytest.raises(MemoryError):
        house.writer.hold([good, more])
    if again:
        house.writer.hold([good])
    house.writer.commit()
    assert sum(house.rows("keyed").values()) == again
    house.database.close()

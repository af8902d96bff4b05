"""Steps: what goes into one transaction, who is told of it, and what happens where one fails."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from sluicegate.engine.arrivals import Arrival, Taken
from sluicegate.engine.batch import Rows
from sluicegate.engine.clock import Clock
from sluicegate.engine.database import Database
from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats.config import Json
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.plan import Plan
from sluicegate.engine.steps import CROWD, Steps
from tests.engine.conftest import PATIENCE, Deploy
from tests.engine.evaluation import batch_of
from tests.engine.upkeep import House, compiled

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, x INT);
CREATE TABLE bag (x INT NOT NULL);
CREATE MATERIALIZED VIEW total AS SELECT SUM(x) AS s, COUNT(*) AS c FROM t;
CREATE VIEW unwatched AS SELECT t.x FROM t JOIN bag ON t.x = bag.x;
CREATE VIEW risky AS SELECT id, x + 1 AS y FROM t;
"""


class Plant:
    """Steps over a database in memory or a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.plan: Plan = compiled(PROGRAM)
        self.metrics = Metrics(UUID(int=0))
        self.failure: Exception | None = None
        self.steps = Steps(self.metrics, self._check, self._fail)
        self.database = Database.open(path, None, {})
        self.database.prepare(self.plan, Clock({}))
        self.steps.open(self.database.writer)
        self.endpoint = self.metrics.endpoint("t", Json())

    def put(self, *rows: dict[str, Any], offset: Any = None, table: int = 0) -> "asyncio.Future[Taken]":
        """Put the insertion of some rows."""
        target = self.plan.tables[table]
        batch = batch_of(self.database, target, [("insert", row) for row in rows])
        arrival = Arrival(target, batch, self.endpoint, offset, size=len(rows))
        return self.steps.put(arrival)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        return self.database.cursor().execute(sql).fetchall()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _fail(self, error: Exception) -> Exception:
        self.failure = error
        return error


class Sink:
    """Remembers what it is told; holds its deliveries back if asked to."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.told: list[tuple[int, list[dict[str, Any]]]] = []
        self._gate = gate

    collects = False

    def deliver(self, step: int, rows: Any) -> Awaitable[None] | None:
        """Take a step."""
        self.told.append((step, rows.to_pylist()))
        return None if self._gate is None else self._wait(self._gate)

    def end(self) -> None:
        """Have nothing to let go of."""

    async def _wait(self, gate: asyncio.Event) -> None:
        await gate.wait()


@pytest.fixture
async def house() -> AsyncIterator[Plant]:
    """Return steps over a database in memory."""
    made = Plant()
    yield made
    async with made.steps.still():
        made.database.close()


async def test_what_comes_together_is_one_step(house: Plant) -> None:
    taken = await asyncio.gather(*(house.put({"id": i, "x": 1}) for i in range(20)))
    assert {each.step for each in taken} == {1}
    assert sum(each.records for each in taken) == 20
    assert (house.metrics.steps, house.metrics.completed_steps, house.metrics.records) == (1, 1, 20)
    assert house.query("FROM total") == [(20, 20)]


async def test_a_later_arrival_of_a_step_wins(house: Plant) -> None:
    await asyncio.gather(house.put({"id": 1, "x": 1}), house.put({"id": 1, "x": 2}))
    assert house.query("FROM t") == [(1, 2)]
    assert house.query("FROM total") == [(2, 1)]


async def test_a_rejected_row_concerns_nobody_else(house: Plant) -> None:
    good, bad = await asyncio.gather(house.put({"id": 1, "x": 1}), house.put({"id": 2, "x": "?"}, {"id": 3}))
    assert (good.records, good.errors.count) == (1, 0)
    assert (bad.records, [error["event_number"] for error in bad.errors.kept]) == (1, [1])
    assert house.query("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


async def test_nothing_to_write_is_no_step(house: Plant) -> None:
    taken = await house.put({"id": 2, "x": "?"})
    assert (taken.step, taken.records, taken.errors.count) == (0, 0, 1)
    assert house.metrics.steps == 0


async def test_offsets_are_kept_with_their_rows(tmp_path: Path) -> None:
    house = Plant(tmp_path / "db")
    await house.put({"id": 1, "x": 1}, offset={"at": 17})
    await house.put(offset={"at": 18})
    assert house.steps.offsets == {house.endpoint.name: {"at": 18}}
    house.database.close()
    again = Plant(tmp_path / "db")
    assert again.steps.offsets == {house.endpoint.name: {"at": 18}}
    assert again.metrics.steps == again.metrics.completed_steps == 2
    assert again.query("FROM total") == [(1, 1)]
    await again.put({"id": 2, "x": 5})
    assert again.query("FROM total") == [(6, 2)]
    again.database.close()


async def test_room_is_waited_for(house: Plant) -> None:
    house.endpoint.max_queued_records = 2
    async with house.steps.still():
        first = house.put({"id": 1}, {"id": 2})
        waiting = asyncio.create_task(house.steps.room(house.endpoint))
        await asyncio.sleep(0)
        assert (house.endpoint.buffered_records, waiting.done()) == (2, False)
    await first
    await waiting
    assert house.endpoint.buffered_records == house.metrics.buffered_bytes == 0


async def test_an_error_in_a_view_ends_the_step_and_the_pipeline(house: Plant) -> None:
    await house.put({"id": 1, "x": 5})
    good, bad = house.put({"id": 2, "x": 5}), house.put({"id": 3, "x": 2**31 - 1})
    for future in (good, bad):
        with pytest.raises(EngineError, match="view 'risky'") as raised:
            await future
        assert raised.value.code == "RuntimeError.WorkerPanic"
    assert house.failure is not None
    assert house.query("SELECT id FROM t") == [(1,)]
    assert house.query("FROM total") == [(5, 1)]
    with pytest.raises(EngineError, match="view 'risky'"):
        await house.put({"id": 4, "x": 1})


async def test_sinks_hear_of_every_step_in_order(house: Plant) -> None:
    await house.put({"id": 1, "x": 1})
    total, table, unwatched = Sink(), Sink(), Sink()
    start = await house.steps.listen("total", total, snapshot=True)
    assert start.snapshot is not None
    assert (start.step, start.snapshot.read_all().to_pylist()) == (1, [{"s": 1, "c": 1}])
    await house.steps.listen("t", table)
    await house.steps.listen("unwatched", unwatched)
    await house.put({"id": 1, "x": 4})
    await house.put({"x": 4}, table=1)
    await house.steps.unlisten("unwatched", unwatched)
    await house.put({"x": 4}, table=1)
    went, came = {"s": 1, "c": 1, "~w": -1}, {"s": 4, "c": 1, "~w": 1}
    assert [(step, sorted(rows, key=lambda row: row["~w"])) for step, rows in total.told] == [
        (2, [went, came]),
        (3, []),
        (4, []),
    ]
    step, rows = table.told[0]
    assert (step, {row["x"]: row["~w"] for row in rows}) == (2, {1: -1, 4: 1})
    assert unwatched.told == [(2, []), (3, [{"x": 4, "~w": 1}])]


async def test_nothing_is_settled_while_its_step_runs(house: Plant) -> None:
    # Work between steps takes what is put before it begins into a step of its own.
    work = asyncio.create_task(house.steps.alone(lambda _: None))
    await asyncio.sleep(0)
    taken = house.put({"id": 1, "x": 1})
    while not taken.done():
        assert not house.steps.settled
        await asyncio.sleep(0)
    await work
    assert (house.steps.settled, house.metrics.completed_steps) == (True, 1)


async def test_a_step_is_complete_when_it_is_delivered(house: Plant) -> None:
    gate = asyncio.Event()
    sink = Sink(gate)
    await house.steps.listen("t", sink)
    await house.put({"id": 1, "x": 1})
    await house.put({"id": 2, "x": 1})
    assert (house.metrics.steps, house.metrics.completed_steps) == (2, 0)
    assert not house.steps.settled
    gate.set()
    async with asyncio.timeout(30):
        while house.metrics.completed_steps < 2:
            await asyncio.sleep(0)
    assert house.metrics.completed_records == 2
    assert house.steps.settled


async def test_the_clock_ticks_for_views_that_read_it() -> None:
    house = House("CREATE TABLE t (x INT); CREATE MATERIALIZED VIEW v AS SELECT x, NOW() AS n FROM t;")
    house.step({"t": [("insert", {"x": 1})]})
    before = house.rows("v")
    house.step({}, ticks=True)
    assert house.rows("v") != before
    assert house.writer.progress() == (2, 1)
    house.database.close()


def test_a_panic_is_told_and_nothing_of_its_step_is_kept(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (x INT); CREATE MATERIALIZED VIEW v AS SELECT x + 1 AS y FROM t;").start()
    assert engine.push("t", json.dumps({"insert": {"x": 1}}), format="json").status_code == 200
    failed = engine.push("t", json.dumps({"insert": {"x": 2**31 - 1}}), format="json")
    assert (failed.status_code, failed.json()["error_code"]) == (500, "RuntimeError.WorkerPanic")
    assert "view 'v'" in failed.json()["message"]
    assert "Overflow" in failed.json()["message"]
    status = engine.http.get("/status")
    assert (status.status_code, status.json()["error_code"]) == (500, "RuntimeError.WorkerPanic")
    engine.stop(signal.SIGKILL)
    engine.start()
    assert engine.rows("SELECT y FROM v") == [{"y": 2}]


async def test_the_horizon_is_the_step_of_what_is_put(house: Plant) -> None:
    first = house.put({"id": 1, "x": 1})
    assert house.steps.horizon == 1
    assert (await first).step == 1
    async with house.steps.still():
        second, third = house.put({"id": 2, "x": 1}), house.put({"id": 3, "x": 1})
        assert house.steps.horizon == 2
    assert {(await second).step, (await third).step} == {2}


async def test_few_are_taken_promptly_and_a_crowd_is_not(house: Plant) -> None:
    async with house.steps.still():
        waiting = [house.put({"id": i, "x": 1}) for i in range(CROWD - 1)]
        assert house.steps.takes_promptly
        waiting.append(house.put({"id": CROWD, "x": 1}))
        assert not house.steps.takes_promptly
    assert {taken.step for taken in await asyncio.gather(*waiting)} == {1}
    assert house.query("SELECT c FROM total") == [(CROWD,)]


async def test_what_waits_is_taken_before_a_listener_begins_and_before_the_end(house: Plant) -> None:
    async with house.steps.still():
        first = house.put({"id": 1, "x": 1})
        listening = asyncio.create_task(house.steps.listen("t", Sink()))
        await asyncio.sleep(0)
    assert (await listening).step == 1
    assert (await first).step == 1
    second = house.put({"id": 2, "x": 1})
    await house.steps.drain(EngineError(503, "Suspended", "it is over"))
    assert (await second).step == 2
    with pytest.raises(EngineError, match="it is over"):
        house.steps.check()


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_what_was_acknowledged_is_not_lost_unnoticed(house: Plant, acknowledged: bool) -> None:
    bag = house.plan.tables[1]
    rows = Rows(pa.table({"x": pa.array([None], pa.int32())}))
    put = house.steps.put(Arrival(bag, rows, acknowledged=acknowledged))
    with pytest.raises(EngineError, match="NOT NULL"):
        await put
    assert (house.failure is not None) is acknowledged


async def test_what_was_acknowledged_can_be_waited_for(house: Plant) -> None:
    table = house.plan.tables[0]
    batch = batch_of(house.database, table, [("insert", {"id": 1, "x": 1})])
    await house.steps.catch_up(PATIENCE)
    async with house.steps.still():
        house.steps.put(Arrival(table, batch, acknowledged=True))
        await house.steps.catch_up(within=0)
        assert house.query("FROM t") == []
    await house.steps.catch_up(PATIENCE)
    assert house.query("FROM t") == [(1, 1)]

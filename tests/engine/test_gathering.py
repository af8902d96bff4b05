"""Gathering: what waits for a step is joined, and means the same as if it were not."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from sluicegate.engine.arrivals import Arrival, Taken
from sluicegate.engine.batch import Batch, Run
from sluicegate.engine.clock import Clock
from sluicegate.engine.database import Database
from sluicegate.engine.gathering import gather
from sluicegate.engine.plan import Table
from tests.engine.evaluation import batch_of
from tests.engine.upkeep import compiled

PROGRAM = """
CREATE TABLE keyed (id INT NOT NULL PRIMARY KEY, x INT, u UUID);
CREATE TABLE bag (x INT, u UUID);
CREATE MATERIALIZED VIEW sums AS SELECT x, COUNT(*) AS c FROM keyed GROUP BY x;
CREATE MATERIALIZED VIEW counts AS SELECT x, COUNT(*) AS c FROM bag GROUP BY x;
"""
MARKS = ("0190a0c2-0000-7000-8000-000000000000", None)
RELATIONS = ("keyed", "bag", "sums", "counts")
Changes = list[tuple[str, dict[str, Any]]]


def opened() -> Database:
    """Return an empty database of the program."""
    database = Database.open(None, None, {})
    database.prepare(compiled(PROGRAM), Clock({}))
    return database


@pytest.fixture
def together() -> Iterator[Database]:
    database = opened()
    yield database
    database.close()


@pytest.fixture
def apart() -> Iterator[Database]:
    database = opened()
    yield database
    database.close()


def changes(chance: Random, table: Table) -> Changes:
    """Make a few changes of a table: insertions, deletions and, by key, updates of some columns."""
    made: Changes = []
    for _ in range(chance.randint(1, 4)):
        row = {"x": chance.randrange(3), "u": chance.choice(MARKS)}
        if not table.primary_key:
            made.append((chance.choice(("insert", "insert", "delete")), row))
            continue
        key = {"id": chance.randrange(6)}
        made += chance.choice(
            (
                [("insert", key | row)],
                [("insert", key | row)],
                [("delete", key)],
                [("update", {**key, "x": chance.randrange(3)})],
                [("update", key | row)],
            )
        )
    return made


def rows_of(database: Database, relation: str) -> list[Any]:
    """Return the rows of a relation in some order."""
    return sorted(database.cursor().execute(f"FROM {relation}").fetchall(), key=str)


@pytest.mark.parametrize("seed", range(6))
def test_a_crowd_means_what_its_members_mean(together: Database, apart: Database, seed: int) -> None:
    chance = Random(seed)
    tables = compiled(PROGRAM).tables
    for _ in range(3):
        sent = [(table, changes(chance, table)) for table in chance.choices(tables, k=12)]
        arrivals = [Arrival(table, batch_of(together, table, made)) for table, made in sent]
        outcome = together.writer.take(arrivals)
        assert [taken.records for taken in outcome.taken] == [len(made) for _, made in sent]  # type: ignore[union-attr]
        for table, made in sent:
            apart.writer.take([Arrival(table, batch_of(apart, table, made))])
        for relation in RELATIONS:
            assert rows_of(together, relation) == rows_of(apart, relation), relation


@pytest.mark.parametrize("seed", range(6))
def test_crowds_of_a_transaction_keep_their_order(together: Database, apart: Database, seed: int) -> None:
    chance = Random(seed)
    keyed = compiled(PROGRAM).tables[0]
    sent = [[changes(chance, keyed) for _ in range(4)] for _ in range(3)]
    for crowd in sent:
        together.writer.hold([Arrival(keyed, batch_of(together, keyed, made)) for made in crowd])
        for made in crowd:
            apart.writer.take([Arrival(keyed, batch_of(apart, keyed, made))])
    together.writer.commit()
    assert rows_of(together, "keyed") == rows_of(apart, "keyed")


def test_a_crowd_is_staged_as_one(together: Database) -> None:
    keyed, bag = compiled(PROGRAM).tables
    arrivals = [
        Arrival(table, batch_of(together, table, [("insert", {"id": n, "x": n})]))
        for n in range(10)
        for table in (keyed, bag)
    ]
    gathered = gather(arrivals)
    assert [len(each.places) for each in gathered] == [10, 10]
    assert [len(each.batch.runs) for each in gathered] == [1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("hold", [False, True])
def test_what_cannot_be_staged_concerns_no_other(together: Database, hold: bool) -> None:
    _, bag = compiled(PROGRAM).tables
    good = [batch_of(together, bag, [("insert", {"x": x})]) for x in (1, 2)]
    unreadable = pa.array([4_000_000], pa.int32()).view(pa.date32())  # as a date of Python
    bad = Batch([Run(pa.table({"n": [0], "c0": unreadable}))], 1)
    arrivals = [Arrival(bag, batch) for batch in (good[0], bad, good[1])]
    write = together.writer.hold if hold else together.writer.take
    first, wrong, last = write(arrivals).taken
    assert isinstance(wrong, Exception)
    assert [first, last] == [Taken(1, 1, batch.errors) for batch in good]
    if hold:
        together.writer.commit()
    assert [x for x, _ in rows_of(together, "bag")] == [1, 2]

"""What a step leaves behind on the connection that it is written over: a bounded number of small tables."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import pytest

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.clock import Clock
from sluicegate.engine.database import Database
from sluicegate.engine.plan import Plan
from tests.engine.evaluation import batch_of
from tests.engine.upkeep import compiled

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, u UUID, at TIMESTAMP LATENESS INTERVAL '1' HOUR);
CREATE TABLE plain (id INT PRIMARY KEY, name VARCHAR, price DOUBLE, flag BOOLEAN);
CREATE TABLE bare (id INT, name VARCHAR, price DOUBLE, flag BOOLEAN, exact DECIMAL(12, 3), at TIMESTAMP);
CREATE MATERIALIZED VIEW v AS SELECT name, COUNT(*) AS c FROM plain GROUP BY name;
"""
NAMES = ["it's", 'quo"ted', "nul\0", "%s {x} $1 ?", "x" * 2000, "\\", "", None]


@pytest.fixture
def plan() -> Plan:
    return compiled(PROGRAM)


@pytest.fixture
def database(plan: Plan) -> Iterator[Database]:
    database = Database.open(None, None, {})
    database.prepare(plan, Clock({}))
    yield database
    database.close()


def relations(database: Database) -> set[str]:
    """Return the names of all temporary relations; looked at where they are."""
    run = database.writer._connection.execute
    names = run(
        "SELECT table_name FROM duckdb_tables() WHERE temporary UNION ALL SELECT view_name FROM "
        "duckdb_views() WHERE temporary AND NOT internal"
    ).fetchall()
    return {name for (name,) in names}


def test_steps_do_not_pile_up(database: Database, plan: Plan) -> None:
    late, plain, _ = plan.tables
    seen = []
    for number in range(3):
        rows = [("insert", {"id": n, "u": None, "at": "2024-01-01 00:00:00"}) for n in range(3)]
        database.writer.take([Arrival(late, batch_of(database, late, rows))])
        many = [("insert", {"id": n, "name": "n"}) for n in range(2000 * (number % 2) + 1)]
        database.writer.take([Arrival(plain, batch_of(database, plain, many))])
        seen.append(relations(database))
    assert seen[0] == seen[2]
    assert seen[1] < seen[0], "large tables are not kept"
    assert not any(name.startswith(("~in", "~out")) for name in seen[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_row_comes_in_the_same_whatever_its_batch(
    database: Database, plan: Plan, name: str | None, count: int
) -> None:
    _, plain, _ = plan.tables
    rows = [
        ("insert", {"id": n - 1, "name": name, "price": price, "flag": n % 2 == 0})
        for n, price in zip(
            range(count), (0.1, None, -1e-300, 1e300, 0.0, -0.0, 1 / 3, 2.5, 7.0), strict=False
        )
    ]
    database.writer.take([Arrival(plain, batch_of(database, plain, rows))])
    found = database.cursor().execute("SELECT * FROM plain ORDER BY id").fetchall()
    assert found == [tuple(row.values()) for _, row in rows]
    database.writer.take([Arrival(plain, batch_of(database, plain, [("delete", {"id": -1})]))])
    assert database.cursor().execute("SELECT min(id) FROM plain").fetchall() == [(0 if count > 1 else None,)]
    assert database.cursor().execute("SELECT c FROM v").fetchall() == ([(count - 1,)] if count > 1 else [])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 9])
def test_so_it_does_where_nothing_reads_the_table(
    database: Database, plan: Plan, name: str | None, count: int
) -> None:
    _, _, bare = plan.tables
    rows = [
        {
            "id": n,
            "name": name,
            "price": price,
            "flag": n % 2 == 0,
            "exact": exact,
            "at": "2024-02-29 01:02:03.000004",
        }
        for n, price, exact in zip(
            range(count),
            (0.1, None, -1e-300, 1e300, 0.0, 2.5, 1 / 3, 7.0, -0.0),
            ("0.001", "-999999999.999", None, "7", "0", "0.1", "12.5", "3", "-0.001"),
            strict=False,
        )
    ]
    database.writer.take([Arrival(bare, batch_of(database, bare, [("insert", row) for row in rows]))])
    found = database.cursor().execute("SELECT * FROM bare ORDER BY id").fetchall()
    wanted = [
        {**row, "exact": row["exact"] and Decimal(row["exact"]), "at": datetime(2024, 2, 29, 1, 2, 3, 4)}
        for row in rows
    ]
    assert found == [tuple(row.values()) for row in wanted]

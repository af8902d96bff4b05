"""The tables in which maintained views are kept: what is left of them when a database is opened again."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from sluicegate.engine.clock import Clock
from sluicegate.engine.database import Database
from sluicegate.engine.views import stores
from tests.engine.upkeep import compiled

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"
COUNTED = "CREATE MATERIALIZED VIEW counted AS SELECT name, COUNT(*) AS n FROM t GROUP BY name;"
SUMMED = "CREATE MATERIALIZED VIEW summed AS SELECT name, SUM(id) AS s FROM t GROUP BY name;"


def found(file: Path, program: str, *before: str) -> Sequence[str]:
    """Open a database, after some statements, for a program; name what stores it has then."""
    if before:
        with duckdb.connect(str(file)) as connection:
            for statement in before:
                connection.execute(statement)
    database = Database.open(file, None, {})
    database.prepare(compiled(program), Clock({}))
    names = database.cursor().execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")
    kept = [name for (name,) in names.fetchall() if name.startswith((stores.PREFIX, stores.UNFINISHED))]
    database.close()
    return kept


def test_the_stores_of_the_views_that_are_left_remain(tmp_path: Path) -> None:
    file = tmp_path / "database"
    both = found(file, TABLE + COUNTED + SUMMED)
    assert len(both) == 2
    assert found(file, TABLE + COUNTED + SUMMED) == both
    [left] = found(file, TABLE + COUNTED)
    assert left in both
    assert found(file, TABLE) == []
    assert len(found(file, TABLE + COUNTED + SUMMED)) == 2


@pytest.mark.parametrize("why", [f"DELETE FROM {stores.NOTED}", f"DROP TABLE {stores.NOTED}"])
def test_what_was_not_completed_is_dropped_where_it_is_not_known_what_there_is(
    tmp_path: Path, why: str
) -> None:
    file = tmp_path / "database"
    kept = found(file, TABLE + COUNTED)
    left = f'CREATE TABLE "{stores.UNFINISHED}summed" AS SELECT 1 AS n'
    assert found(file, TABLE + COUNTED, left, why) == kept

"""Migration: the database of one program becomes that of another, in the transaction that makes the rest.

What has not changed stays. Tables that are gone or begin anew are dropped, and with them the positions of
their connectors; views that are gone or have another definition are dropped with their stores. What is
missing then, `Writer.prepare` makes: the views that have changed are computed from the tables there.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sluicegate.diff import relation_of
from sluicegate.engine import states
from sluicegate.engine.bootstrap.comparison import Comparison
from sluicegate.engine.bootstrap.deciding import BOOTSTRAPPING
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Plan, Table
from sluicegate.engine.situation import Situation
from sluicegate.engine.views.stores import PREFIX as STORE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OWED = {"~owed": "content"}
"""Instead of the position of an output: all rows of its view, which it has not written yet."""
SHAPE = "~shape"


class Rebuilding:
    """Makes anew what has changed, while nothing else goes on."""

    def __init__(self, comparison: Comparison, situation: Situation) -> None:
        self._comparison = comparison
        self._situation = situation

    def apply(self, connection: "DuckDBPyConnection") -> None:
        """See `opening.Migration`."""
        self._situation.show(BOOTSTRAPPING)
        comparison, run = self._comparison, connection.execute
        for view in _names(connection, "duckdb_views()", "view_name", "NOT internal"):
            run(f"DROP VIEW {quote(view)}")
        kept = _fitting(connection, comparison.new) if comparison.old is None else comparison.kept_tables
        tables = {table.physical for table in comparison.new.tables if table.name in kept}
        kept_stores = set() if comparison.old is None else unchanged_stores(comparison)
        for table in _names(connection, "duckdb_tables()", "table_name", "NOT temporary"):
            ours = table.startswith("~") and not table.startswith(STORE)
            if not ours and table not in tables | kept_stores:
                run(f"DROP TABLE {quote(table)}")
        settle_positions(connection, comparison, kept, silent=self._situation.consent.silent)


def unchanged_stores(comparison: Comparison) -> set[str]:
    """Return the stores of the views that have not changed."""
    changed = comparison.changed("views", "added", "modified")
    views = (view for view in comparison.new.views if view.name not in changed)
    return {view.maintenance.store for view in views if view.maintenance is not None}


def settle_positions(
    connection: "DuckDBPyConnection", comparison: Comparison, kept: Collection[str], *, silent: bool
) -> None:
    """Keep the positions of connectors that go on; outputs of views that have changed owe their content."""
    plan = comparison.new
    begins = comparison.connectors("input", "added", "modified")
    inputs = {name for name in plan.input_connectors if name not in begins and relation_of(name) in kept}
    begins = comparison.connectors("output", "added", "modified")
    outputs = {name for name in plan.output_connectors if name not in begins}
    forget_positions(connection, keep=inputs | outputs)
    if not silent:
        owe(connection, owing(comparison))


def owing(comparison: Comparison) -> list[str]:
    """Return the outputs of views that have changed."""
    plan = comparison.new
    changed = comparison.changed("views", "added", "modified")
    if comparison.old is None:
        changed = {view.name for view in plan.views}
    return [name for name in plan.output_connectors if relation_of(name) in changed]


def forget_positions(connection: "DuckDBPyConnection", *, keep: Iterable[str]) -> None:
    """Forget the positions of all other connectors, and what else they would go on with."""
    kept = sorted(keep)
    connection.execute('DELETE FROM "~offsets" WHERE NOT list_contains(?, endpoint)', [kept])
    states.prepare(connection)
    connection.execute('DELETE FROM "~states" WHERE NOT list_contains(?, endpoint)', [kept])


def owe(connection: "DuckDBPyConnection", outputs: Iterable[str]) -> None:
    """Have outputs write all rows of their views when they begin."""
    for name in outputs:
        connection.execute('DELETE FROM "~offsets" WHERE endpoint = ?', [name])
        connection.execute('INSERT INTO "~offsets" VALUES (?, ?)', [name, json.dumps(OWED)])


def _names(connection: "DuckDBPyConnection", catalog: str, name: str, which: str) -> list[str]:
    found = connection.execute(f"SELECT {name} FROM {catalog} WHERE {which}").fetchall()
    return [row[0] for row in found]


def _fitting(connection: "DuckDBPyConnection", plan: Plan) -> set[str]:
    """Return the tables whose columns are there, with rows that fit the key: the old program is not known."""
    return {table.name for table in plan.tables if _fits(connection, table)}


def _fits(connection: "DuckDBPyConnection", table: Table) -> bool:
    head = f"CREATE TABLE IF NOT EXISTS {quote(table.physical)} "
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(SHAPE)} {table.ddl.removeprefix(head)}")
    wanted = _columns(connection, SHAPE, "temporary")
    connection.execute(f"DROP TABLE temp.{quote(SHAPE)}")
    if _columns(connection, table.physical, "NOT temporary") != wanted:
        return False
    keys = ", ".join(map(quote, table.primary_key))
    twice = f"SELECT 1 FROM {quote(table.physical)} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
    return not keys or not connection.execute(twice).fetchall()


def _columns(connection: "DuckDBPyConnection", table: str, where: str) -> Sequence[tuple[Any, ...]]:
    databases = f"SELECT database_name FROM duckdb_tables() WHERE table_name = $1 AND {where}"
    found: Sequence[tuple[Any, ...]] = connection.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = $1 "
        f"AND database_name IN ({databases}) ORDER BY column_index",
        [table],
    ).fetchall()
    return found

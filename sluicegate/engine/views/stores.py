"""Stores: the tables in which the rows of maintained views are kept."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import duckdb

from sluicegate.engine.applying import WEIGHT, scratch
from sluicegate.engine.identifiers import quote

PREFIX = "~s "
"""What the name of each store begins with."""

UNFINISHED = "~n "
"""What the name of each store begins with that is not complete yet."""
NOTED = '"~stores"'
"""One row: the names of all stores, unless something may have been left beside them."""


def apply(connection: duckdb.DuckDBPyConnection, store: str, columns: Sequence[str], change: str) -> None:
    """Apply the net change in a temporary table to a store."""
    places = [f"c{i}" for i, _ in enumerate(columns)]
    same = " AND ".join(
        f"t.{quote(name)} IS NOT DISTINCT FROM s.{place}" for name, place in zip(columns, places, strict=True)
    )
    listed = ", ".join(places)
    numbered = f"SELECT row_number() OVER () AS id, * FROM {scratch(change)} WHERE {WEIGHT} < 0"
    connection.execute(
        f"DELETE FROM {quote(store)} WHERE rowid IN (SELECT rid FROM (SELECT t.rowid AS rid, -s.w AS w, "
        f"row_number() OVER (PARTITION BY s.id) AS nth FROM {quote(store)} t "
        f"JOIN ({numbered}) AS s(id, {listed}, w) ON {same}) WHERE nth <= w)"
    )
    connection.execute(
        f"INSERT INTO {quote(store)} SELECT {listed} FROM (SELECT {listed}, unnest(range(w)) "
        f"FROM {scratch(change)} AS s({listed}, w) WHERE w > 0)"
    )


def drop_others(connection: duckdb.DuckDBPyConnection, kept: AbstractSet[str]) -> None:
    """Drop the stores of other releases, of views no longer maintained, and what was not completed.

    What is left is noted: to list the tables of a database that was just opened takes DuckDB longer than all
    else that a start asks of it.
    """
    connection.execute(f"CREATE TABLE IF NOT EXISTS {NOTED} (stores VARCHAR[])")
    noted = connection.execute(f"SELECT stores FROM {NOTED}").fetchall()
    if noted == [(sorted(kept),)]:
        return
    for (name,) in connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary"
    ).fetchall():
        if name.startswith((PREFIX, UNFINISHED)) and name not in kept:
            connection.execute(f"DROP TABLE {quote(name)}")
    forget(connection)
    connection.execute(f"INSERT INTO {NOTED} VALUES (?)", [sorted(kept)])


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget which stores there are, within the transaction that makes others."""
    connection.execute(f"DELETE FROM {NOTED}")

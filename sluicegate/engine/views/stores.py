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
    """Drop the stores of other releases, of views no longer maintained, and what was not completed."""
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
    for (name,) in found:
        if name.startswith((PREFIX, UNFINISHED)) and name not in kept:
            connection.execute(f"DROP TABLE {quote(name)}")

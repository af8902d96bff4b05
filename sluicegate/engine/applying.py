"""Applying: staged rows become changes of a table, and the change that the table has undergone is kept.

Keys are upheld here: a row replaces the one with its key. A table without a key holds equal rows as often as
they were inserted and not deleted. What a table has undergone in a step is kept only where a view or a
listener needs it, in the temporary table `~d <table>`: the rows with their weight `~w`, which is how often a
row came, or negative, went.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

WEIGHT = '"~w"'
Places = list[tuple[int, Column]]
"""Columns of a table with their places; place i is column `c{i}` of a staging table."""


@dataclass(frozen=True)
class Staged:
    """Typed rows in relations, as SQL names them: `n`, the order in the batch, and `c{i}`, as in the table.

    Rows of `inserted` and `deleted` belong together: what comes later in the order wins.
    """

    inserted: str
    deleted: str | None = None
    given: tuple[int, ...] | None = None
    """Of partial updates: the places of the columns that they give, the key's among them."""
    values: str | None = None
    """What is inserted, as values of all columns, where it is little."""


LEFT = 1000
"""Rows that a temporary table may hold until the next step: less memory than to drop it costs time."""


class Scratch:
    """Temporary relations of one connection that live until they are cleared."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make them over a connection."""
        self._connection = connection
        self._made: dict[str, int] = {}
        self._brought: list[str] = []
        self._defined: list[str] = []
        self._shown: list[str] = []

    def show(self, name: str, rows: "pa.Table") -> None:
        """Show rows of Arrow as a view."""
        self._connection.register(name, rows)
        self._shown.append(name)

    def define(self, name: str, query: str) -> None:
        """Define a view."""
        self._connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {query}")
        self._defined.append(name)

    def make(self, name: str, query: str, parameters: list[Any] | None = None) -> int:
        """Make a table of the rows of a query; one of that name is replaced. Returns how many rows it has."""
        run = self._connection.execute
        made = run(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {query}", parameters)
        self._made[name] = _count(made)
        return self._made[name]

    def bring(self, name: str, query: str, parameters: list[Any] | None = None) -> None:
        """Make a table of rows that have come in, under a name that is not used again."""
        self.make(name, query, parameters)
        self._brought.append(name)

    def add(self, name: str, query: str) -> None:
        """Add the rows of a query to a table, which is made if need be."""
        if name in self._made:
            added = self._connection.execute(f"INSERT INTO {scratch(name)} {query}")
            self._made[name] += _count(added)
        else:
            self.make(name, query)

    def clear(self) -> None:
        """End the life of them all; small tables are left for the next of their names to replace."""
        large = [name for name, rows in self._made.items() if rows > LEFT]
        drops = [f"DROP TABLE IF EXISTS {scratch(name)}" for name in {*large, *self._brought}]
        drops += [f"DROP VIEW IF EXISTS {scratch(name)}" for name in self._defined]
        if drops:
            self._connection.execute("; ".join(drops))
        self._made.clear()
        self._brought.clear()
        self._defined.clear()
        while self._shown:
            self._connection.unregister(self._shown.pop())


class Applier:
    """Writes to the tables of one database, within the transaction of a step."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch_tables: Scratch) -> None:
        """Write over a connection, with temporary tables on it."""
        self._run = connection.execute
        self._scratch = scratch_tables
        self._changed: dict[str, bool] = {}

    def apply(self, table: Table, staged: Staged, *, captured: bool) -> None:
        """Change a table; keep its change if it is to be captured."""
        if staged.given is not None:
            self._update(table, staged, captured=captured)
        elif table.primary_key:
            self._upsert(table, staged, captured=captured)
        elif staged.deleted is not None:
            self._weigh(table, staged, captured=captured)
        else:
            rows = f"SELECT {_places(_all(table))} FROM {staged.inserted}"
            values = None if captured else staged.values
            self._insert(table, values or rows, captured=captured)

    def changes(self, told: Container[str]) -> set[str]:
        """Return which captured tables have changed, each with its change in `~d <table>`.

        It is the net change where somebody is told of it; to views it makes no difference.
        """
        changed = self._changed
        self._changed = {}
        for physical, both_ways in changed.items():
            name = delta(physical)
            if both_ways and physical in told:
                self._scratch.make(name, net(f"SELECT * FROM {scratch(name)}"))
        return set(changed)

    def forget(self) -> None:
        """Forget what was captured of a step that is rolled back."""
        self._changed = {}

    def _insert(self, table: Table, rows: str, *, captured: bool) -> None:
        self._run(f"INSERT INTO {quote(table.physical)} {rows}")
        if captured:
            self._capture(table, f"SELECT *, CAST(1 AS BIGINT) FROM ({rows})")

    def _upsert(self, table: Table, staged: Staged, *, captured: bool) -> None:
        """Remove all rows with a key that occurs, then insert the last row of each key not deleted later."""
        keys, places = _keys(table), _places(_keys(table))
        inserted, target = staged.inserted, quote(table.physical)
        gone = f"SELECT {places} FROM {inserted}"
        later = ""
        if staged.deleted is not None:
            gone += f" UNION SELECT {places} FROM {staged.deleted}"
            same = " AND ".join(f"o.c{i} = i.c{i}" for i, _ in keys)
            later = f"WHERE NOT EXISTS (SELECT 1 FROM {staged.deleted} o WHERE {same} AND o.n > i.n)"
        same_key = _same_key(keys)
        rows = (
            f"SELECT {_places(_all(table))} FROM {inserted} i {later} "
            f"QUALIFY row_number() OVER (PARTITION BY {places} ORDER BY n DESC) = 1"
        )
        if captured:
            old = f"SELECT t.*, CAST(-1 AS BIGINT) FROM {target} t SEMI JOIN ({gone}) s ON {same_key}"
            new = f"SELECT *, CAST(1 AS BIGINT) FROM ({rows})"
            self._capture(table, f"{old} UNION ALL {new}", both_ways=True)
        self._run(f"DELETE FROM {target} t USING ({gone}) s WHERE {same_key}")
        self._insert(table, rows, captured=False)

    def _weigh(self, table: Table, staged: Staged, *, captured: bool) -> None:
        """Sum what is inserted and deleted of each row: within a batch their order means nothing."""
        columns, target = _all(table), quote(table.physical)
        places = _places(columns)
        self._scratch.make(
            "~net",
            f"SELECT row_number() OVER () AS id, * FROM (SELECT {places}, sum(w)::BIGINT AS w FROM "
            f"(SELECT {places}, 1 AS w FROM {staged.inserted} "
            f"UNION ALL SELECT {places}, -1 FROM {staged.deleted}) "
            "GROUP BY ALL HAVING sum(w) <> 0)",
        )
        same = " AND ".join(f"t.{quote(c.name)} IS NOT DISTINCT FROM s.c{i}" for i, c in columns)
        self._scratch.make(
            "~gone",
            "SELECT rid FROM (SELECT t.rowid AS rid, -s.w AS w, "
            "row_number() OVER (PARTITION BY s.id) AS nth "
            f"FROM {target} t JOIN {scratch('~net')} s ON {same} WHERE s.w < 0) WHERE nth <= w",
        )
        doomed = f"rowid IN (SELECT rid FROM {scratch('~gone')})"
        if captured:
            old = f"SELECT *, CAST(-1 AS BIGINT) FROM {target} WHERE {doomed}"
            self._capture(table, old, both_ways=True)
        self._run(f"DELETE FROM {target} WHERE {doomed}")
        rows = f"SELECT {places} FROM (SELECT {places}, unnest(range(w)) FROM {scratch('~net')} WHERE w > 0)"
        self._insert(table, rows, captured=captured)

    def _update(self, table: Table, staged: Staged, *, captured: bool) -> None:
        keys, target = _keys(table), quote(table.physical)
        given = staged.given or ()
        values = [
            f"{quote(c.name)} = s.c{i}"
            for i, c in _all(table)
            if i in given and c.name not in table.primary_key
        ]
        if not values:
            return
        last = (
            f"SELECT * FROM {staged.inserted} QUALIFY row_number() OVER "
            f"(PARTITION BY {_places(keys)} ORDER BY n DESC) = 1"
        )
        touched = f"FROM {target} t SEMI JOIN {staged.inserted} s ON {_same_key(keys)}"
        if captured:
            self._capture(table, f"SELECT t.*, CAST(-1 AS BIGINT) {touched}", both_ways=True)
        self._run(f"UPDATE {target} t SET {', '.join(values)} FROM ({last}) s WHERE {_same_key(keys)}")
        if captured:
            self._capture(table, f"SELECT t.*, CAST(1 AS BIGINT) {touched}")

    def _capture(self, table: Table, rows: str, *, both_ways: bool = False) -> None:
        names = ", ".join(quote(column.name) for column in table.columns)
        self._scratch.add(delta(table.physical), f"SELECT * FROM ({rows}) AS q({names}, {WEIGHT})")
        self._changed[table.physical] = self._changed.get(table.physical, False) or both_ways


def net(rows: str) -> str:
    """Return the query that sums the weights of equal rows and leaves out what came and went."""
    return (
        f"SELECT * EXCLUDE ({WEIGHT}), CAST(sum({WEIGHT}) AS BIGINT) AS {WEIGHT} FROM ({rows}) "
        f"GROUP BY ALL HAVING sum({WEIGHT}) <> 0"
    )


def delta(physical: str) -> str:
    """Return the name of the temporary table with the net change of a relation in the step."""
    return f"~d {physical}"


def scratch(name: str) -> str:
    """Return how SQL names a temporary table."""
    return f"temp.{quote(name)}"


def _count(done: duckdb.DuckDBPyConnection) -> int:
    """Return how many rows a statement has written."""
    [(count,)] = done.fetchall()
    return int(count)


def _all(table: Table) -> Places:
    return list(enumerate(table.columns))


def _keys(table: Table) -> Places:
    return [(i, column) for i, column in _all(table) if column.name in table.primary_key]


def _places(columns: Places) -> str:
    return ", ".join(f"c{i}" for i, _ in columns)


def _same_key(keys: Places) -> str:
    return " AND ".join(f"t.{quote(column.name)} = s.c{i}" for i, column in keys)

"""Loading: a batch becomes relations that the statements of a step read.

Rows come typed and judged (`batch`) and are shown to DuckDB as they are, so that a batch costs a handful of
statements whatever its size. Nothing here touches a table of the program: that is `applying`, within the
transaction of a step.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from sluicegate.engine import literals
from sluicegate.engine.applying import Scratch, Staged, scratch
from sluicegate.engine.batch import Batch, Errors, Rows, Run
from sluicegate.engine.errors import query_failed
from sluicegate.engine.plan import Table

if TYPE_CHECKING:
    import pyarrow as pa

LOST = {"uuid", "variant"}
"""Kinds of columns that are text in Arrow."""


@dataclass
class Loaded:
    """A batch that is staged."""

    staged: list[Staged] = field(default_factory=list)
    """To be applied one after the other."""
    records: int = 0
    errors: Errors = field(default_factory=Errors)
    """All that is wrong with the batch."""


class Loader:
    """Stages batches on one connection, outside of any transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch_tables: Scratch) -> None:
        """Stage over a connection, in temporary relations on it."""
        self._connection = connection
        self._scratch = scratch_tables
        self._number = 0

    def load(self, table: Table, batch: Batch | Rows) -> Loaded:
        """Stage all that has been read."""
        if isinstance(batch, Rows):
            return self._load_rows(table, batch)
        return Loaded([self._stage(table, run) for run in batch.runs], batch.records, batch.errors)

    def _load_rows(self, table: Table, rows: Rows) -> Loaded:
        """Stage rows that Arrow holds; a cast brings back those of their types that Arrow lacks."""
        from sluicegate.engine.formats import casting, columns

        given = {name: f"x{i}" for i, name in enumerate(rows.table.column_names)}
        absent = [column for column in table.columns if column.name not in given]
        shown = dict(given)
        shown |= {column.name: casting.default(column, f"${n}") for n, column in enumerate(absent, start=1)}
        casts = ", ".join(f"CAST({shown[c.name]} AS {c.type}) AS c{i}" for i, c in enumerate(table.columns))
        aliases = ", ".join(given.values())
        name = self._name("in")
        self._connection.register("~rows", rows.table)
        try:
            self._scratch.bring(
                name,
                f'SELECT row_number() OVER () AS n, {casts} FROM "~rows" AS q({aliases})',
                [columns.plain(column, column.default) for column in absent],
            )
        finally:
            self._connection.unregister("~rows")
        self._check_not_null(table, name)
        return Loaded([Staged(scratch(name))], len(rows), rows.errors)

    def _check_not_null(self, table: Table, name: str) -> None:
        needed = {f"c{i}": column.name for i, column in enumerate(table.columns) if not column.nullable}
        if not needed:
            return
        missing = ", ".join(f"count(*) - count({place})" for place in needed)
        [counts] = self._connection.execute(f"SELECT {missing} FROM {scratch(name)}").fetchall()
        for column, count in zip(needed.values(), counts, strict=True):
            if count:
                raise query_failed(f"column '{column}' is NOT NULL")

    def _stage(self, table: Table, run: Run) -> Staged:
        name = self._name("in")
        values = None
        if run.rows is None:
            inserted = self._nothing(table, name)
        else:
            inserted, values = self._relation(table, name, run.rows)
        deleted = None if run.gone is None else self._relation(table, self._name("out"), run.gone)[0]
        return Staged(inserted, deleted, run.given, values)

    def _nothing(self, table: Table, name: str) -> str:
        """Return no rows as SQL names them."""
        columns = "".join(f", NULL::{column.type} AS c{i}" for i, column in enumerate(table.columns))
        query = f"SELECT 0::BIGINT AS n{columns} WHERE false"
        if not table.lateness:
            return f"({query})"
        self._scratch.bring(name, query)
        return scratch(name)

    def _relation(self, table: Table, name: str, rows: "pa.Table") -> tuple[str, str | None]:
        """Return rows as SQL names them, and as values: a handful stands in the statements themselves."""
        written = None if table.lateness else literals.write(table, rows)
        if written is None:
            self._show(table, name, rows)
            return scratch(name), None
        return written

    def _show(self, table: Table, name: str, rows: "pa.Table") -> None:
        """Show rows as a relation; nothing is copied, unless rows may be taken out of it."""
        typed = {f"c{i}": column for i, column in enumerate(table.columns) if column.kind in LOST}
        plain = typed.keys().isdisjoint(rows.column_names) and not table.lateness
        if plain:
            self._scratch.show(name, rows)
            return
        self._scratch.show(f"{name} arrow", rows)
        shown = (f"CAST({c} AS {typed[c].type}) AS {c}" if c in typed else c for c in rows.column_names)
        self._relate(table, name, f"SELECT {', '.join(shown)} FROM {scratch(f'{name} arrow')}")

    def _relate(self, table: Table, name: str, query: str) -> None:
        make = self._scratch.bring if table.lateness else self._scratch.define
        make(name, query)

    def _name(self, kind: str) -> str:
        """Return a name for a relation: several batches are staged before one step."""
        self._number += 1
        return f"~{kind}{self._number}"

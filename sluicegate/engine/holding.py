"""Holding: what comes within a transaction of the API waits, typed, for the step that is its commit.

Rows wait in temporary tables, which DuckDB puts to disk where they are large. They are appended to each other
in their order, so that to apply them is a matter of a few statements however many arrivals there were.
Whatever happens before the commit, nothing of the transaction is in the database.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from sluicegate.engine.applying import Staged, scratch
from sluicegate.engine.plan import Table

PLACES = 1 << 32
"""Numbers for the changes of one arrival, which has fewer."""


@dataclass(frozen=True)
class _Part:
    """Arrivals of a table that may be applied together."""

    staged: Staged
    arrivals: int


@dataclass(frozen=True)
class _Held:
    parts: Mapping[str, tuple[Table, tuple[_Part, ...]]] = field(default_factory=dict)
    """By the physical name of the table, in order."""
    offsets: Mapping[str, Any] = field(default_factory=dict)
    records: int = 0


class Holding:
    """What one connection holds."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Hold in temporary tables of a connection."""
        self._run = connection.execute
        self._held = _Held()
        self._tables: list[str] = []
        self._number = 0

    @property
    def records(self) -> int:
        """Return how many changes are held."""
        return self._held.records

    @property
    def offsets(self) -> Mapping[str, Any]:
        """Return the positions of connectors after what is held."""
        return self._held.offsets

    def staged(self) -> list[tuple[Table, list[Staged]]]:
        """Return what is held, by table, to be applied in this order."""
        return [(table, [part.staged for part in parts]) for table, parts in self._held.parts.values()]

    def add(
        self, rows: Sequence[tuple[Table, Sequence[Staged]]], offsets: Mapping[str, Any], records: int
    ) -> None:
        """Hold more, all of it or, where it raises, nothing."""
        parts = dict(self._held.parts)
        self._run("BEGIN")
        try:
            for table, staged in rows:
                for each in staged:
                    _, before = parts.get(table.physical, (table, ()))
                    parts[table.physical] = table, self._append(table, before, each)
            self._run("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a COMMIT that failed has rolled back by itself
                self._run("ROLLBACK")
            raise
        self._held = _Held(parts, {**self._held.offsets, **offsets}, self._held.records + records)

    def clear(self) -> None:
        """Forget everything."""
        self._held = _Held()
        for name in self._tables:
            self._run(f"DROP TABLE IF EXISTS {name}")
        self._tables.clear()

    def _append(self, table: Table, parts: tuple[_Part, ...], staged: Staged) -> tuple[_Part, ...]:
        """Append rows to the last part, or to a new one where they are partial updates of other columns."""
        if parts and parts[-1].staged.given == staged.given:
            parts, last = parts[:-1], parts[-1]
        else:
            places = range(len(table.columns)) if staged.given is None else staged.given
            last = _Part(Staged(self._table(table, places), None, staged.given), 0)
        deleted = last.staged.deleted
        if staged.deleted is not None and deleted is None:
            keys = [i for i, column in enumerate(table.columns) if column.name in table.primary_key]
            deleted = self._table(table, keys or range(len(table.columns)))
        self._copy(staged.inserted, last.staged.inserted, last.arrivals)
        if staged.deleted is not None and deleted is not None:
            self._copy(staged.deleted, deleted, last.arrivals)
        return (*parts, _Part(replace(last.staged, deleted=deleted), last.arrivals + 1))

    def _table(self, table: Table, places: Sequence[int]) -> str:
        """Make a table for some columns; returns it as SQL names it."""
        self._number += 1
        name = scratch(f"~held{self._number}")
        columns = "".join(f", c{i} {table.columns[i].type}" for i in places)
        self._run(f"CREATE TEMP TABLE {name} (n BIGINT{columns})")
        self._tables.append(name)
        return name

    def _copy(self, source: str, target: str, arrivals: int) -> None:
        rows = f"SELECT * REPLACE (n + {arrivals * PLACES} AS n) FROM {source}"
        self._run(f"INSERT INTO {target} BY NAME {rows}")

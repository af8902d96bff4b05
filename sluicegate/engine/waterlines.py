"""Waterlines: rows that come too late for a column with LATENESS are dropped within the step."""

from collections.abc import Sequence
from typing import Any

import duckdb

from sluicegate.engine.applying import Staged
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Lateness, Plan, Table


class Waterlines:
    """How far the columns of one database have come."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Look and write over a connection."""
        self._run = connection.execute
        self._columns: list[tuple[Table, str]] = []

    def prepare(self, plan: Plan) -> None:
        """Make what remembers them, as far as it is not there yet."""
        for table in plan.tables:
            for lateness in table.lateness:
                self._run(lateness.ddl)
                self._columns.append((table, lateness.column))

    def told(self) -> list[dict[str, Any]]:
        """Return the largest value of each column that steps have brought; late is what is too far below."""
        lines = []
        for table, column in self._columns:
            [(value,)] = self._run(f"SELECT furthest FROM {memory(table.physical, column)}").fetchall()
            lines.append(
                {"table": table.name, "column": column, "furthest": None if value is None else str(value)}
            )
        return lines

    def drop_late(self, table: Table, staged: Staged) -> None:
        """Take late rows out of what is about to be applied.

        Where the row that a change would replace or delete by its key is late itself, the change is dropped.
        """
        places = {column.name: i for i, column in enumerate(table.columns)}
        for lateness in table.lateness:
            column = f"c{places[lateness.column]}"
            for name in filter(None, (staged.inserted, staged.deleted)):
                if _has(table, staged, name, lateness):
                    self._run(f"DELETE FROM {name} WHERE {lateness.late.format(value=column)}")
                if table.primary_key:
                    old = lateness.late.format(value=f"t.{quote(lateness.column)}")
                    same = " AND ".join(f"t.{quote(key)} = s.c{places[key]}" for key in table.primary_key)
                    late = f"SELECT 1 FROM {quote(table.physical)} t WHERE {same} AND {old}"
                    self._run(f"DELETE FROM {name} s WHERE EXISTS ({late})")

    def advance(self, table: Table, staged: Sequence[Staged]) -> None:
        """Move them by what a step has brought, after all of it was measured by the old ones."""
        places = {column.name: i for i, column in enumerate(table.columns)}
        for lateness in table.lateness:
            brought = [
                f"SELECT c{places[lateness.column]} AS value FROM {each.inserted}"
                for each in staged
                if _has(table, each, each.inserted, lateness)
            ]
            if brought:
                self._run(lateness.advance.format(rows=" UNION ALL ".join(brought)))


def memory(physical: str, column: str) -> str:
    """Return the table that remembers the largest value of a column, as SQL names it."""
    return quote(f"~waterline~{physical}~{column}")


def _has(table: Table, staged: Staged, name: str, lateness: Lateness) -> bool:
    """Tell whether staged rows have the column: deletes by key and partial updates may lack it."""
    if name == staged.inserted:
        return staged.given is None or any(table.columns[i].name == lateness.column for i in staged.given)
    return not table.primary_key or lateness.column in table.primary_key

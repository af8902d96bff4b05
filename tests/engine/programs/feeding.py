"""Random batches for the tables of a benchmark: rows that come, go, come back changed, and come twice."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from sluicegate.engine.plan import Plan, Table
from tests.engine.programs.programs import Benchmark, Row

Change = tuple[str, Row]
"""insert, delete or update, and the row."""
Dress = Callable[[int, Row], Row]
"""From the number of a step and a new row to the row that is put in."""
BATCH = 30
"""The most that happens to one table in one step."""
BEGINNING = 3
"""One row of so many is not there after the first step."""


def as_it_is(_: int, row: Row) -> Row:
    """Leave a row alone."""
    return row


class Feed:
    """Makes the steps of one run; keeps what it has put in, to take out and change what is there."""

    def __init__(
        self,
        benchmark: Benchmark,
        plan: Plan,
        chance: Random,
        *,
        scale: int,
        dress: Dress = as_it_is,
    ) -> None:
        """Feed the tables of a plan; `dress` may change a new row of a step before it is put in."""
        self._rows = benchmark.rows
        self._tables = {table.name: table for table in plan.tables}
        self._chance = chance
        self._scale = scale
        self._dress = dress
        self._live: dict[str, list[Row]] = {name: [] for name in self._tables}

    def steps(self, count: int) -> Iterator[dict[str, list[Change]]]:
        """Yield the changes of so many steps, by the physical name of their table."""
        for step in range(count):
            fresh = {
                name: [self._dress(step, {key.lower(): value for key, value in row.items()}) for row in rows]
                for name, rows in self._rows(self._chance, self._scale).items()
            }
            yield self._beginning(fresh) if step == 0 else self._batch(fresh)

    def _beginning(self, fresh: dict[str, list[Row]]) -> dict[str, list[Change]]:
        """Put in most of what there can be."""
        return {
            table.physical: [
                self._insert(table, row) for row in fresh[name] if self._chance.randrange(BEGINNING)
            ]
            for name, table in self._tables.items()
        }

    def _batch(self, fresh: dict[str, list[Row]]) -> dict[str, list[Change]]:
        touched = self._chance.sample(sorted(self._tables), self._chance.randint(1, len(self._tables)))
        return {
            self._tables[name].physical: [
                change
                for _ in range(self._chance.randint(1, BATCH))
                for change in self._some(self._tables[name], self._chance.choice(fresh[name]))
            ]
            for name in touched
        }

    def _some(self, table: Table, row: Row) -> list[Change]:
        """Return what happens next to a table."""
        live = self._live[table.name]
        kind = self._chance.choice(("insert", "insert", "delete", "change", "twice"))
        if kind == "insert" or not live:
            return [self._insert(table, row)]
        if kind == "twice":  # a bag holds the row twice then; with a key it comes and goes
            again = ("delete", row) if table.primary_key else self._insert(table, row)
            return [self._insert(table, row), self._forget(table, again)]
        old = self._chance.choice(live)
        if kind == "delete":
            return [self._forget(table, ("delete", self._named(table, old)))]
        if not table.primary_key:
            return [self._forget(table, ("delete", old)), self._insert(table, {**old, **self._part(row)})]
        given = {**self._part(row), **{key: old[key] for key in table.primary_key}}
        old.update(given)
        return [("update", given)]

    def _insert(self, table: Table, row: Row) -> Change:
        if table.primary_key:
            self._forget(table, ("delete", row))
        self._live[table.name].append(dict(row))
        return "insert", row

    def _forget(self, table: Table, change: Change) -> Change:
        op, row = change
        live = self._live[table.name]
        if op == "delete":
            by = table.primary_key or tuple(row)
            gone = next((old for old in live if all(old[key] == row[key] for key in by)), None)
            if gone is not None:
                live.remove(gone)
        return change

    def _named(self, table: Table, row: Row) -> Row:
        """Return what names a row: its key, with or without the rest, or all of it."""
        if table.primary_key and self._chance.randrange(2):
            return {key: row[key] for key in table.primary_key}
        return dict(row)

    def _part(self, row: Row) -> dict[str, Any]:
        names = self._chance.sample(sorted(row), self._chance.randint(1, len(row)))
        return {name: row[name] for name in names}

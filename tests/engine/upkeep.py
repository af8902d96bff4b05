"""A pipeline's writer in this process, beside a plain database that computes everything from scratch."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.clock import Clock
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.database import Database
from sluicegate.engine.plan import Plan, Table, View
from sluicegate.engine.writer import Outcome
from sluicegate.protocol import CompileRequest
from tests.engine.evaluation import batch_of

Rows = Counter[tuple[Any, ...]]


def compiled(program: str) -> Plan:
    """Compile a program as it is sent to an engine."""
    response = compile_program(CompileRequest(program))
    assert response.plan is not None, response.sql_compilation
    return Plan.from_json(response.plan)


Changes = Mapping[str, Iterable[tuple[str, dict[str, Any]]]]
"""Of each table its changes: insert, delete or update, and the row."""


class House:
    """A writer with its database, and what its tables should hold."""

    def __init__(self, program: str) -> None:
        self.plan = compiled(program)
        self.database = Database.open(None, None, {})
        self.clock = Clock({"dev_tweaks": {"now_http_driven": True}})
        self.database.prepare(self.plan, self.clock)
        self.writer = self.database.writer
        self.told: dict[str, Rows] = {}
        self.tables = {table.physical: table for table in self.plan.tables}
        self.views = {view.physical: view for view in self.plan.views}
        self._expected: dict[str, list[dict[str, Any]]] = {name: [] for name in self.tables}

    def watch(self, relation: str) -> None:
        """Listen to a relation; begin with what it has."""
        snapshot = self.writer.watch(relation, snapshot=True)
        assert snapshot is not None
        self.told[relation] = Counter(rows_of(snapshot.read_all()))

    def step(self, changes: Changes, *, ticks: bool = False) -> Outcome:
        """Take one step of changes to tables, a second later if it ticks, and remember what was told."""
        arrivals = []
        if ticks:
            self.clock.advance(b"{}", reads_now=True)
        for name, given in changes.items():
            table, rows = self.tables[name], list(given)
            arrivals.append(Arrival(table, batch_of(self.database, table, rows)))
            for op, row in rows:
                self._expect(table, op, row)
        outcome = self.writer.take(arrivals)
        for taken in outcome.taken:
            if isinstance(taken, Exception):
                raise taken
            assert not taken.errors.count, taken.errors
        for relation, heard in outcome.changes.items():
            *columns, weights = [heard.column(i).to_pylist() for i in range(heard.num_columns)]
            for told, weight in zip(_zipped(columns, heard.num_rows), weights, strict=True):
                assert weight
                self.told[relation][told] += weight
        return outcome

    def rows(self, relation: str) -> Rows:
        """Return what a query finds."""
        found = self.database.cursor().sql(f'SELECT * FROM "{relation}"').to_arrow_table()
        return Counter(rows_of(found))

    def scratch(self) -> dict[str, Rows]:
        """Return what every relation should be, by the plain queries of the program over the same rows."""
        plain = duckdb.connect(":memory:", config={"integer_division": True})
        plain.execute("SET TimeZone = 'UTC'")
        for table in self.plan.tables:
            plain.execute(table.ddl)
            for row in self._expected[table.physical]:
                names = ", ".join(f'"{name}"' for name in row)
                plain.execute(
                    f'INSERT INTO "{table.physical}" ({names}) VALUES ({", ".join("?" * len(row))})',
                    list(row.values()),
                )
        for view in self.plan.views:
            plain.execute(view.ddl)
        found = {
            relation.physical: Counter(
                rows_of(plain.sql(f'SELECT * FROM "{relation.physical}"').to_arrow_table())
            )
            for relation in self.plan.relations
        }
        plain.close()
        return found

    def check(self) -> None:
        """Assert that what is stored, and what was told, are what they should be."""
        expected = self.scratch()
        for relation in (*self.tables, *self.views):
            assert self.rows(relation) == expected[relation], (relation, kind(self.views.get(relation)))
        for relation, rows in self.told.items():
            assert +rows == expected[relation], ("told", relation, kind(self.views.get(relation)))
            assert not -rows, ("told", relation)

    def _expect(self, table: Table, op: str, row: dict[str, Any]) -> None:
        full = {column.name: row.get(column.name) for column in table.columns}
        held = self._expected[table.physical]
        if not table.primary_key:
            if op == "insert":
                held.append(full)
            elif full in held:
                held.remove(full)
            return
        same = [old for old in held if all(old[key] == row[key] for key in table.primary_key)]
        if op == "update":
            for old in same:
                old.update(row)
            return
        for old in same:
            held.remove(old)
        if op == "insert":
            held.append(full)


def kind(view: View | None) -> str:
    """Return how a view is maintained."""
    return "table" if view is None or view.maintenance is None else view.maintenance.kind


def rows_of(found: Any) -> list[tuple[Any, ...]]:
    """Return the rows of an Arrow table, as what can be counted."""
    columns = [found.column(i).to_pylist() for i in range(found.num_columns)]
    return list(_zipped(columns, found.num_rows))


def _zipped(columns: list[list[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    hashable = [[_hashable(value) for value in column] for column in columns]
    return zip(*hashable, strict=True) if columns else [()] * count


def _hashable(value: Any) -> Any:
    """Return a value that can be counted; of floating-point numbers what no order of sums changes."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((key, _hashable(inner)) for key, inner in value.items())
    return value

"""Programs that are compiled and run in this process: what their views hold."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Batch
from sluicegate.engine.clock import Clock
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.database import Database
from sluicegate.engine.formats.config import Json
from sluicegate.engine.formats.reading import read
from sluicegate.engine.plan import Plan, Table, View
from sluicegate.protocol import CompileRequest

Row = Mapping[str, Any]


def batch_of(database: Database, table: Table, changes: Iterable[tuple[str, Row]]) -> Batch:
    """Read changes of a table, as JSON: what is to be done, and with which row."""
    body = "\n".join(json.dumps({op: dict(row)}, default=str) for op, row in changes).encode()
    with database.cursor() as cursor:
        return read(body, table, Json(), cursor)


class Program:
    """A compiled program on a database in memory."""

    def __init__(self, text: str) -> None:
        response = compile_program(CompileRequest(text))
        assert response.plan is not None, response.sql_compilation["messages"]
        assert response.program_info is not None
        self.messages = response.sql_compilation["messages"]
        self.schema = response.program_info["schema"]
        self.plan = Plan.from_json(response.plan)
        assert self.plan.to_json() == response.plan
        self.database = Database.open(None, None, {})
        self.database.prepare(self.plan, Clock({}))

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Put rows into a table, as ingress does."""
        self.change(table, [("insert", row) for row in rows])

    def change(self, table: str, changes: Sequence[tuple[str, Row]]) -> None:
        """Take a step of changes to a table: what is to be done, and with which row."""
        found = next(found for found in self.plan.tables if found.name == table)
        batch = batch_of(self.database, found, changes)
        (taken,) = self.database.writer.take([Arrival(found, batch)]).taken
        if isinstance(taken, Exception):
            raise taken
        assert not taken.errors.count, taken.errors

    def view(self, name: str) -> View:
        """Return a view of the plan."""
        return next(view for view in self.plan.views if view.name == name)

    def rows(self, name: str, order: str = "ALL") -> list[tuple[Any, ...]]:
        """Return the rows of a relation, in order."""
        relation = next(found for found in self.plan.relations if found.name == name)
        return self.query(f'SELECT * FROM "{relation.physical}" ORDER BY {order}')

    def values(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a relation as JSON objects."""
        relation = next(found for found in self.plan.relations if found.name == name)
        found = self.query(f'SELECT to_json(v) FROM "{relation.physical}" v')
        return [json.loads(row[0]) for row in found]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run DuckDB's SQL."""
        rows: list[tuple[Any, ...]] = self.database.cursor().execute(sql).fetchall()
        return rows

    def column_types(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the wire types of a view's or table's columns."""
        relations = [*self.schema["inputs"], *self.schema["outputs"]]
        relation = next(found for found in relations if found["name"] == name)
        return {field["name"]: field["columntype"] for field in relation["fields"]}


@contextmanager
def running(text: str) -> Iterator[Program]:
    """Run a program and close its database."""
    program = Program(text)
    try:
        yield program
    finally:
        program.database.close()


def values(expressions: Sequence[str]) -> dict[str, Any]:
    """Return the values of expressions, as JSON, each from a view of its own."""
    views = (f"CREATE VIEW v{n} AS SELECT {expression} AS x;" for n, expression in enumerate(expressions))
    with running("\n".join(views)) as program:
        return {expression: program.values(f"v{n}")[0]["x"] for n, expression in enumerate(expressions)}


def failure(expression: str) -> str:
    """Return how the evaluation of an expression fails, which must compile."""
    with running(f"CREATE VIEW v AS SELECT {expression} AS x;") as program:
        try:
            program.values("v")
        except duckdb.Error as error:
            return str(error)
    raise AssertionError(f"{expression} has a value")

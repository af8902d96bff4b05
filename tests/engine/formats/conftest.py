"""Tables in memory, and what bytes in a format make of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Batch
from sluicegate.engine.clock import Clock
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.database import Database
from sluicegate.engine.formats import config, reading
from sluicegate.engine.plan import Plan, Table, find
from sluicegate.protocol import CompileRequest


class Tables:
    """The tables of a program."""

    def __init__(self, program: str) -> None:
        compiled = compile_program(CompileRequest(program))
        assert compiled.plan is not None, compiled.sql_compilation
        self.plan = Plan.from_json(compiled.plan)
        self.database = Database.open(None, None, {})
        self.database.prepare(self.plan, Clock({}))

    def table(self, name: str) -> Table:
        """Return the table of a name."""
        found = find(self.plan.tables, name)
        assert isinstance(found, Table)
        return found

    def read(self, name: str, body: bytes | str, written_as: str = "json", **settings: Any) -> Batch:
        """Read bytes for a table."""
        table = self.table(name)
        how = config.reading("endpoint", written_as, settings, table)
        raw = body.encode() if isinstance(body, str) else body
        return reading.read(raw, table, how, self.database.cursor())

    def push(self, name: str, body: bytes | str, written_as: str = "json", **settings: Any) -> Batch:
        """Read bytes and put them into the table."""
        batch = self.read(name, body, written_as, **settings)
        (taken,) = self.database.writer.take([Arrival(self.table(name), batch)]).taken
        assert not isinstance(taken, Exception), taken
        return batch

    def rows(self, name: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Return the rows of a table, in order."""
        physical = self.table(name).physical
        return self.database.cursor().execute(f'SELECT {columns} FROM "{physical}" ORDER BY ALL').fetchall()


MakeTables = Callable[[str], Tables]


@pytest.fixture
def tables() -> Iterator[MakeTables]:
    """Make tables that end with the test."""
    made: list[Tables] = []

    def make(program: str) -> Tables:
        made.append(Tables(program))
        return made[-1]

    yield make
    for one in made:
        one.database.close()

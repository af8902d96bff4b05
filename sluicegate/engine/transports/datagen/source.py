"""The source of made-up rows: plan after plan, chunk after chunk, at the rate that is asked for."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow

from sluicegate.engine.identifiers import quote
from sluicegate.engine.locked import SETTINGS, lock
from sluicegate.engine.plan import Table
from sluicegate.engine.transports.datagen import settings
from sluicegate.engine.transports.datagen.draws import At
from sluicegate.engine.transports.datagen.expressions import Expressions, matched, may_be_null
from sluicegate.engine.transports.datagen.settings import Field, RowPlan
from sluicegate.engine.transports.datagen.shapes import shape
from sluicegate.engine.transports.datagen.words import Words
from sluicegate.engine.transports.protocol import BadConfig, Chunk, Gate, Surroundings

CELL = 8
"""Bytes that a value counts for in the statistics."""
MEMORY = "256MB"
SEEDS = 1 << 64


@dataclass(frozen=True)
class _Made:
    """A plan that is ready: what is selected, and the columns of words it is selected from."""

    plan: RowPlan
    selected: str
    words: Mapping[str, Words]


class DatagenSource:
    """Makes up the rows of a table."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Read the configuration and try each plan on no row; raises BadConfig."""
        assert surroundings.relation is not None
        own: dict[str, Any] = {"threads": 1, "memory_limit": MEMORY, "temp_directory": ""}
        self._connection = duckdb.connect(":memory:", config={**SETTINGS, **own})
        lock(self._connection)
        self._table = surroundings.relation
        self._most = surroundings.most or settings.LARGEST_CHUNK
        found = settings.read(config)
        self._seed = found.seed
        self._plans = [self._make(plan) for plan in found.plans]

    async def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Make the rows after an offset, which has the seed and how many rows there were."""
        at = offset or {"seed": secrets.randbits(64) if self._seed is None else self._seed, "rows": 0}
        seed, rows, clock = int(at["seed"]), int(at["rows"]), asyncio.get_running_loop().time
        due = clock()
        for made, part in self._parts(rows):
            table = await asyncio.to_thread(self._rows, made, seed, part)
            if made.plan.rate:
                due = max(due, clock()) + len(part) / made.plan.rate
                await asyncio.sleep(due - clock())
            yield Chunk(table, {"seed": seed, "rows": part.stop}, size=CELL * table.num_columns * len(part))

    def _parts(self, done: int) -> Iterator[tuple[_Made, range]]:
        """Give the ranges of rows that are left."""
        begin = 0
        for made in self._plans:
            end = None if made.plan.limit is None else begin + made.plan.limit
            at = max(begin, done)
            while end is None or at < end:
                stop = at + min(made.plan.chunk, self._most)
                stop = stop if end is None else min(stop, end)
                yield made, range(at, stop)
                at = stop
            begin = end

    def _make(self, plan: RowPlan) -> _Made:
        table, expressions = self._table, Expressions()
        given = matched(_described(table), plan.fields, {c.name: not c.case_sensitive for c in table.columns})
        selected = []
        for column in table.columns:
            field = given.get(column.name) or Field(f"field '{column.name}'")
            kind = shape(self._connection.sqltype(column.type))
            if not column.nullable and may_be_null(field, kind):
                raise BadConfig(f"{field.where} may be NULL, but column '{column.name}' is NOT NULL")
            made = expressions.value(field, kind, At(column.name))
            selected.append(f"{made} AS {quote(column.name)}")
        ready = _Made(plan, ", ".join(selected), expressions.words)
        try:
            self._rows(ready, 0, range(1))
        except duckdb.Error as error:
            raise BadConfig(f"datagen of {_described(table)} cannot make a row: {error}") from error
        return ready

    def _rows(self, made: _Made, seed: int, part: range) -> Any:
        # Rows keep their seeds although a plan begins anywhere.
        source = f"(SELECT range AS n FROM range({part.start}, {part.stop}))"
        if made.words:
            columns = {name: words.texts(seed, part) for name, words in made.words.items()}
            self._connection.register("words", pyarrow.table({"n": list(part), **columns}))
            source = "words"
        seeded = f"hash(CAST((CAST('{seed}' AS UHUGEINT) + n) % CAST('{SEEDS}' AS UHUGEINT) AS UBIGINT))"
        sql = f"SELECT {made.selected} FROM (SELECT *, {seeded} AS s FROM {source})"
        return self._connection.sql(sql).to_arrow_table()


def _described(table: Table) -> str:
    columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    return f"table '{table.name}' ({columns})"

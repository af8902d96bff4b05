"""TPC-H and Nexmark step by step: after each step every view, and the sum of all that was told of it, is what
DuckDB alone finds in the same rows. `STEP_BY_STEP=long` takes more steps of more runs (docs/sql.md).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from sluicegate.engine.plan import Table
from tests.engine.programs.feeding import Dress, Feed, as_it_is
from tests.engine.programs.nexmark import BEGINNING, NEXMARK
from tests.engine.programs.programs import Benchmark, Row, near
from tests.engine.programs.tpch import TPCH
from tests.engine.upkeep import Changes, House, Rows, rows_of

LONG = os.environ.get("STEP_BY_STEP") == "long"
RUNS, STEPS = (5, 60) if LONG else (1, 6)
pytestmark = pytest.mark.timeout(3600 if LONG else 180)
LATENESS = timedelta(seconds=4)
"""Of all columns that have one."""
SPREAD = timedelta(seconds=6)
"""How far the rows of one step are apart, so that some come too late."""


def in_time(step: int, row: Row) -> Row:
    """Let time go on from step to step."""
    within = (datetime.fromisoformat(row["date_time"]) - BEGINNING) % SPREAD
    return {**row, "date_time": str(BEGINNING + timedelta(seconds=step) + within)}


def without(benchmark: Benchmark, words: str) -> Benchmark:
    """Return a benchmark whose tables are declared without some words."""
    assert words in benchmark.tables
    return replace(benchmark, tables=benchmark.tables.replace(words, ""))


WITH_KEYS = TPCH
WITH_BAGS = without(TPCH, ",\n    PRIMARY KEY (l_orderkey, l_linenumber)")
WITH_LATENESS = NEXMARK
WITHOUT_LATENESS = without(NEXMARK, " LATENESS INTERVAL 4 SECONDS")


class Theatre(House):
    """A writer whose views are compared with the benchmark's own queries over the same rows."""

    def __init__(self, benchmark: Benchmark) -> None:
        super().__init__(benchmark.program)
        self._benchmark = benchmark
        self._brought: dict[str, list[str]] = defaultdict(list)
        self._waterlines: dict[str, datetime] = {}
        self.dropped = 0
        for view in self.views:
            self.watch(view)

    def feed(self, seed: int, scale: int, *, dress: Dress = as_it_is) -> Feed:
        """Return what feeds this run."""
        return Feed(self._benchmark, self.plan, Random(seed), scale=scale, dress=dress)

    def step(self, changes: Changes, *, ticks: bool = False) -> Any:
        """Take a step; what it brings moves the waterlines after it."""
        outcome = super().step(changes, ticks=ticks)
        for table, times in self._brought.items():
            self._waterlines[table] = max(map(datetime.fromisoformat, times)) - LATENESS
        return outcome

    def scratch(self) -> dict[str, Rows]:
        """Return what every relation should be."""
        with duckdb.connect(":memory:") as plain:
            for table in self.plan.tables:
                plain.execute(table.ddl)
                rows = self._expected[table.physical]
                given = pa.table(
                    {column.name: [row[column.name] for row in rows] for column in table.columns}
                )
                plain.register("given", given)
                plain.execute(f'INSERT INTO "{table.physical}" FROM given')
                plain.unregister("given")
            queries = {name: f'FROM "{name}"' for name in self.tables}
            queries |= {name: self._benchmark.in_duckdb(name) for name in self.views}
            return {name: Counter(rows_of(plain.sql(sql).to_arrow_table())) for name, sql in queries.items()}

    def check(self) -> None:
        """Assert that what is stored, and what was told, are what they should be."""
        for name, expected in self.scratch().items():
            found, slack = self.rows(name), self._benchmark.slack.get(name, 0)
            differs = (name, found - expected, expected - found)
            assert near(in_order(found), in_order(expected), slack) if slack else found == expected, differs
            if name in self.views:
                assert +self.told[name] == found, ("told", name)
                assert not -self.told[name], ("told", name)

    def _expect(self, table: Table, op: str, row: Row) -> None:
        if self._is_late(table, op, row):
            self.dropped += 1
            return
        super()._expect(table, op, row)
        if table.lateness and op != "delete" and "date_time" in row:
            self._brought[table.physical].append(row["date_time"])

    def _is_late(self, table: Table, op: str, row: Row) -> bool:
        """Tell whether a row, or the one that its key stands for, is older than the waterline.

        Of a row to delete by its key nothing but the key counts.
        """
        waterline = self._waterlines.get(table.physical)
        if waterline is None:
            return False
        held = self._expected[table.physical] if table.primary_key else []
        same = [old for old in held if all(old[key] == row[key] for key in table.primary_key)]
        measured = same if op == "delete" and table.primary_key else [row, *same]
        times = [each["date_time"] for each in measured if "date_time" in each]
        return any(datetime.fromisoformat(time) < waterline for time in times)


def in_order(rows: Rows) -> list[tuple[Any, ...]]:
    """Return rows in an order that no fraction decides."""
    return sorted(rows.elements(), key=lambda row: [str(cell) for cell in row if not _has_digits(cell)])


def _has_digits(cell: Any) -> bool:
    return isinstance(cell, float | Decimal)


@pytest.fixture
def theatre(request: pytest.FixtureRequest) -> Iterator[Theatre]:
    """Run a benchmark's program in this process."""
    made = Theatre(request.param)
    yield made
    made.database.close()


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize(
    ("theatre", "scale", "least"),
    [
        pytest.param(WITH_KEYS, 20, 12, id="tpch"),
        pytest.param(WITH_BAGS, 8, 8, id="tpch, lines without a key"),
        pytest.param(WITHOUT_LATENESS, 15, 16, id="nexmark"),
    ],
    indirect=["theatre"],
)
def test_every_view_is_right_after_every_step(theatre: Theatre, scale: int, least: int, seed: int) -> None:
    held: dict[str, list[Rows]] = defaultdict(list)
    for changes in theatre.feed(seed, scale).steps(STEPS):
        theatre.step(changes)
        theatre.check()
        for view in theatre.views:
            held[view].append(+theatre.told[view])
    lively = [view for view, contents in held.items() if is_lively(contents)]
    assert len(lively) >= least, lively


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("theatre", [WITH_LATENESS], indirect=True)
def test_rows_that_come_too_late_are_in_no_view(theatre: Theatre, seed: int) -> None:
    for changes in theatre.feed(seed, 10, dress=in_time).steps(STEPS):
        theatre.step(changes)
        theatre.check()
    assert theatre.dropped


def is_lively(contents: list[Rows]) -> bool:
    """Tell whether a view has changed and held something more than NULL, zero and false."""
    found = {
        frozenset(rows.items()) for rows in contents if any(cell is not None for row in rows for cell in row)
    }
    return len(found) > 1

"""Queries of public benchmarks: their views hold what DuckDB alone finds in the same rows."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.engine.evaluation import Program, running
from tests.engine.programs.nexmark import NEXMARK
from tests.engine.programs.programs import Benchmark, near
from tests.engine.programs.tpch import TPCH

BENCHMARKS = {benchmark.name: benchmark for benchmark in (TPCH, NEXMARK)}
ENOUGH = 16


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Program]]:
    """Run each benchmark's program on random rows."""
    with running(TPCH.program) as tpch, running(NEXMARK.program) as nexmark:
        made = {"tpch": tpch, "nexmark": nexmark}
        for name, program in made.items():
            for table, given in BENCHMARKS[name].rows(Random(5), 30).items():
                program.insert(table, given)
        yield made


@pytest.mark.parametrize(
    ("benchmark", "query"),
    [pytest.param(b, query, id=f"{b.name} {query}") for b in BENCHMARKS.values() for query in b.queries],
)
def test_a_view_is_equal_to_the_plain_query(
    programs: dict[str, Program], benchmark: Benchmark, query: str
) -> None:
    program = programs[benchmark.name]
    expected = program.query(f"SELECT * FROM ({benchmark.in_duckdb(query)}) ORDER BY ALL")
    assert near(program.rows(query), expected, benchmark.slack.get(query, 0)), (
        program.rows(query)[:5],
        expected[:5],
    )


def test_most_queries_find_something(programs: dict[str, Program]) -> None:
    found = [
        query
        for name, program in programs.items()
        for query in BENCHMARKS[name].queries
        if any(cell is not None for row in program.rows(query) for cell in row)
    ]
    assert len(found) >= ENOUGH, found

"""Programs of public benchmarks: tables, views, and rows that a generator of random numbers makes.

The queries of a benchmark are views of one program over the same tables, so one run serves all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

Row = dict[str, Any]
MakeRows = Callable[[Random, int], dict[str, list[Row]]]
"""From chance and a scale to the rows of each table."""


CENT = 0.01
"""What an average of DECIMAL(…, 2) may differ from one in floating point, and a share from its digits."""
WHOLE = 1.0
"""The same for an average of integers, which is an integer."""


@dataclass(frozen=True)
class Benchmark:
    """Tables, queries by name, and how rows are made."""

    name: str
    tables: str
    queries: Mapping[str, str]
    rows: MakeRows
    plain: Mapping[str, str] = field(default_factory=dict)
    """DuckDB's own text of the queries that it writes otherwise."""
    slack: Mapping[str, float] = field(default_factory=dict)
    """Of the queries with an average or a quotient: what numbers may differ from DuckDB's own."""

    @property
    def program(self) -> str:
        """Return the whole program."""
        views = (f"CREATE MATERIALIZED VIEW {name} AS\n{sql};\n" for name, sql in self.queries.items())
        return self.tables + "\n" + "\n".join(views)

    def in_duckdb(self, name: str) -> str:
        """Return a query as DuckDB alone understands it."""
        return self.plain.get(name, self.queries[name])


def near(rows: Sequence[tuple[Any, ...]], others: Sequence[tuple[Any, ...]], slack: float) -> bool:
    """Tell whether rows are equal but for fractions of numbers."""
    if len(rows) != len(others):
        return False
    cells = [pair for row, other in zip(rows, others, strict=True) for pair in zip(row, other, strict=True)]
    return all(
        abs(float(left) - float(right)) <= slack
        if isinstance(right, float | Decimal) and left is not None
        else left == right
        for left, right in cells
    )

"""A step that is rehearsed under DuckDB's profiler and rolled back, which is what a circuit profile shows.

To profile the steps that really happen would slow all of them down, or make who asks wait for the next one.
So the step is made up: every table changes by rows that it has already, at most so many, and every maintained
view follows. No other step runs meanwhile, and nothing of it is kept.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import duckdb

from sluicegate.engine.applying import WEIGHT, Scratch, delta
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Plan
from sluicegate.engine.views.upkeep import Upkeep

ROWS = 1000
"""Rows by which a table changes."""


class Recorder:
    """Stands in for a connection: what it executes it profiles, for the view at hand."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._statements: list[dict[str, Any]] = []
        self.views: dict[str, list[dict[str, Any]]] = {}
        self.sql = connection.sql

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        """Run a statement under the profiler."""
        [(_, told)] = self._connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters).fetchall()
        self._statements.append({"sql": sql, "profile": json.loads(told)})
        return self._connection.execute("SELECT 1")  # rows written, of which the profile says more

    def close(self, view: str) -> None:
        """Put down what has been executed to a view."""
        self.views[view], self._statements = self._statements, []


def rehearse(connection: duckdb.DuckDBPyConnection, plan: Plan, upkeep: Upkeep) -> Mapping[str, Any]:
    """Return the profiled statements of each view that is maintained; runs in the writer's thread."""
    recorder = Recorder(connection)
    recording = cast(duckdb.DuckDBPyConnection, recorder)
    scratch = Scratch(recording)
    captured = {table.physical for table in plan.tables if upkeep.needs(table.physical)}
    connection.execute("BEGIN")
    try:
        for physical in captured:
            rows = f"SELECT *, CAST(1 AS BIGINT) AS {WEIGHT} FROM {quote(physical)} LIMIT {ROWS}"
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(delta(physical))} AS {rows}")
        copy = upkeep.over(recording, scratch, recorder.close)
        copy.maintain({table.physical for table in plan.tables}, captured, ticks=True)
    finally:
        connection.execute("ROLLBACK")
    return recorder.views

"""The database of a running pipeline: DuckDB, locked, with the plan's relations in it.

Writes go through one connection, one at a time; each query has a cursor of its own, which sees whole steps.
"""

import os
from pathlib import Path
from typing import Any

import duckdb

from sluicegate.engine.loading import STEPS, Loader
from sluicegate.engine.locked import SETTINGS, lock
from sluicegate.engine.plan import Plan

DEFAULT_MEMORY_MB = 2048
"""Where nothing is configured: DuckDB's own default, most of the machine, lets one pipeline starve all."""
HEADROOM = 0.8
"""Share of a configured limit that DuckDB may take; the rest is Python and requests in flight."""


class Database:
    """An open database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.loader = Loader(connection)

    @classmethod
    def open(cls, path: Path | None, temp: Path | None, runtime_config: dict[str, Any]) -> "Database":
        """Open a database file, or one in memory that spills nothing."""
        settings = {
            **SETTINGS,
            "memory_limit": f"{_memory_mb(runtime_config)}MB",
            "threads": _threads(runtime_config),
            "temp_directory": str(temp or ""),
        }
        connection = duckdb.connect(str(path or ":memory:"), config=settings)
        lock(connection)
        return cls(connection)

    def prepare(self, plan: Plan) -> None:
        """Make what is not there yet; a database that was cut short while it was made is completed."""
        run = self._connection.execute
        run("BEGIN")
        for relation in plan.relations:
            run(relation.ddl)
        run(f'CREATE TABLE IF NOT EXISTS "{STEPS}" (steps BIGINT, records BIGINT)')
        run(f'INSERT INTO "{STEPS}" SELECT 0, 0 WHERE NOT EXISTS (FROM "{STEPS}")')
        run("COMMIT")

    def progress(self) -> tuple[int, int]:
        """Return how many steps and records the database holds."""
        steps, records = (
            self._connection.cursor().execute(f'SELECT steps, records FROM "{STEPS}"').fetchall()[0]
        )
        return int(steps), int(records)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one query."""
        return self._connection.cursor()

    def interrupt(self) -> None:
        """Stop the write that is running."""
        self._connection.interrupt()

    def close(self) -> None:
        """Write everything to the database file and close it."""
        self._connection.close()

    def checkpoint_and_close(self) -> None:
        """Fold the write-ahead log into the file, so that the file alone is the database."""
        self._connection.execute("FORCE CHECKPOINT")
        self._connection.close()


def _memory_mb(runtime_config: dict[str, Any]) -> int:
    resources = runtime_config.get("resources") or {}
    configured = runtime_config.get("max_rss_mb") or resources.get("memory_mb_max")
    return max(64, int(configured * HEADROOM)) if configured else DEFAULT_MEMORY_MB


def _threads(runtime_config: dict[str, Any]) -> int:
    workers = int(runtime_config.get("workers") or 1)
    return max(1, min(workers, len(os.sched_getaffinity(0))))

"""The database of a running pipeline: DuckDB, locked, with the plan's relations in it.

Writes go through one connection, one at a time; each query has a cursor of its own, which sees whole steps.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from sluicegate.engine import states
from sluicegate.engine.clock import Clock
from sluicegate.engine.limits import memory_mb, temp_mb
from sluicegate.engine.locked import SETTINGS, lock
from sluicegate.engine.plan import Plan
from sluicegate.engine.stored import Stored
from sluicegate.engine.writer import Writer

if TYPE_CHECKING:
    from sluicegate.engine.opening import Migration

NEVER = "1000TB"
"""A size that no log reaches."""


class Database:
    """An open database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path | None = None) -> None:
        self._connection = connection
        self.writer = Writer(connection, None if path is None else path.with_name(f"{path.name}.wal"))

    @classmethod
    def open(cls, path: Path | None, temp: Path | None, runtime_config: dict[str, Any]) -> "Database":
        """Open a database file, or one in memory that spills nothing."""
        settings = {
            **SETTINGS,
            "memory_limit": f"{memory_mb(runtime_config)}MB",
            "threads": _threads(runtime_config),
            "temp_directory": str(temp or ""),
            "max_temp_directory_size": f"{temp_mb(runtime_config)}MB",
            # Never by itself: a checkpoint reads the file while steps go on. The writer does it; see `fold`.
            "wal_autocheckpoint": NEVER,
        }
        connection = duckdb.connect(str(path or ":memory:"), config=settings)
        lock(connection)
        return cls(connection, path)

    def prepare(
        self,
        plan: Plan,
        clock: Clock,
        program: Stored | None = None,
        migration: "Migration | None" = None,
    ) -> None:
        """Make what is not there yet, after what is there has been migrated."""
        self.writer.prepare(plan, clock, program, migration)

    def program(self) -> Stored | None:
        """Return the program that it is of; None where an earlier release has made it."""
        return states.program_of(self._connection)

    def progress(self) -> tuple[int, int]:
        """Return how many steps and records it holds."""
        return self.writer.stored_progress()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one query."""
        return self._connection.cursor()

    def close(self) -> None:
        """Write everything to the database file and close it; a query that does not heed its end, which can
        change nothing, keeps it open until then, and what is committed in the log."""
        self.writer.is_open = False
        with suppress(duckdb.ResourceInUseException):
            self._connection.close()

    def fold_and_close(self) -> None:
        """Fold the write-ahead log into the file, so that the file alone is the database."""
        self.writer.check_room()
        self._connection.execute("FORCE CHECKPOINT")
        self.close()


def _threads(runtime_config: dict[str, Any]) -> int:
    workers = int(runtime_config.get("workers") or 1)
    return max(1, min(workers, len(os.sched_getaffinity(0))))

"""What a query may use: time, memory, rows, and how many work at once.

From the runtime configuration of the pipeline: `datafusion_memory_mb`, and under `dev_tweaks`
`adhoc_query_timeout_secs`, `adhoc_query_max_rows`, `adhoc_queries_at_once`; docs/queries.md explains them.
"""

import os
import resource
from dataclasses import dataclass
from typing import Any

DEFAULT_MEMORY_MB = 2048
"""For DuckDB where nothing is configured: its own, most of the machine, lets one pipeline starve all."""
HEADROOM = 0.8
"""Share of a configured limit that DuckDB may take; the rest is Python and requests in flight."""
SHARE = 4
"""A query's part of DuckDB's memory is one in so many, unless it is configured."""
BESIDE_MB = 2048
"""Of the process beside DuckDB's own account: texts that functions make are not in it."""
TEMP_MB = 16_384
"""On disk for what does not fit into memory, unless storage_mb_max says less."""
TIMEOUT = 600.0
"""Seconds: long enough for a full scan of a large table to a slow reader, and bounded."""
AT_ONCE = 8
"""Queries that work at the same time; those whose reader is slow do not count."""
OPEN = 100
"""Queries that are open at the same time."""


@dataclass(frozen=True)
class Limits:
    """The limits of each query of a pipeline."""

    seconds: float
    memory_mb: int
    rows: int | None
    at_once: int

    @classmethod
    def of(cls, runtime_config: dict[str, Any]) -> "Limits":
        """Read them from a runtime configuration."""
        tweaks = runtime_config.get("dev_tweaks") or {}
        memory = runtime_config.get("datafusion_memory_mb") or memory_mb(runtime_config) // SHARE
        rows = tweaks.get("adhoc_query_max_rows")
        return cls(
            seconds=float(tweaks.get("adhoc_query_timeout_secs", TIMEOUT)),
            memory_mb=max(1, int(memory)),
            rows=None if rows is None else int(rows),
            at_once=max(1, int(tweaks.get("adhoc_queries_at_once", AT_ONCE))),
        )


def memory_mb(runtime_config: dict[str, Any]) -> int:
    """Return what DuckDB may take altogether."""
    resources = runtime_config.get("resources") or {}
    configured = runtime_config.get("max_rss_mb") or resources.get("memory_mb_max")
    return max(64, int(configured * HEADROOM)) if configured else DEFAULT_MEMORY_MB


def temp_mb(runtime_config: dict[str, Any]) -> int:
    """Return what DuckDB may put on disk beside the database."""
    resources = runtime_config.get("resources") or {}
    return min(TEMP_MB, int(resources.get("storage_mb_max") or TEMP_MB))


def tune() -> None:
    """Have DuckDB's allocator give back what it does not use, which would count against the bound of the
    process for ever; it must be said before DuckDB is imported."""
    os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "retain:false")


def confine(runtime_config: dict[str, Any]) -> None:
    """Bound the memory of this process, so that what DuckDB has no account of ends a query, not the machine.

    It is bounded as data: private writable pages. Where it is bounded closer already, that stays.
    """
    wanted = (memory_mb(runtime_config) + BESIDE_MB) << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in (soft, hard, wanted) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))

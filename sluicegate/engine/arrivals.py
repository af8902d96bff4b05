"""Arrivals: what comes in for a step, and what becomes of it."""

from dataclasses import dataclass
from typing import Any

from sluicegate.engine.batch import Batch, Errors, Rows
from sluicegate.engine.metrics import Endpoint
from sluicegate.engine.plan import Table


@dataclass
class Arrival:
    """What one request or one chunk of a connector brings; it goes whole into one step."""

    table: Table
    batch: Batch | Rows
    endpoint: Endpoint | None = None
    """Where it came in; None for an ad-hoc query."""
    offset: Any = None
    """The connector's position after it, as JSON; kept in the step's transaction."""
    size: int = 0
    """Bytes that it was read from."""
    acknowledged: bool = False
    """Whether its sender has been told already that it is taken, so that it must not get lost unnoticed."""


@dataclass(frozen=True)
class Taken:
    """What became of an arrival."""

    step: int
    records: int
    errors: Errors

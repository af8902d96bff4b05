"""Values of input in the words of an error."""

import json
from typing import Any

from sluicegate.engine.plan import Column

SHOWN = 100
"""Characters of a wrong value that an error repeats."""
TOO_DEEP = "a value that is nested too deeply"
"""Shown in place of one that Python can read but not write."""


def complaint(column: Column, value: Any, reason: str = "") -> str:
    """Say which value of which column is wrong."""
    shown = shorten(value)
    return f"error parsing field '{column.name}' of type {column.type}: {shown} {reason or 'is not valid'}"


def shorten(value: Any) -> str:
    """Return a value as JSON, cut where it is long."""
    if isinstance(value, str):
        value = value[: SHOWN + 1]
    try:
        shown = json.dumps(value, default=str)
    except RecursionError:
        return TOO_DEEP
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"

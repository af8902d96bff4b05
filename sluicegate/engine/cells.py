"""Columns of input: from JSON values to the text of one JSON array that DuckDB reads into a typed column.

A column whose values all have an expected JSON type is taken whole; only an odd one is looked at value by
value. What Python cannot judge cheaply (dates, decimals, nested values …) travels as text, and DuckDB's
TRY_CAST tells which of it is wrong.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sluicegate.engine.plan import Column

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN = 100
"""Characters of a wrong value that an error repeats."""
NOTHING = type(None)

BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}
RANGES = {
    **{name: (-(1 << bits - 1), (1 << bits - 1) - 1) for name, bits in BITS.items()},
    **{"U" + name: (0, (1 << bits) - 1) for name, bits in BITS.items()},
}
EXPECTED: dict[str, frozenset[type]] = {
    "boolean": frozenset({bool, NOTHING}),
    "integer": frozenset({int, NOTHING}),
    "float": frozenset({float, int, NOTHING}),
    "text": frozenset({str, NOTHING}),
    "decimal": frozenset({str, Decimal, int, NOTHING}),
    **{kind: frozenset({str, NOTHING}) for kind in ("date", "time", "timestamp", "uuid", "interval")},
}
LOADED_AS = {"boolean": "BOOLEAN", "float": "DOUBLE"}
"""How the JSON array is read; every other kind but integers is read as text."""
CAST = {
    "binary": "unhex({raw})",
    "variant": "TRY_CAST({raw} AS JSON)",
    "nested": "TRY(CAST(CAST({raw} AS JSON) AS {type}))",
    "boolean": "{raw}",
    "integer": "{raw}",
    "text": "{raw}",
}
JUDGED_HERE = {"boolean", "integer", "text", "binary", "variant"}


@dataclass(frozen=True)
class Cells:
    """One column of a batch: the array's text, or the values that are wrong by their index."""

    text: str
    wrong: dict[int, str]


def loaded_type(column: Column) -> str:
    """Return the DuckDB type as which the array is read."""
    return column.type if column.kind == "integer" else LOADED_AS.get(column.kind, "VARCHAR")


def cast(column: Column, raw: str) -> str:
    """Return the expression that makes a value of the column of what was read."""
    return CAST.get(column.kind, "TRY_CAST({raw} AS {type})").format(raw=raw, type=column.type)


def judged_by_duckdb(column: Column) -> bool:
    """Tell whether the cast may turn a value into NULL, which then is an error."""
    return column.kind not in JUDGED_HERE


def encode(column: Column, values: list[Any], *, required: bool, pandas: bool) -> Cells:
    """Encode the values of one column; `required` refuses NULL."""
    if _as_expected(column, values) and not (required and None in values):
        try:
            return Cells(_dump(values), {})
        except UnicodeEncodeError:
            pass  # a lone surrogate, found below
    read = _reader(column, pandas=pandas)
    wrong: dict[int, str] = {}
    encoded: list[Any] = []
    for index, value in enumerate(values):
        try:
            if value is None and required:
                raise ValueError("is NULL, but the column is NOT NULL")
            encoded.append(None if value is None else read(value))
        except ValueError as error:
            wrong[index] = complaint(column, value, str(error))
    return Cells("" if wrong else _dump(encoded), wrong)


def complaint(column: Column, value: Any, reason: str = "") -> str:
    """Say which value of which column is wrong."""
    shown = shorten(value)
    return f"error parsing field '{column.name}' of type {column.type}: {shown} {reason or 'is not valid'}"


def shorten(value: Any) -> str:
    """Return a value as JSON, cut where it is long."""
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"


def _as_expected(column: Column, values: list[Any]) -> bool:
    expected = EXPECTED.get(column.kind)
    if expected is None or not expected.issuperset(map(type, values)):
        return False
    present = [value for value in values if value is not None] if column.kind in ("integer", "float") else []
    if column.kind == "integer" and present:
        low, high = RANGES[column.type]
        return bool(low <= min(present) and max(present) <= high)
    try:
        return all(map(math.isfinite, present))
    except OverflowError:
        return False


def _dump(values: list[Any]) -> str:
    text = json.dumps(values, ensure_ascii=False, default=str)
    text.encode()
    return text


def _reader(column: Column, *, pandas: bool) -> Callable[[Any], Any]:
    if column.kind == "integer":
        low, high = RANGES[column.type]
        return lambda value: _integer(value, low, high)
    if pandas and column.kind in ("date", "timestamp"):
        return _moment
    return _READERS.get(column.kind, _text)


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("is not an integer")
    if not isinstance(value, int) and not float(value).is_integer():
        raise ValueError("is not an integer")
    if not low <= value <= high:
        raise ValueError(f"is not between {low} and {high}")
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def _decimal(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError("is not a number")
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("is not valid Unicode") from error
    return value


def _moment(value: Any) -> str:
    """Read a time as pandas writes it: milliseconds since the epoch."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is neither a string nor milliseconds since the epoch")
    try:
        return (EPOCH + timedelta(milliseconds=value)).replace(tzinfo=None).isoformat(" ")
    except (OverflowError, ValueError) as error:
        raise ValueError("is out of range") from error


def _binary(value: Any) -> str:
    if not isinstance(value, list):
        raise ValueError("is not an array of bytes")
    try:
        return bytes(value).hex()
    except (TypeError, ValueError) as error:
        raise ValueError("is not an array of bytes") from error


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=float, separators=(",", ":"))
    return _text(text)


_READERS: dict[str, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "float": _float,
    "decimal": _decimal,
    "binary": _binary,
    "variant": _json,
    "nested": _json,
}

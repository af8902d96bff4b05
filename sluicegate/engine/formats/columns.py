"""Columns of input: from JSON values to Arrow arrays.

A column whose values all have an expected JSON type is taken whole; only an odd one is looked at value by
value. What Python cannot judge cheaply (dates, decimals, nested values …) travels as text, and `casting` has
DuckDB tell which of it is wrong.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sluicegate.engine.formats import binaries
from sluicegate.engine.formats.flavors import FLAVORS, Flavor
from sluicegate.engine.plan import Column
from sluicegate.engine.values import complaint

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = {"decimal", "date", "timestamp"}
"""Kinds that Arrow reads from text as strictly as is needed."""
NOTHING = type(None)

BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}
RANGES = {
    **{name: (-(1 << bits - 1), (1 << bits - 1) - 1) for name, bits in BITS.items()},
    **{"U" + name: (0, (1 << bits) - 1) for name, bits in BITS.items()},
}
INTEGERS = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
}
ARROW = {"boolean": pa.bool_(), "float": pa.float64(), "binary": pa.binary()}
"""How values travel to DuckDB; integers by their type, every other kind as text."""

OWN = {
    "BOOLEAN": pa.bool_(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
}
DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")

EXPECTED: dict[str, frozenset[type]] = {
    "boolean": frozenset({bool, NOTHING}),
    "integer": frozenset({int, NOTHING}),
    "float": frozenset({float, NOTHING}),
    "text": frozenset({str, NOTHING}),
    "binary": frozenset({bytes, NOTHING}),  # of raw input; JSON has none
    "decimal": frozenset({str, NOTHING}),
    **{kind: frozenset({str, NOTHING}) for kind in ("date", "time", "timestamp", "uuid", "interval")},
}


@dataclass(frozen=True)
class Cells:
    """One column of a batch, and which of its values are wrong, by their index; these are NULL in it."""

    array: pa.Array
    wrong: dict[int, str]


def arrow_type(column: Column) -> pa.DataType:
    """Return the type in which a column's values travel to DuckDB."""
    return INTEGERS[column.type] if column.kind == "integer" else ARROW.get(column.kind, pa.string())


def own_type(column: Column) -> pa.DataType | None:
    """Return the Arrow type that is the column's own, where there is one that needs no cast."""
    if decimal := DECIMAL.fullmatch(column.type):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return INTEGERS.get(column.type, OWN.get(column.type))


def own(column: Column, array: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the column in its own type where Arrow can tell, which accepts less than DuckDB does."""
    kind = own_type(column)
    if kind is None or array.type == kind:
        return None if kind is None else array
    is_text = pa.types.is_string(array.type) and column.kind in TEXTS
    if not is_text and (kind, array.type) != (pa.float32(), pa.float64()):
        return None
    try:
        found = array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if pa.types.is_floating(kind):
        return found if pc.all(pc.is_finite(found)).as_py() is not False else None
    return None if before_christ(found) else found


def before_christ(array: pa.ChunkedArray) -> bool:
    """Tell whether there is a year 0, which Arrow takes and SQL does not have."""
    if not pa.types.is_temporal(array.type):
        return False
    return bool(pc.any(pc.less(pc.year(array), 1)).as_py())


def encode(column: Column, values: Sequence[Any], flavor: str = "default") -> Cells:
    """Encode the values of one column."""
    kind = arrow_type(column)
    if EXPECTED.get(column.kind, frozenset()).issuperset(map(type, values)):
        try:
            array = pa.array(values, kind)
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
            pass  # out of range, or a lone surrogate: found below
        else:
            if column.kind != "float" or all(map(math.isfinite, filter(None, values))):
                return Cells(array, {})
    read = _reader(column, flavor)
    wrong: dict[int, str] = {}
    encoded: list[Any] = []
    for index, value in enumerate(values):
        try:
            encoded.append(None if value is None else read(value))
        except (ValueError, RecursionError) as error:
            reason = "cannot be taken" if isinstance(error, RecursionError) else str(error)
            encoded.append(None)
            wrong[index] = complaint(column, value, reason)
    return Cells(pa.array(encoded, kind), wrong)


def plain(column: Column, value: Any) -> Any:
    """Return the one value of a default, which is always right."""
    return encode(column, [value]).array[0].as_py()


def _reader(column: Column, flavor: str) -> Callable[[Any], Any]:
    how = FLAVORS[flavor]
    if column.kind == "integer":
        low, high = RANGES[column.type]
        return lambda value: _integer(value, low, high)
    if column.kind == "binary":
        return lambda value: binaries.read(value, how.binary)
    if column.kind == "variant" and how.variant_is_text:
        return _variant_text
    unit = _unit(column, how)
    if unit is not None:
        return lambda value: _moment(value, unit, column.kind)
    return _READERS.get(column.kind, _text)


def _unit(column: Column, how: Flavor) -> int | None:
    """Return what a number in this column counts, in microseconds."""
    return {"date": how.date, "time": how.time, "timestamp": how.timestamp}.get(column.kind)


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
    return _text(str(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("is not valid Unicode") from error
    return value


def _moment(value: Any, unit: int, kind: str) -> str:
    """Read a date or a time that may be a number of something since the epoch or midnight."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("is neither a string nor a number")
    try:
        moment = EPOCH + timedelta(
            microseconds=value * unit if isinstance(value, int) else float(value) * unit
        )
    except (OverflowError, ValueError, TypeError) as error:
        raise ValueError("is out of range") from error
    if kind == "time":
        if moment.date() != EPOCH.date():
            raise ValueError("is not within a day")
        return str(moment.time())
    return str(moment.date() if kind == "date" else moment.replace(tzinfo=None))


def _json(value: Any) -> str:
    return _text(json.dumps(value, ensure_ascii=False, default=float, separators=(",", ":")))


def _variant_text(value: Any) -> str:
    if not isinstance(value, str):
        return _json(value)
    try:
        json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON in a string") from error
    return _text(value)


def _no_constant(name: str) -> float:
    raise ValueError(name)


_READERS: dict[str, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "float": _float,
    "decimal": _decimal,
    "variant": _json,
    "nested": _json,
}

"""Soundness: finds values of Arrow that are not what their type says, or that SQL does not have.

Who reads a file does not look at its values: text may be no UTF-8, a time longer than a day, a decimal wider
than its precision. DuckDB trusts what it is shown, and would fail in the middle of a step.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31, since the epoch; see `casting.YEARS`."""
SECONDS = 86_400
TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000}
"""In a second; those of nanoseconds do not reach beyond the years."""


def unsound(values: pa.ChunkedArray) -> list[int]:
    """Return the places of the values that are wrong."""
    found: list[int] = []
    first = 0
    for chunk in values.chunks:
        found += [first + place for place in _unsound(chunk)]
        first += len(chunk)
    return found


def shown(values: pa.ChunkedArray, place: int) -> Any:
    """Return a value as an error shows it, also one that Python does not have."""
    try:
        if not pa.types.is_time(values.type):  # which Python would take for a time of the next day
            return values[place].as_py()
    except (ValueError, OverflowError):
        pass
    return values.slice(place, 1).combine_chunks().to_string(skip_new_lines=True)[1:-1].strip('"')


def _unsound(chunk: pa.Array) -> list[int]:
    years = _years(chunk.type)
    beyond = _beyond(chunk, *years) if years else []
    return sorted({*beyond, *_invalid(chunk)})


def _years(kind: pa.DataType) -> tuple[int, int] | None:
    """Return the least and the greatest number that dates or timestamps may be; None of other types."""
    ticks = _ticks_of_a_day(kind)
    return (FIRST_DAY * ticks, (LAST_DAY + 1) * ticks - 1) if ticks else None


def _ticks_of_a_day(kind: pa.DataType) -> int | None:
    """Return in how many parts a type of dates or timestamps counts a day; None of other types."""
    if pa.types.is_date32(kind):
        return 1
    if pa.types.is_date64(kind):
        return SECONDS * TICKS["ms"]
    return SECONDS * TICKS[kind.unit] if pa.types.is_timestamp(kind) and kind.unit in TICKS else None


def _beyond(chunk: pa.Array, low: int, high: int) -> list[int]:
    numbers = _numbers(chunk)
    if _lie_within(numbers, low, high):
        return []
    return _places(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))


def _numbers(moments: pa.Array) -> pa.Array:
    return moments.view(pa.int32() if moments.type.bit_width == pa.int32().bit_width else pa.int64())


def _lie_within(numbers: pa.Array, low: int, high: int) -> bool:
    found = pc.min_max(numbers).as_py()
    return found["min"] is None or (low <= found["min"] and found["max"] <= high)


def _places(mask: pa.Array) -> list[int]:
    return list(pc.indices_nonzero(mask).to_pylist())


def _invalid(values: pa.Array, first: int = 0) -> Iterator[int]:
    """Yield the places of what is not sound, by halving."""
    if _is_sound(values):
        return
    if len(values) == 1:
        yield first
        return
    half = len(values) // 2
    yield from _invalid(_part(values, 0, half), first)
    yield from _invalid(_part(values, half, len(values)), first + half)


def _is_sound(values: pa.Array) -> bool:
    """Tell whether Arrow finds nothing wrong, nor a moment beyond the years inside what is nested."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return all(map(_has_years, _nested(values)))


def _has_years(values: pa.Array) -> bool:
    """Tell whether all moments are within the years, at whatever depth; DuckDB does not survive some that
    are not, if they are nested."""
    years = _years(values.type)
    return (years is None or _lie_within(_numbers(values), *years)) and all(map(_has_years, _nested(values)))


def _nested(values: pa.Array) -> list[pa.Array]:
    """Return the arrays of which a nested one consists."""
    if pa.types.is_dictionary(values.type):
        return [values.dictionary]
    if not pa.types.is_nested(values.type):
        return []
    if pa.types.is_map(values.type):
        return [values.keys, values.items]
    return list(values.flatten()) if pa.types.is_struct(values.type) else [values.flatten()]


def _part(values: pa.Array, start: int, end: int) -> pa.Array:
    """Cut a part out; a slice of what is nested would be judged by all that its parent holds."""
    if pa.types.is_nested(values.type):
        return values.take(pa.array(range(start, end), pa.int64()))
    return values.slice(start, end - start)

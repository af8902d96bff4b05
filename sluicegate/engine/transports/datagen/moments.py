"""Expressions of dates and times, which are computed as days or milliseconds."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

from sluicegate.engine.transports.datagen.draws import At, number
from sluicegate.engine.transports.datagen.settings import Field
from sluicegate.engine.transports.datagen.shapes import Shape
from sluicegate.engine.transports.protocol import BadConfig

EPOCH = date(1970, 1, 1)
DAYS = 54_787
"""Days of which dates are made where no range is given, as the reference has it."""
DAY = 24 * 60 * 60 * 1000
CENTURY = 4_102_444_800_000
"""Milliseconds from 1970 to 2100."""
LAST_DAY = 2_932_896
"""Days from 1970 to the end of year 9999."""


def day(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a DATE."""
    low, high = _span(field, (0, DAYS), _days)
    _check(field, (low, high), LAST_DAY)
    return f"(DATE '1970-01-01' + CAST({_offset(field, at, (low, high))} AS INTEGER))"


def clock(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a TIME; a day later it is the same time."""
    low, high = _span(field, (0, DAY), _milliseconds_of_day)
    if low < 0:
        raise BadConfig(f"{field.where} has a range of times that begins before midnight")
    offset = at.rank(high - low, field.exponent) if field.strategy == "zipf" else None
    found = offset or _offset(field, at, (low, high))
    return f"CAST(make_timestamp(CAST((({found} % {DAY}) + {DAY}) % {DAY} * 1000 AS BIGINT)) AS TIME)"


def timestamp(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a TIMESTAMP, with or without time zone."""
    low, high = _span(field, (0, CENTURY), _milliseconds)
    _check(field, (low, high), LAST_DAY * DAY)
    return f"make_timestamp(CAST({_offset(field, at, (low, high))} * 1000 AS BIGINT))"


def _offset(field: Field, at: At, bounds: tuple[int, int]) -> str:
    low, high = bounds
    if field.strategy == "increment":
        return f"({number(low)} + {at.scaled(field.factor, high - low)})"
    if field.strategy == "zipf":
        return f"({number(low)} + {at.rank(high - low, field.exponent)})"
    return f"({at.between(low, high)} * {number(field.factor)})"


def _span(field: Field, default: tuple[int, int], read: Callable[[str], int]) -> tuple[int, int]:
    if field.range is None:
        return default
    kinds = {type(bound) for bound in field.range}
    try:
        low, high = map(read, field.range) if kinds == {str} else field.range
    except ValueError as error:
        raise BadConfig(f"{field.where} has the range {field.range}: {error}") from error
    if kinds not in ({str}, {int}):
        raise BadConfig(f"{field.where} has a range that is neither of two strings nor of two integers")
    if low >= high:
        raise BadConfig(f"{field.where} has the range {field.range}, whose begin is not before its end")
    return low, high


def _check(field: Field, bounds: tuple[int, int], most: int) -> None:
    factor = field.factor if field.strategy == "uniform" else 1
    if max(map(abs, bounds)) * abs(factor) > most:
        raise BadConfig(f"{field.where} has a range and a scale that lead beyond the year 9999")


def _days(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def _milliseconds_of_day(text: str) -> int:
    found = time.fromisoformat(text)
    return ((found.hour * 60 + found.minute) * 60 + found.second) * 1000 + found.microsecond // 1000


def _milliseconds(text: str) -> int:
    found = datetime.fromisoformat(text)
    moment = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)

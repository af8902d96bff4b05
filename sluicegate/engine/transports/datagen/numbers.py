"""Expressions of numbers and Booleans."""

from decimal import Decimal, InvalidOperation
from typing import Any

from sluicegate.engine.transports.datagen.draws import LARGEST, At, number
from sluicegate.engine.transports.datagen.settings import Field
from sluicegate.engine.transports.datagen.shapes import Shape
from sluicegate.engine.transports.protocol import BadConfig

DIGITS = 38
"""Decimal digits that are computed with."""
FLOATS = {"FLOAT": 3.4028234663852886e38, "DOUBLE": 1.7976931348623157e308}
RANKS = 1 << 53
"""Ranks that a draw tells apart."""


def boolean(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a BOOLEAN."""
    if field.strategy == "increment":
        return f"({at.index} % 2 = 1)"
    return f"({at.below(2) if field.strategy == 'uniform' else at.rank(2, field.exponent)} = 0)"


def integer(field: Field, shape: Shape, at: At) -> str:
    """Return the expression of an integer."""
    span = field.range
    if span is not None and not all(map(_is_integer, span)):
        raise BadConfig(f"{field.where} has a range that is not of integers")
    low, high = span or (shape.low, shape.high + 1)
    if low > high:
        raise BadConfig(f"{field.where} has the range [{low}, {high}], whose begin is after its end")
    if not (shape.low <= low and high <= shape.high + 1):
        raise BadConfig(f"{field.where} has the range [{low}, {high}], which does not fit {shape.type}")
    if field.strategy == "increment":
        if span is None:
            return at.scaled(field.factor, shape.high)
        return f"({number(low)} + {at.scaled(field.factor, high - low)})"
    if field.strategy == "zipf":
        ranks = min(high - low if span else shape.high, RANKS)
        return f"({number(low if span else 0)} + {at.rank(ranks, field.exponent)})"
    drawn = at.between(low, high)
    return drawn if field.factor == 1 else f"(({drawn} * {number(field.factor)}) % {number(shape.high)})"


def floating(field: Field, shape: Shape, at: At) -> str:
    """Return the expression of a REAL or DOUBLE."""
    span = field.range
    if span is not None and not all(_is_number(bound) for bound in span):
        raise BadConfig(f"{field.where} has a range that is not of numbers")
    largest = FLOATS[shape.type]
    low, high = (float(bound) for bound in span or (-largest, largest))
    if low > high:
        raise BadConfig(f"{field.where} has the range [{low}, {high}], whose begin is after its end")
    product = f"(CAST({at.index} AS DOUBLE) * {field.factor})"
    if field.strategy == "increment":
        wide = high - low or 1.0
        return product if span is None else f"({_float(low)} + fmod({product}, {_float(wide)}))"
    if field.strategy == "zipf":
        ranks = min(int(high - low), RANKS) if span else RANKS
        return f"({number(int(low) if span else 0)} + {at.rank(ranks, field.exponent)})"
    drawn = f"({_float(low)} * (1 - {at.fraction()}) + {_float(high)} * {at.fraction()})"
    scaled = drawn if field.factor == 1 else f"({drawn} * {field.factor})"
    return f"greatest(least({scaled}, {_float(largest)}), {_float(-largest)})"


def decimal(field: Field, shape: Shape, at: At) -> str:
    """Return the expression of a DECIMAL: computed as its digits, without the point."""
    unit, largest = 10**shape.scale, 10**shape.precision - 1
    low, high = (-largest, largest) if field.range is None else _digits(field, field.range, unit)
    if low > high:
        raise BadConfig(f"{field.where} has the range {field.range}, whose begin is after its end")
    if max(abs(low), abs(high)) > largest + 1:
        raise BadConfig(f"{field.where} has the range {field.range}, which does not fit {shape.type}")
    if field.strategy == "zipf":
        ranks = (high if field.range is None else high - low) // unit
        if not 0 <= ranks < 1 << 64:
            raise BadConfig(f"{field.where} has more ranks than 64 bits count; give it a smaller range")
        start = 0 if field.range is None else low
        digits = f"({number(start)} + {at.rank(min(ranks, RANKS), field.exponent)} * {number(unit)})"
        return _pointed(digits, shape.scale)
    if field.strategy == "increment":
        # Kept where its digits, too, can be computed with.
        index = f"({at.scaled(field.factor)} % {number(10 ** (DIGITS - shape.scale))})"
        wrapped = f"(({index} * {number(unit)}) % {number(max(high - low, 1))})"
        start = 0 if field.range is None else low
        return _pointed(f"({number(start)} + {wrapped})", shape.scale)
    return _drawn(field, shape, at, (low, high))


def _drawn(field: Field, shape: Shape, at: At, bounds: tuple[int, int]) -> str:
    """Draw the digits; a scale says how many of them come after the point."""
    low, high = bounds
    places = shape.scale if field.scale is None else field.scale
    if not 0 <= places <= DIGITS:
        raise BadConfig(f"{field.where} has the scale {places}: for DECIMAL it is 0 to {DIGITS} places")
    if max(abs(low), abs(high)) > 10 ** (shape.precision - shape.scale + places):
        raise BadConfig(f"{field.where} draws numbers that do not fit {shape.type}")
    return _pointed(at.between(low, high), places)


def _digits(field: Field, span: list[Any], unit: int) -> tuple[int, int]:
    try:
        low, high = (Decimal(str(bound)) * unit for bound in span if not isinstance(bound, bool))
        return int(low), int(high)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise BadConfig(f"{field.where} has a range that is not of decimal numbers") from error


def _pointed(digits: str, places: int) -> str:
    """Return digits with the point before the last places, as text."""
    if not places:
        return f"CAST({digits} AS VARCHAR)"
    unit = number(10**places)
    whole = f"CAST(abs({digits}) // {unit} AS VARCHAR)"
    rest = f"lpad(CAST(abs({digits}) % {unit} AS VARCHAR), {places}, '0')"
    return f"(CASE WHEN {digits} < 0 THEN '-' ELSE '' END || {whole} || '.' || {rest})"


def _float(value: float) -> str:
    return f"CAST({value!r} AS DOUBLE)"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FLOATS["DOUBLE"]

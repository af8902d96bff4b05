"""Expressions of texts, UUIDs and what has a length."""

from typing import Any
from uuid import UUID

from sluicegate.engine.transports.datagen.draws import At, number, text
from sluicegate.engine.transports.datagen.settings import Field
from sluicegate.engine.transports.datagen.shapes import Shape
from sluicegate.engine.transports.protocol import BadConfig

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
LENGTHS = {"text": (0, 25), "list": (0, 5), "blob": (0, 5)}
LONGEST = 1 << 20
IDS = 1 << 128


def varchar(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a text of letters and digits."""
    if field.strategy == "increment":
        length(field, "text", at)
        return f"CAST({at.scaled(field.factor)} AS VARCHAR)"
    long = length(field, "text", at)
    element = at.element()
    letter = f"{text(ALPHABET)}[1 + CAST({element.below(len(ALPHABET))} AS INTEGER)]"
    return f"array_to_string([{letter} FOR {element.index} IN range({long})], '')"


def length(field: Field, family: str, at: At) -> str:
    """Return the expression of a length."""
    low, high = bounds(field, family)
    if field.strategy == "zipf":
        found = f"({number(low)} + {at.rank(high - low, field.exponent)})"
    elif field.strategy == "uniform" or family == "text":
        drawn = f"({number(low)} + {at.below(high - low, 'length')})"
        found = drawn if family == "text" else f"({drawn} * {number(field.factor)})"
    else:
        found = f"({number(low)} + {at.scaled(field.factor, high - low)})"
    return f"CAST({found} AS BIGINT)"


def bounds(field: Field, family: str) -> tuple[int, int]:
    """Return the least length and the one after the largest; raises BadConfig."""
    span: Any = field.range or LENGTHS[family]
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in span):
        raise BadConfig(f"{field.where} has a range that is not of integers")
    low, high = span
    if low < 0 or low >= high:
        raise BadConfig(f"{field.where} has the range {span}: a length has 0 <= begin < end")
    if high * max(1, abs(field.factor if family != "text" else 1)) > LONGEST:
        raise BadConfig(f"{field.where} has a range of lengths beyond {LONGEST}")
    return low, high


def uuid(field: Field, _: Shape, at: At) -> str:
    """Return the expression of a UUID, which is computed as two halves of its number."""
    low, high = _ids(field)
    if field.strategy == "zipf":
        raise BadConfig(f"{field.where} has the strategy zipf, for which a UUID needs 'values'")
    if field.factor < 0:
        raise BadConfig(f"{field.where} has a negative scale, which a UUID cannot have")
    span = max(high - low, 1)
    if field.strategy == "increment":
        found = f"CAST({at.scaled(field.factor)} AS UHUGEINT)"
    else:
        found = f"(CAST({at.draw()} AS UHUGEINT) * {1 << 64} + {at.draw('+')})"
    if span < IDS:
        found = f"(CAST('{low}' AS UHUGEINT) + {found} % CAST('{span}' AS UHUGEINT))"
    half = f"CAST('{1 << 64}' AS UHUGEINT)"
    digits = "".join(f" || lpad(hex(CAST({found} {op} {half} AS UBIGINT)), 16, '0')" for op in ("//", "%"))
    return f"('' {digits})"


def _ids(field: Field) -> tuple[int, int]:
    if field.range is None:
        return 0, IDS
    try:
        low, high = (UUID(bound).int for bound in field.range)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadConfig(f"{field.where} has a range that is not of UUIDs, which are strings") from error
    if low > high:
        raise BadConfig(f"{field.where} has a range of UUIDs whose begin is after its end")
    return low, high

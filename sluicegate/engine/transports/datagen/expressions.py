"""From a field and the shape of its values to an expression of DuckDB, for one chunk of rows at once.

The expression may use `n`, the index of the row, `s`, a number drawn from the seed for that row, and the
columns of words that it asked for.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sluicegate.engine.identifiers import quote
from sluicegate.engine.transports.datagen import moments, numbers, texts
from sluicegate.engine.transports.datagen.draws import NUMBER, At, text
from sluicegate.engine.transports.datagen.settings import GENERAL, Field
from sluicegate.engine.transports.datagen.shapes import Shape
from sluicegate.engine.transports.datagen.words import Words, words
from sluicegate.engine.transports.protocol import BadConfig

MAKERS: dict[str, Callable[[Field, Shape, At], str]] = {
    "boolean": numbers.boolean,
    "integer": numbers.integer,
    "float": numbers.floating,
    "decimal": numbers.decimal,
    "text": texts.varchar,
    "date": moments.day,
    "time": moments.clock,
    "timestamp": moments.timestamp,
    "uuid": texts.uuid,
}
NUMBERS, STRINGS = "numbers", "strings"
LISTED = {
    "integer": NUMBERS,
    "text": STRINGS,
    "date": STRINGS,
    "time": STRINGS,
    "timestamp": STRINGS,
    "uuid": STRINGS,
    "list": "arrays",
    "blob": "arrays",
}
"""What the `values` of a family have to be, where it is checked."""
KINDS: dict[str, type | tuple[type, ...]] = {NUMBERS: (int, float), STRINGS: str, "arrays": list}


class Expressions:
    """Makes the expressions of one plan, and collects the words that they need."""

    def __init__(self) -> None:
        self.words: dict[str, Words] = {}
        """Columns of words by their names."""

    def value(self, field: Field, shape: Shape, at: At, *, lists: int | None = None) -> str:
        """Return the expression of a value; `lists` is the longest that a list around it may be."""
        made = self._made(field, shape, at, lists)
        typed = f"CAST({made} AS {shape.type})"
        if not _drops(field, shape):
            return typed
        return f"CASE WHEN 1 + {at.below(100, 'null')} <= {field.null_percentage} THEN NULL ELSE {typed} END"

    def _made(self, field: Field, shape: Shape, at: At, lists: int | None) -> str:
        if field.strategy not in GENERAL and shape.family != "text":
            raise BadConfig(
                f"{field.where} has an invalid strategy: '{field.strategy}' makes texts, "
                f"but the type is {shape.type}"
            )
        if field.values is not None:
            return _listed(field, field.values, shape, at)
        if field.strategy not in GENERAL:
            return self._words(field, at, lists)
        match shape.family:
            case "null":
                return "NULL"
            case "map":
                return "MAP {}"
            case "struct":
                return self._struct(field, shape, at)
            case "list" | "blob":
                return self._list(field, shape, at, lists)
        return MAKERS[shape.family](field, shape, at)

    def _struct(self, field: Field, shape: Shape, at: At) -> str:
        given = matched(field.where, field.fields, {name: name.lower() == name for name in shape.fields})
        parts = (
            f"{quote(name)} := {self.value(given.get(name, Field(field.where)), part, at.field(name))}"
            for name, part in shape.fields.items()
        )
        return f"struct_pack({', '.join(parts)})"

    def _list(self, field: Field, shape: Shape, at: At, lists: int | None) -> str:
        assert shape.part is not None
        longest = (texts.bounds(field, shape.family)[1] - 1) * max(1, abs(field.factor))
        element = at.element()
        inner = field.value or Field(field.where)
        if lists is not None and inner.strategy not in GENERAL:
            raise BadConfig(f"{field.where} has the strategy '{inner.strategy}' in a list of lists")
        part = self.value(inner, shape.part, element, lists=longest)
        if shape.family == "blob":
            part = f"lpad(hex({part}), 2, '0')"
        made = f"[{part} FOR {element.index} IN range({texts.length(field, shape.family, at)})]"
        return f"unhex(array_to_string({made}, ''))" if shape.family == "blob" else made

    def _words(self, field: Field, at: At, lists: int | None) -> str:
        name = f"w{len(self.words)}"
        self.words[name] = words(field.where, field.strategy, at.path, field.range, lists)
        return name if lists is None else f"{name}[CAST({at.index} + 1 AS BIGINT)]"


def may_be_null(field: Field, shape: Shape) -> bool:
    """Tell whether some value of a field is NULL."""
    if field.values is not None:
        return _drops(field, shape) or None in field.values
    return _drops(field, shape) or shape.family == "null"


def _drops(field: Field, shape: Shape) -> bool:
    """Tell whether a share of the values is made NULL; times never are, as the reference has it."""
    return field.null_percentage > 0 and shape.family != "time"


def matched(where: str, given: Mapping[str, Field], names: Mapping[str, bool]) -> dict[str, Field]:
    """Return fields by the exact names of columns; `names` tells which of those match in any case."""
    folded = {name.lower(): name for name, folds in names.items() if folds}
    found = {}
    for name, field in given.items():
        exact = name if name in names else folded.get(name.lower())
        if exact is None:
            raise BadConfig(f"{where} has the unknown field '{name}'; there are {', '.join(names)}")
        found[exact] = field
    return found


def _listed(field: Field, values: list[Any], shape: Shape, at: At) -> str:
    expected = LISTED.get(shape.family)
    for value in values:
        if expected and not _is_listed(value, expected, shape.family):
            raise BadConfig(
                f"{field.where} has {json.dumps(value)} among its values; {shape.type} wants {expected}"
            )
    several = f"CAST([{', '.join(_literal(value, shape) for value in values)}] AS {shape.type}[])"
    if field.strategy == "increment":
        place = f"(CAST({at.index} AS {NUMBER}) % {len(values)})"
    elif field.strategy == "zipf":
        place = at.rank(len(values), field.exponent)
    else:
        place = at.below(len(values))
    return f"{several}[CAST({place} + 1 AS BIGINT)]"


def _is_listed(value: Any, expected: str, family: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, KINDS[expected]):
        return False
    if family == "uuid":
        try:
            UUID(str(value))
        except ValueError:
            return False
    return True


def _literal(value: Any, shape: Shape) -> str:
    if value is None:
        return "NULL"
    if shape.family == "blob":
        return f"unhex({text(bytes(value).hex())})"
    if isinstance(value, str):
        return text(value)
    encoded = text(json.dumps(value))
    return f"CAST({encoded} AS JSON)" if isinstance(value, list | dict) else encoded

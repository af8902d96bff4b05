"""The shape of a value: its DuckDB type and what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SIGNED = {"tinyint": 8, "smallint": 16, "integer": 32, "bigint": 64}
UNSIGNED = {"utinyint": 8, "usmallint": 16, "uinteger": 32, "ubigint": 64}


@dataclass(frozen=True)
class Shape:
    """What a value is made of."""

    family: str
    """integer, float, decimal, boolean, text, date, time, timestamp, uuid, list, blob, map, struct, null."""
    type: str
    low: int = 0
    high: int = 0
    """The least and the largest value of an integer."""
    precision: int = 0
    scale: int = 0
    part: "Shape | None" = None
    """What a list or a BLOB has in it."""
    fields: Mapping[str, "Shape"] = field(default_factory=dict)


BYTE = Shape("integer", "UTINYINT", 0, 255)
FAMILIES = {
    "boolean": "boolean",
    "float": "float",
    "double": "float",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamp",
    "uuid": "uuid",
    "varchar": "text",
    "map": "map",
}


def shape(kind: Any) -> Shape:
    """Return the shape of a DuckDB type, as its Python client describes it."""
    name, text = str(kind.id), str(kind)
    if name in SIGNED:
        half = 1 << (SIGNED[name] - 1)
        return Shape("integer", text, -half, half - 1)
    if name in UNSIGNED:
        return Shape("integer", text, 0, (1 << UNSIGNED[name]) - 1)
    if text == "JSON":
        return Shape("null", text)
    return _composed(kind, name, text)


def _composed(kind: Any, name: str, text: str) -> Shape:
    match name:
        case "decimal":
            sizes = dict(kind.children)
            return Shape("decimal", text, precision=sizes["precision"], scale=sizes["scale"])
        case "list":
            return Shape("list", text, part=shape(kind.children[0][1]))
        case "blob":
            return Shape("blob", text, part=BYTE)
        case "struct":
            return Shape("struct", text, fields={part: shape(inner) for part, inner in kind.children})
    return Shape(FAMILIES.get(name, "null"), text)

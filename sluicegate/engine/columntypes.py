"""Types: from a parsed type to DuckDB's word for it, to the wire's description, and to how ingress reads."""

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from sluicegate.engine.identifiers import quote

Type = exp.DataType.Type
Resolve = Callable[[str], exp.DataType | None]
"""Finds a type that the program made with CREATE TYPE."""

MAX_PRECISION = 38
"""DuckDB's widest DECIMAL; a DECIMAL without precision is this wide and has no fraction."""
MICROSECONDS = 6
"""Fractional digits that TIME and TIMESTAMP keep."""

SIMPLE: dict[Any, tuple[str, str, str]] = {
    # parsed type: (DuckDB, wire, kind)
    Type.BOOLEAN: ("BOOLEAN", "BOOLEAN", "boolean"),
    Type.TINYINT: ("TINYINT", "TINYINT", "integer"),
    Type.SMALLINT: ("SMALLINT", "SMALLINT", "integer"),
    Type.INT: ("INTEGER", "INTEGER", "integer"),
    Type.BIGINT: ("BIGINT", "BIGINT", "integer"),
    Type.UTINYINT: ("UTINYINT", "UTINYINT", "integer"),
    Type.USMALLINT: ("USMALLINT", "USMALLINT", "integer"),
    Type.UINT: ("UINTEGER", "UINTEGER", "integer"),
    Type.UBIGINT: ("UBIGINT", "UBIGINT", "integer"),
    Type.FLOAT: ("FLOAT", "REAL", "float"),
    Type.DOUBLE: ("DOUBLE", "DOUBLE", "float"),
    Type.DECIMAL: ("DECIMAL", "DECIMAL", "decimal"),
    Type.CHAR: ("VARCHAR", "CHAR", "text"),
    Type.NCHAR: ("VARCHAR", "CHAR", "text"),
    Type.VARCHAR: ("VARCHAR", "VARCHAR", "text"),
    Type.NVARCHAR: ("VARCHAR", "VARCHAR", "text"),
    Type.TEXT: ("VARCHAR", "VARCHAR", "text"),
    Type.BINARY: ("BLOB", "BINARY", "binary"),
    Type.VARBINARY: ("BLOB", "VARBINARY", "binary"),
    Type.DATE: ("DATE", "DATE", "date"),
    Type.TIME: ("TIME", "TIME", "time"),
    Type.TIMESTAMP: ("TIMESTAMP", "TIMESTAMP", "timestamp"),
    Type.TIMESTAMPNTZ: ("TIMESTAMP", "TIMESTAMP", "timestamp"),
    Type.TIMESTAMPTZ: ("TIMESTAMPTZ", "TIMESTAMP_TZ", "timestamp"),
    Type.UUID: ("UUID", "UUID", "uuid"),
    Type.JSON: ("JSON", "VARIANT", "variant"),
    Type.VARIANT: ("JSON", "VARIANT", "variant"),
    Type.NULL: ("INTEGER", "NULL", "integer"),
    Type.INTERVAL: ("INTERVAL", "INTERVAL_DAY_SECOND", "interval"),
}
SIZED = {"CHAR", "VARCHAR", "BINARY", "VARBINARY"}
CLOCKS = {"TIME", "TIMESTAMP", "TIMESTAMP_TZ"}


class UnknownType(Exception):
    """A type that the engine does not have."""


def no_user_types(name: str) -> None:
    """Find no type, where a program's own types cannot occur."""


def expand(kind: exp.DataType | exp.Interval, resolve: Resolve) -> exp.DataType:
    """Return the type with the names of user types replaced by what they stand for."""
    if isinstance(kind, exp.Interval) or isinstance(kind.this, exp.Interval):
        return exp.DataType(this=Type.INTERVAL)
    if kind.this != Type.USERDEFINED:
        return kind
    name = str(kind.args.get("kind") or "").strip('"')
    found = resolve(name)
    if found is None:
        raise UnknownType(f"Type '{name}' not found")
    return found


def to_duckdb(kind: exp.DataType, resolve: Resolve) -> str:
    """Return DuckDB's text for a type."""
    kind = expand(kind, resolve)
    if kind.this in (Type.ARRAY, Type.LIST):
        return to_duckdb(_component(kind), resolve) + "[]"
    if kind.this == Type.MAP:
        key, value = kind.expressions
        return f"MAP({to_duckdb(key, resolve)}, {to_duckdb(value, resolve)})"
    if kind.this == Type.STRUCT:
        fields = (f"{quote(name.name)} {to_duckdb(part, resolve)}" for name, part in _fields(kind))
        return f"STRUCT({', '.join(fields)})"
    if kind.this == Type.DECIMAL:
        precision, scale = _decimal(kind)
        return f"DECIMAL({precision},{scale})"
    return _simple(kind)[0]


def to_wire(kind: exp.DataType, resolve: Resolve, *, nullable: bool = True) -> dict[str, Any]:
    """Return the description of a type that clients read."""
    kind = expand(kind, resolve)
    if kind.this in (Type.ARRAY, Type.LIST):
        component = to_wire(_component(kind), resolve)
        return {"type": "ARRAY", "nullable": nullable, "component": component}
    if kind.this == Type.MAP:
        key, value = (to_wire(part, resolve) for part in kind.expressions)
        return {"type": "MAP", "nullable": nullable, "key": key, "value": value}
    if kind.this == Type.STRUCT:
        fields = [
            {
                "name": name.name,
                "case_sensitive": bool(name.args.get("quoted")),
                "columntype": to_wire(part, resolve),
            }
            for name, part in _fields(kind)
        ]
        return {"type": "STRUCT", "nullable": nullable, "fields": fields}
    word = _simple(kind)[1]
    return {"type": word, "nullable": nullable, **_sizes(kind, word)}


def to_kind(kind: exp.DataType, resolve: Resolve) -> str:
    """Return how ingress reads values of a type."""
    kind = expand(kind, resolve)
    if kind.this in (Type.ARRAY, Type.LIST, Type.MAP, Type.STRUCT):
        return "nested"
    return _simple(kind)[2]


def _simple(kind: exp.DataType) -> tuple[str, str, str]:
    if kind.this not in SIMPLE:
        raise UnknownType(f"Type '{kind.sql(dialect='duckdb')}' is not supported")
    return SIMPLE[kind.this]


def _sizes(kind: exp.DataType, word: str) -> dict[str, int]:
    if word == "DECIMAL":
        precision, scale = _decimal(kind)
        return {"precision": precision, "scale": scale}
    if word in SIZED:
        numbers = _numbers(kind)
        return {"precision": numbers[0] if numbers else -1}
    return {"precision": MICROSECONDS} if word in CLOCKS else {}


def _decimal(kind: exp.DataType) -> tuple[int, int]:
    numbers = _numbers(kind)
    precision, scale = ([*numbers, 0] if numbers else [MAX_PRECISION, 0])[:2]
    if not 1 <= precision <= MAX_PRECISION or not 0 <= scale <= precision:
        raise UnknownType(
            f"DECIMAL({precision}, {scale}) is not supported: the precision is 1 to {MAX_PRECISION}, "
            "the scale 0 to the precision"
        )
    return precision, scale


def _numbers(kind: exp.DataType) -> list[int]:
    return [int(part.name) for part in kind.expressions if part.name.isdigit()]


def _component(kind: exp.DataType) -> exp.DataType:
    if kind.args.get("values") or len(kind.expressions) != 1:
        raise UnknownType(f"Type '{kind.sql(dialect='duckdb')}' is not supported")
    component = kind.expressions[0]
    assert isinstance(component, exp.DataType)
    return component


def _fields(kind: exp.DataType) -> list[tuple[exp.Identifier, exp.DataType]]:
    fields = [(field.this, field.kind) for field in kind.expressions if isinstance(field, exp.ColumnDef)]
    named = [(name, part) for name, part in fields if part is not None]
    if not named or len(named) != len(kind.expressions):
        raise UnknownType("A row type needs named fields")
    return named

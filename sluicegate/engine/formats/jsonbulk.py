"""JSON in bulk: many records of one shape, read by DuckDB instead of record by record.

The first record says what shape the others must have: its keys, in its order, with values that `columns`
would take as they are. A regular expression holds each record against it, so that DuckDB's reader, which is
lenient, is given nothing about which the two could differ. Whatever does not fit is left to the exact way; so
is a body with anything wrong in it, since only the exact way can tell what.

pyarrow's own reader of JSON is no choice: a line with nothing but `null` ends the process.
"""

import json
import re
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from sluicegate.engine.formats import casting, columns
from sluicegate.engine.formats.changes import Malformed
from sluicegate.engine.formats.collecting import Collector
from sluicegate.engine.formats.config import Json
from sluicegate.engine.formats.flavors import FLAVORS
from sluicegate.engine.formats.scanning import Scanner, elements
from sluicegate.engine.plan import Column, Table

SMALLEST = 8 << 10
"""Bytes below which the exact way is as fast."""
BETWEEN = re.compile(rb"\}[ \t\r\n]*(,?)[ \t\r\n]*\{")
PLAIN = re.compile(r"[A-Za-z0-9_ -]+")
"""Keys that mean the same in JSON, in a regular expression and in a quoted name."""
BLANK = r"[ \t]*"
STRING = r'"(?:[^"\\[:cntrl:]]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
INTEGER = r"-?(?:0|[1-9][0-9]*)"
NUMBER = INTEGER + r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
EXACT = r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?"
"""Numbers that keep their digits as a DOUBLE."""
MOMENT = r"-?(?:0|[1-9][0-9]{0,13})"

SHAPES = {
    # kind: (what a value looks like, as what DuckDB reads it)
    "boolean": ("true|false", "BOOLEAN"),
    "float": (NUMBER, "DOUBLE"),
    "decimal": (f"{STRING}|{EXACT}", "VARCHAR"),
    **{kind: (STRING, "VARCHAR") for kind in ("text", "date", "time", "timestamp", "uuid", "interval")},
}
UNKNOWN = f"{STRING}|{NUMBER}|true|false"


class _Field(NamedTuple):
    """A key of the records, and the column that it is for, if any."""

    key: str
    place: int | None
    pattern: str
    loaded: str
    unit: int | None


def read(body: bytes, table: Table, reading: Json, collector: Collector) -> bool:
    """Read a body of records to insert; returns whether that was possible, else nothing has happened."""
    if len(body) < SMALLEST or reading.update_format not in ("raw", "insert_delete"):
        return False
    first = _first(body, reading)
    fields = _fields(first, table, reading) if first is not None else None
    pieces = _pieces(body, reading) if fields else None
    if fields is None or pieces is None:
        return False
    numbers = pa.array(range(len(pieces)), pa.int64())
    arrays = {"piece": pieces, **dict.fromkeys(casting.MARKS, numbers)}
    given = {field.place for field in fields}
    for i, column in enumerate(table.columns):
        if i not in given:
            value = pa.scalar(columns.plain(column, column.default), columns.arrow_type(column))
            arrays[f"r{i}"] = pa.repeat(value, len(pieces))
    typed = _typed(pa.table(arrays), fields, table, reading, collector)
    if typed is not None:
        collector.add_typed(typed)
    return typed is not None


def _typed(
    raw: pa.Table, fields: list[_Field], table: Table, reading: Json, collector: Collector
) -> pa.Table | None:
    units = {table.columns[field.place].name: field.unit for field in fields if field.place is not None}
    required = {i for i, column in enumerate(table.columns) if not column.nullable}
    with casting.shown(collector.cursor, raw):
        try:
            if not _all_fit(collector.cursor, _pattern(fields, reading)):
                return None
            typed, wrong = casting.judge(
                collector.cursor,
                _source(fields, table, reading),
                list(enumerate(table.columns)),
                lambda column, name: _cast(column, name, units.get(column.name)),
                required,
            )
        except duckdb.Error:
            return None
    return None if wrong else typed


def _all_fit(cursor: duckdb.DuckDBPyConnection, pattern: str) -> bool:
    sql = f'SELECT bool_and(regexp_full_match(piece, $1)) FROM temp."{casting.RAW}"'
    return bool(cursor.execute(sql, [pattern]).fetchall()[0][0])


def _first(body: bytes, reading: Json) -> dict[str, Any] | None:
    scanner = Scanner(body, exact=False, single_line=reading.single_line)
    _, element = next(elements(scanner, array=reading.array), (0, None))
    if reading.update_format == "insert_delete":
        element = element["insert"] if isinstance(element, dict) and element.keys() == {"insert"} else None
    return element if isinstance(element, dict) and not isinstance(element, Malformed) else None


def _fields(first: dict[str, Any], table: Table, reading: Json) -> list[_Field] | None:
    by_name = {column.name: i for i, column in enumerate(table.columns)}
    folded = {name: i for name, i in by_name.items() if not table.columns[i].case_sensitive}
    fields = []
    for key, value in first.items():
        place = by_name.get(key, folded.get(key.lower()))
        if place is None:
            field = _Field(key, None, UNKNOWN, "VARCHAR", None)
        else:
            field = _field(key, place, table.columns[place], value, reading)
        if not field.pattern or not PLAIN.fullmatch(key):
            return None
        fields.append(field)
    places = [field.place for field in fields if field.place is not None]
    return fields if fields and len(set(places)) == len(places) else None


def _field(key: str, place: int, column: Column, value: Any, reading: Json) -> _Field:
    how = FLAVORS[reading.flavor]
    unit = {"date": how.date, "timestamp": how.timestamp}.get(column.kind)
    if column.kind == "integer":
        return _Field(key, place, INTEGER, column.type, None)
    if unit is not None and isinstance(value, int):
        return _Field(key, place, MOMENT, "BIGINT", unit)
    pattern, loaded = SHAPES.get(column.kind, ("", ""))
    return _Field(key, place, pattern, loaded, None)


def _pieces(body: bytes, reading: Json) -> pa.Array | None:
    """Cut a body between its records, which lose their outermost braces."""
    whole = body.strip(b" \t\r\n")
    if reading.array:
        whole = whole[1:-1].strip(b" \t\r\n") if whole[:1] == b"[" and whole[-1:] == b"]" else b""
    between = BETWEEN.search(whole)
    if between is None or whole[:1] != b"{" or whole[-1:] != b"}":
        return None
    if bool(between[1]) is not reading.array or (reading.single_line and b"\n" not in between[0]):
        return None
    return pc.split_pattern(pa.array([whole[1:-1]], pa.string()), between[0]).values


def _pattern(fields: list[_Field], reading: Json) -> str:
    pairs = (f'"{field.key}"{BLANK}:{BLANK}(?:{field.pattern}|null)' for field in fields)
    row = BLANK + f"{BLANK},{BLANK}".join(pairs) + BLANK
    return row if reading.update_format == "raw" else rf'{BLANK}"insert"{BLANK}:{BLANK}\{{{row}\}}{BLANK}'


def _source(fields: list[_Field], table: Table, reading: Json) -> str:
    shape: dict[str, Any] = {field.key: field.loaded for field in fields}
    row = "s"
    if reading.update_format == "insert_delete":
        shape, row = {"insert": shape}, "s.insert"
    given = {field.place for field in fields}
    values = [f'{row}."{field.key}" AS r{field.place}' for field in fields if field.place is not None]
    values += [f"r{i}" for i in range(len(table.columns)) if i not in given]
    parsed = f"from_json_strict('{{' || piece || '}}', '{json.dumps(shape)}')"
    marks = ", ".join(casting.MARKS)
    return f'(SELECT {marks}, {", ".join(values)} FROM (SELECT *, {parsed} AS s FROM temp."{casting.RAW}"))'


def _cast(column: Column, raw: str, unit: int | None) -> str:
    if unit is not None:
        return casting.from_json(column, f"CAST(TRY(make_timestamp({raw} * {unit})) AS VARCHAR)")
    if column.kind == "float":
        return casting.from_json(column, f"CASE WHEN isfinite({raw}) THEN {raw} END")
    return casting.from_json(column, raw)

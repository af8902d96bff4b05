"""JSON in bulk: many records of one shape, read by DuckDB instead of record by record.

The first record says what shape the others must have: its keys, in its order, with values that `columns`
would take as they are. A regular expression holds all of them against it, so that DuckDB's reader, which is
lenient, is given nothing about which the two could differ. Whatever does not fit is left to the exact way; so
is a body with anything wrong in it, since only the exact way can tell what.

pyarrow's own reader of JSON is no choice: a line with nothing but `null` ends the process.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection

from sluicegate.engine.formats import casting, columns
from sluicegate.engine.formats.changes import Malformed
from sluicegate.engine.formats.collecting import Collector
from sluicegate.engine.formats.config import Json
from sluicegate.engine.formats.flavors import FLAVORS
from sluicegate.engine.formats.scanning import Scanner, elements
from sluicegate.engine.plan import Column, Table

SMALLEST = 8 << 10
"""Bytes below which the exact way is as fast."""
SEGMENT = 256 << 10
"""Bytes of records that are read at a time, by as many threads as DuckDB has."""
BETWEEN = re.compile(rb"\}([ \t\r\n]*,?[ \t\r\n]*)\{")
PLAIN = re.compile(r"[A-Za-z0-9_ -]+")
"""Keys that mean the same in JSON, in a regular expression and in a quoted name."""
BLANK = r"[ \t]*"
STRING = r'"(?:[^"\\[:cntrl:]]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
INTEGER = r"-?(?:0|[1-9][0-9]*)"
NUMBER = INTEGER + r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
EXACT = r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?"
"""Numbers that keep their digits as a DOUBLE."""
MOMENT = r"-?(?:0|[1-9][0-9]{0,13})"
DAY = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
CLOCK = r"(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}(?:\.[0-9]{1,6})?"

SHAPES = {
    # kind: (what a value looks like, as what DuckDB reads it)
    "boolean": ("true|false", "BOOLEAN"),
    "float": (NUMBER, "DOUBLE"),
    "decimal": (f"{STRING}|{EXACT}", "VARCHAR"),
    **{kind: (STRING, "VARCHAR") for kind in ("text", "date", "time", "timestamp", "uuid", "interval")},
}
USUAL = {"date": (f'"{DAY}"', "DATE"), "timestamp": (f'"{DAY}[ T]{CLOCK}"', "TIMESTAMP")}
"""What needs no cast of ours: within the years that may be, and without an offset."""
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
    lists = _lists(body, fields, reading) if fields else None
    typed = _typed(lists, fields, table, reading, collector.cursor) if fields and lists else None
    if typed is not None:
        collector.add_typed(typed)
    return typed is not None


def _typed(
    lists: pa.ChunkedArray, fields: list[_Field], table: Table, reading: Json, cursor: DuckDBPyConnection
) -> pa.Table | None:
    by_column = {table.columns[field.place].name: field for field in fields if field.place is not None}
    required = {i for i, column in enumerate(table.columns) if not column.nullable}
    defaults = {
        f"r{i}": pa.repeat(
            pa.scalar(columns.plain(column, column.default), columns.arrow_type(column)), len(lists)
        )
        for i, column in enumerate(table.columns)
        if column.name not in by_column
    }
    with casting.shown(cursor, pa.table({"list": lists, **defaults})):
        try:
            typed, wrong = casting.judge(
                cursor,
                _source(fields, reading, list(defaults)),
                list(enumerate(table.columns)),
                lambda column, name: _cast(column, name, by_column.get(column.name)),
                required,
            )
        except duckdb.Error:
            return None
    return None if wrong else typed.set_column(0, "n", pa.arange(0, len(typed)))


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
    usual, type_ = USUAL.get(column.kind, ("", ""))
    if type_ == column.type and isinstance(value, str) and re.fullmatch(usual[1:-1], value):
        return _Field(key, place, usual, type_, None)
    pattern, loaded = SHAPES.get(column.kind, ("", ""))
    return _Field(key, place, pattern, loaded, None)


def _lists(body: bytes, fields: list[_Field], reading: Json) -> pa.ChunkedArray | None:
    """Cut a body into lists of records, all of which have the fields; None where some have not."""
    whole = body.strip(b" \t\r\n")
    if reading.array:
        whole = whole[1:-1].strip(b" \t\r\n") if whole[:1] == b"[" and whole[-1:] == b"]" else b""
    found = BETWEEN.search(whole)
    if found is None or whole[:1] != b"{" or whole[-1:] != b"}":
        return None
    between = found[1]
    if (b"," in between) is not reading.array or not (reading.array or b"\n" in between):
        return None
    parts = list(_parts(whole, between))
    lists = _bracketed(parts)
    regular = rf"\A\[(?:\{{{_pattern(fields, reading)}\}}(?:{re.escape(between.decode())}|\]))+\z"
    if not pc.all(pc.match_substring_regex(lists, regular)).as_py():
        return None
    if not reading.array:  # a line ends within no value
        lists = _bracketed([bytes(part).replace(between, b",") for part in parts])
    return pa.chunked_array([lists[i : i + 1] for i in range(len(lists))])


def _parts(whole: bytes, between: bytes) -> Iterator[memoryview]:
    """Cut between records."""
    view, at = memoryview(whole), 0
    while (end := whole.find(b"}" + between + b"{", at + SEGMENT)) >= 0:
        yield view[at : end + 1]
        at = end + 1 + len(between)
    yield view[at:]


def _bracketed(parts: Sequence[bytes | memoryview]) -> pa.StringArray:
    """Make a list of each part, all in one buffer."""
    whole = b"".join(piece for part in parts for piece in (b"[", part, b"]"))
    ends = accumulate((len(part) + 2 for part in parts), initial=0)
    offsets = pa.array(ends, pa.int32())
    return pa.StringArray.from_buffers(len(parts), offsets.buffers()[1], pa.py_buffer(whole))


def _pattern(fields: list[_Field], reading: Json) -> str:
    pairs = (f'"{field.key}"{BLANK}:{BLANK}(?:{field.pattern}|null)' for field in fields)
    row = BLANK + f"{BLANK},{BLANK}".join(pairs) + BLANK
    return row if reading.update_format == "raw" else rf'{BLANK}"insert"{BLANK}:{BLANK}\{{{row}\}}{BLANK}'


def _source(fields: list[_Field], reading: Json, defaults: list[str]) -> str:
    shape: dict[str, Any] = {field.key: field.loaded for field in fields}
    row = "record"
    if reading.update_format == "insert_delete":
        shape, row = {"insert": shape}, "record.insert"
    values = [f"0 AS {mark}" for mark in casting.MARKS] + defaults
    values += [f'{row}."{field.key}" AS r{field.place}' for field in fields if field.place is not None]
    records = f"unnest(from_json_strict(list, '{json.dumps([shape])}')) AS record"
    return f'(SELECT {", ".join(values)} FROM (SELECT *, {records} FROM temp."{casting.RAW}"))'


def _cast(column: Column, raw: str, field: _Field | None) -> str:
    if field is not None and field.unit is not None:
        return casting.from_json(column, f"CAST(TRY(make_timestamp({raw} * {field.unit})) AS VARCHAR)")
    if column.kind == "float":
        return casting.from_json(column, f"CASE WHEN isfinite({raw}) THEN {raw} END")
    if field is not None and field.loaded == column.type:
        return raw
    return casting.from_json(column, raw)

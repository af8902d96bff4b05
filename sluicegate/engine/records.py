"""Records of input: from the body of an ingress request to changes, and to what cannot be read of it."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from sluicegate.engine.cells import shorten
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Column, Table

UPDATE_FORMATS = ("insert_delete", "raw")
FLAVORS = ("default", "pandas")
BLANKS = re.compile(r"[ \t\r\n]*")
KNOWN_FORMATS = ("csv", "json")


@dataclass(frozen=True)
class Format:
    """How a request's body is to be read."""

    name: str
    array: bool = False
    update_format: str = "insert_delete"
    flavor: str = "default"


class Change(NamedTuple):
    """One change of a table. Changes of one chunk are taken or refused together."""

    op: str
    row: dict[str, Any]
    event: int
    chunk: int


@dataclass
class Parsed:
    """What a body holds."""

    changes: list[Change] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


class Malformed(Exception):
    """A record that cannot be read."""


def parse_error(
    description: str, event: int, field_name: str | None = None, text: Any = None
) -> dict[str, Any]:
    """Return one entry of a ParseErrors answer."""
    return {
        "description": f"{description} (event #{event})",
        "event_number": event,
        "field": field_name,
        "invalid_bytes": None,
        "invalid_text": None if text is None else shorten(text),
        "suggestion": None,
    }


def check(reading: Format) -> None:
    """Refuse a format that this release does not read."""
    if reading.name not in KNOWN_FORMATS:
        message = f"Unknown input format '{reading.name}': this release reads {' and '.join(KNOWN_FORMATS)}"
        raise EngineError(400, "ConfigError.UnknownInputFormat", message, {"format_name": reading.name})
    for key, value, known in (
        ("update_format", reading.update_format, UPDATE_FORMATS),
        ("json_flavor", reading.flavor, FLAVORS),
    ):
        if reading.name == "json" and value not in known:
            message = f"The {key} '{value}' is not supported: this release reads {' and '.join(known)}"
            raise EngineError(400, "ConfigError.ParserConfigParseError", message, {"config": {key: value}})


def read(body: bytes, table: Table, reading: Format) -> Parsed:
    """Read a body into changes of a table."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return Parsed(errors=[parse_error(f"the body is not valid UTF-8: {error}", 1)])
    return _read_csv(text, table) if reading.name == "csv" else _read_json(text, table, reading)


def _read_json(text: str, table: Table, reading: Format) -> Parsed:
    parsed = Parsed()
    names = _Names(table)
    event = 0
    exact = any(column.kind == "decimal" for column in table.columns)
    for chunk, value in enumerate(_values(text, exact=exact)):
        try:
            elements = _elements(value, array=reading.array)
        except Malformed as error:
            parsed.errors.append(parse_error(str(error), event + 1))
            event += 1
            continue
        taken: list[Change] = []
        for element in elements:
            event += 1
            try:
                for op, row in _changes(element, names, reading):
                    taken.append(Change(op, row, event, chunk))
            except Malformed as error:
                parsed.errors.append(parse_error(str(error), event, text=element))
                event, taken = event + len(elements) - 1, []
                break
        parsed.changes.extend(taken)
    return parsed


def _values(text: str, *, exact: bool) -> Iterator[Any]:
    """Yield JSON values that follow one another; after an unreadable one, go on at the next line."""
    decoder = json.JSONDecoder(parse_float=Decimal if exact else None, parse_constant=_no_constant)
    at, end = 0, len(text)
    while True:
        blanks = BLANKS.match(text, at)
        at = blanks.end() if blanks else at
        if at >= end:
            return
        try:
            value, at = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError) as error:
            newline = text.find("\n", at)
            stop = end if newline < 0 else newline
            reason = str(error) if isinstance(error, json.JSONDecodeError) else "expected a JSON value"
            yield Malformed(f"error parsing JSON: {reason} in {shorten(text[at:stop])}")
            at = stop


def _no_constant(name: str) -> float:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _elements(value: Any, *, array: bool) -> list[Any]:
    if isinstance(value, Malformed):
        raise value
    if not array:
        return [value]
    if value is None:  # what the official client sends for an empty list
        return []
    if not isinstance(value, list):
        raise Malformed(f"expected a JSON array, got {shorten(value)}")
    return value


def _changes(element: Any, names: "_Names", reading: Format) -> list[tuple[str, dict[str, Any]]]:
    if reading.update_format == "raw":
        return [("insert", names.row(element))]
    if not isinstance(element, dict) or not element.keys() & {"insert", "delete", "update"}:
        raise Malformed("expected an object with the key insert, delete or update")
    if element.get("update") is not None and not names.table.primary_key:
        raise Malformed("update needs a table with a PRIMARY KEY")
    ops = ("delete", "insert", "update")
    return [(op, names.row(element[op])) for op in ops if element.get(op) is not None]


class _Names:
    """Finds columns by the keys of a record: names without quotes match in any case."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._order = [column.name for column in table.columns]
        self._known = set(self._order)
        self._folded = {column.name: column.name for column in table.columns if not column.case_sensitive}

    def row(self, value: Any) -> dict[str, Any]:
        """Return a record with the columns' own names as keys."""
        if isinstance(value, list):
            if len(value) != len(self._order):
                raise Malformed(f"expected {len(self._order)} values, got {len(value)}")
            return dict(zip(self._order, value, strict=True))
        if not isinstance(value, dict):
            raise Malformed(f"expected an object, got {shorten(value)}")
        if self._known.issuperset(value):
            return value
        renamed = (
            (key if key in self._known else self._folded.get(key.lower(), key), value[key]) for key in value
        )
        return {key: item for key, item in renamed if key in self._known}


def _read_csv(text: str, table: Table) -> Parsed:
    parsed = Parsed()
    readers = [(column, _CSV.get(column.kind, str)) for column in table.columns]
    event = 0
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        event += 1
        try:
            fields = next(lines)
        except StopIteration:
            return parsed
        except csv.Error as error:
            parsed.errors.append(parse_error(f"error parsing CSV: {error}", event))
            continue
        if not fields:
            event -= 1
            continue
        row: dict[str, Any] = {}
        try:
            for (column, reader), value in zip(readers, fields, strict=False):
                row[column.name] = _csv_value(column, reader, value)
        except Malformed as error:
            parsed.errors.append(parse_error(str(error), event, column.name, value))
            continue
        parsed.changes.append(Change("insert", row, event, event))


def _csv_value(column: Column, reader: Callable[[str], Any], text: str) -> Any:
    if not text:
        return "" if column.kind == "text" and not column.nullable else None
    try:
        return reader(text)
    except ValueError as error:
        raise Malformed(
            f"error parsing field '{column.name}' of type {column.type}: {shorten(text)}"
        ) from error


def _csv_integer(text: str) -> int:
    if "_" in text:
        raise ValueError(text)
    return int(text)


def _csv_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_CSV: dict[str, Callable[[str], Any]] = {
    "integer": _csv_integer,
    "float": float,
    "boolean": _csv_boolean,
    "binary": json.loads,
    "variant": json.loads,
    "nested": json.loads,
}

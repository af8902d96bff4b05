"""CSV: rows without names, columns in the table's order (contract §5.1, §9.7).

Python's reader cuts the text into fields; the fields of a column go to DuckDB as they are, which casts and
judges them.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from sluicegate.engine.batch import parse_error
from sluicegate.engine.formats import binaries, casting, csvbulk
from sluicegate.engine.formats.collecting import SLICE, Collector
from sluicegate.engine.formats.config import Csv
from sluicegate.engine.formats.scanning import LARGEST, NOT_UTF8, STRAY, is_utf8
from sluicegate.engine.plan import Column, Table

NULLS = ("NULL", "null")
BLANK = " \t\n\r\f\v"
TOO_LONG = f"a row is longer than {LARGEST >> 20} MiB"

csv.field_size_limit(LARGEST)

Row = list[str]


class _Lines:
    """The lines of a body, as the reader of rows asks for them; comments are left out between rows."""

    def __init__(self, body: bytes, comment: str | None) -> None:
        self.strays = not is_utf8(body)
        """Whether bytes are no UTF-8; see `STRAY`."""
        self._text = io.TextIOWrapper(
            io.BytesIO(body), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        self._comment = comment
        self.between_rows = True
        self.read = 0
        """Characters that have been read."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while True:
            line = self._text.readline(LARGEST + 1)
            self.read += len(line)
            if not line:
                raise StopIteration
            if len(line) > LARGEST:
                self._skip_rest()
                raise csv.Error(TOO_LONG)
            if self.between_rows and self._comment and line.startswith(self._comment):
                continue
            self.between_rows = False
            return line

    def _skip_rest(self) -> None:
        while (line := self._text.readline(LARGEST)) and not line.endswith(("\n", "\r")):
            self.read += len(line)


def read(body: bytes, table: Table, reading: Csv, collector: Collector) -> None:
    """Read the rows of a body."""
    lines = _Lines(body, reading.comment)
    if not lines.strays and csvbulk.read(body, table, reading, collector):
        return
    numbered = _rows(lines, reading, collector)
    while taken := _slice(numbered, lines):
        _take(taken, table, reading, collector)


def _rows(lines: _Lines, reading: Csv, collector: Collector) -> Iterator[tuple[int, Row]]:
    """Yield rows with their numbers; blank lines and the header have none."""
    rows = csv.reader(lines, **_dialect(reading))
    event, width, header = 0, None, reading.headers
    while True:
        lines.between_rows = True
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            event += 1
            collector.refuse(event, parse_error(f"error parsing CSV: {error}", event))
            continue
        if not row:
            continue
        width = len(row) if width is None else width
        if header:
            header = False
            continue
        event += 1
        if len(row) != width and not reading.flexible:
            told = f"error parsing CSV: expected {width} fields as in the first row, got {len(row)}"
            collector.refuse(event, parse_error(told, event))
            continue
        if lines.strays and STRAY.search("".join(row)):
            collector.refuse(event, parse_error(f"error parsing CSV: {NOT_UTF8}", event))
            continue
        yield event, row


def _slice(rows: Iterator[tuple[int, Row]], lines: _Lines) -> list[tuple[int, Row]]:
    taken: list[tuple[int, Row]] = []
    until = lines.read + LARGEST // 4
    for numbered in itertools.islice(rows, SLICE):
        taken.append(numbered)
        if lines.read > until:
            break
    return taken


def _take(numbered: list[tuple[int, Row]], table: Table, reading: Csv, collector: Collector) -> None:
    events = pa.array([event for event, _ in numbered], pa.int64())
    rows = [row for _, row in numbered]
    arrays: dict[str, Any] = {"n": events, "event": events, "chunk": events}
    refused: set[int] = set()
    fields = _fields(rows, table)
    for i, column in enumerate(table.columns):
        values = fields[i]
        if reading.trim in ("fields", "all"):
            values = [value and value.strip(BLANK) for value in values]
        values = _nulls(column, values)
        if column.kind == "binary":
            arrays[f"r{i}"] = _binary(column, values, numbered, collector, refused)
        else:
            arrays[f"r{i}"] = pa.array(values, pa.string())
    raw = pa.table(arrays)
    staged = list(enumerate(table.columns))
    typed, wrong = casting.cast(collector.cursor, raw, staged, casting.from_text, strict=True)
    for index, place in wrong:
        event, row = numbered[index]
        if event not in refused:
            value = row[place] if place < len(row) else None
            missing = raw.column(f"r{place}")[index].as_py() is None
            collector.refuse_value(table.columns[place], None if missing else value, event, event)
    collector.add_typed(typed)


def _fields(rows: list[Row], table: Table) -> list[list[str | None]]:
    """Turn rows into columns; a row that is short gets the defaults of what it lacks."""
    wanted = len(table.columns)
    short = min(map(len, rows)) < wanted
    if short:
        defaults = [_field(column.default) for column in table.columns]
        return [[row[i] if i < len(row) else defaults[i] for row in rows] for i in range(wanted)]
    return [[row[i] for row in rows] for i in range(wanted)]


def _field(value: Any) -> str | None:
    """Return a default, which is JSON, as CSV would have it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _nulls(column: Column, values: list[str | None]) -> list[str | None]:
    """Put NULL where a field says so: nothing or the word, except in text that cannot be NULL."""
    if column.kind == "text" and not column.nullable:
        return values
    absent = {"", *NULLS} if column.nullable else {""}
    if absent.isdisjoint(values):
        return values
    return [None if value in absent else value for value in values]


def _binary(
    column: Column,
    values: list[str | None],
    numbered: list[tuple[int, Row]],
    collector: Collector,
    refused: set[int],
) -> pa.Array:
    found: list[bytes | None] = []
    for (event, _), value in zip(numbered, values, strict=True):
        try:
            found.append(None if value is None else binaries.read(json.loads(value), "array"))
        except (ValueError, RecursionError):
            found.append(None)
            refused.add(event)
            collector.refuse_value(column, value, event, event)
    return pa.array(found, pa.binary())


def _dialect(reading: Csv) -> dict[str, Any]:
    if not reading.quoting:
        return {"delimiter": reading.delimiter, "quoting": csv.QUOTE_NONE}
    return {
        "delimiter": reading.delimiter,
        "quotechar": reading.quote,
        "escapechar": reading.escape,
        "doublequote": reading.double_quote,
    }

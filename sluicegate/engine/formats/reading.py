"""Reading: the bytes of one push, or of one chunk of a connector, become a batch for a table.

pyarrow comes with this module, so the module is imported with the first input.
"""

from typing import TYPE_CHECKING

from sluicegate.engine.batch import Batch, parse_error
from sluicegate.engine.formats import csvfiles, jsonbulk, parquetfiles, scanning
from sluicegate.engine.formats.changes import Changing, Malformed
from sluicegate.engine.formats.collecting import Collector, TooMany
from sluicegate.engine.formats.config import Csv, InputFormat, Json, Parquet, Raw
from sluicegate.engine.plan import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def read(body: bytes, table: Table, reading: InputFormat, cursor: "DuckDBPyConnection | None") -> Batch:
    """Read a body into changes of a table; the cursor is for casts, and nobody else may use it meanwhile.

    Without one, CursorNeeded is raised where it takes one.
    """
    flavor = reading.flavor if isinstance(reading, Json) else "default"
    collector = Collector(table, flavor, cursor)
    try:
        _read(body, table, reading, collector)
    except TooMany:
        collector.give_up()
    return collector.finish()


def _read(body: bytes, table: Table, reading: InputFormat, collector: Collector) -> None:
    if isinstance(reading, Json):
        _json(body, table, reading, collector)
    elif isinstance(reading, Csv):
        csvfiles.read(body, table, reading, collector)
    elif isinstance(reading, Parquet):
        parquetfiles.read(body, table, collector)
    else:
        _raw(body, table, reading, collector)


def _json(body: bytes, table: Table, reading: Json, collector: Collector) -> None:
    if scanning.is_utf8(body) and jsonbulk.read(body, table, reading, collector):
        return
    changing = Changing(table, reading.update_format)
    exact = any(column.kind == "decimal" for column in table.columns)
    scanner = scanning.Scanner(body, exact=exact, single_line=reading.single_line)
    found = scanning.elements(scanner, array=reading.array)
    for event, (chunk, element) in enumerate(found, start=1):
        if collector.has_refused(chunk):
            continue
        if isinstance(element, Malformed):
            collector.refuse(chunk, parse_error(str(element), event))
            continue
        try:
            for op, row in changing.changes(element):
                collector.add(op, row, event, chunk)
        except Malformed as error:
            collector.refuse(chunk, parse_error(str(error), event, text=element))


def _raw(body: bytes, table: Table, reading: Raw, collector: Collector) -> None:
    """Take the whole body, or each line of it, as the value of one column."""
    column = table.columns[reading.column]
    pieces = body.split(b"\n") if reading.lines else [body]
    if reading.lines and not pieces[-1]:
        pieces.pop()
    for event, piece in enumerate(pieces, start=1):
        try:
            value = piece if column.kind == "binary" else piece.decode()
        except UnicodeDecodeError as error:
            told = f"the value of '{column.name}' is not valid UTF-8: {error.reason}"
            collector.refuse(event, parse_error(told, event, column.name))
            continue
        collector.add("insert", {column.name: value}, event, event)

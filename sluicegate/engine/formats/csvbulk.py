"""CSV in bulk: rows of equal width, cut and converted by Arrow.

Arrow accepts less than `casting` does and means the same by it, so what it converts is taken; where it finds
anything else, the fields are read as text and DuckDB casts them; and where the rows are not regular, the
exact way reads them one by one.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sluicegate.engine.formats import casting, columns
from sluicegate.engine.formats.collecting import Collector
from sluicegate.engine.formats.config import Csv
from sluicegate.engine.plan import Column, Table

SMALLEST = 8 << 10
"""Bytes below which the exact way is as fast."""
NULLS = ["", "NULL", "null"]
TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
HEXADECIMAL = re.compile(rb"0[xX]")
"""Arrow takes it for an integer."""
CONVERTED = {"boolean", "integer", "float", "decimal", "date", "timestamp"}
AS_TEXT = {"FLOAT", "TIMESTAMPTZ"}
"""Types that Arrow would round twice, or has another idea of."""


def read(body: bytes, table: Table, reading: Csv, collector: Collector) -> bool:
    """Read a body; returns whether that was possible, else nothing has happened."""
    regular = reading.escape is None and reading.comment is None and reading.trim in ("none", "headers")
    kinds = {column.kind for column in table.columns}
    if len(body) < SMALLEST or not regular or "binary" in kinds or b"\0" in body:
        return False
    typed = [] if HEXADECIMAL.search(body) else [[_arrow_type(column) for column in table.columns]]
    return any(_take(body, table, reading, collector, types) for types in [*typed, _texts(table)])


def _take(body: bytes, table: Table, reading: Csv, collector: Collector, types: list[pa.DataType]) -> bool:
    try:
        rows = _rows(body, table, reading, types)
    except pa.ArrowInvalid:
        return False
    if rows is None or _odd(rows, table):
        return False
    numbers = pa.array(range(1, rows.num_rows + 1), pa.int64())
    for mark in casting.MARKS:
        rows = rows.append_column(mark, numbers)
    converted = {
        column.name for column, kind in zip(table.columns, types, strict=True) if kind != pa.string()
    }
    typed, wrong = casting.cast(
        collector.cursor,
        rows,
        list(enumerate(table.columns)),
        lambda column, raw: raw if column.name in converted else casting.from_text(column, raw),
        strict=True,
    )
    if wrong and converted:
        return False
    for index, place in wrong:
        value = rows.column(f"r{place}")[index].as_py()
        collector.refuse_value(table.columns[place], value, index + 1, index + 1)
    collector.add_typed(typed)
    return True


def _rows(body: bytes, table: Table, reading: Csv, types: list[pa.DataType]) -> pa.Table | None:
    """Return the rows; those with other than one field per column make Arrow refuse them all."""
    names = [f"r{i}" for i in range(len(table.columns))]
    return pa.csv.read_csv(
        pa.BufferReader(body),
        read_options=pa.csv.ReadOptions(
            use_threads=False,
            block_size=len(body) + 1,
            column_names=names,
            skip_rows_after_names=reading.headers,
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=reading.delimiter,
            quote_char=reading.quote if reading.quoting else False,
            double_quote=reading.double_quote,
            newlines_in_values=reading.quoting,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict(zip(names, types, strict=True)),
            null_values=NULLS,
            true_values=TRUE,
            false_values=FALSE,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _odd(rows: pa.Table, table: Table) -> bool:
    """Tell whether there is something that Arrow and `casting` may see differently."""
    for i, column in enumerate(table.columns):
        found = rows.column(i)
        if found.null_count and not column.nullable:
            return True
        if columns.before_christ(found):
            return True
        if pa.types.is_floating(found.type) and not pc.all(pc.is_finite(found)).as_py():
            return True
    return False


def _arrow_type(column: Column) -> pa.DataType:
    if column.kind not in CONVERTED or column.type in AS_TEXT:
        return pa.string()
    return columns.own_type(column)


def _texts(table: Table) -> list[pa.DataType]:
    return [pa.string()] * len(table.columns)

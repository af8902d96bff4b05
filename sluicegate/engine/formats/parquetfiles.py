"""Parquet, and rows that are Arrow already: columns by name, types by DuckDB's casts (contract §9.7).

TIME may be a count of nanoseconds and DATE one of days; a VARIANT is JSON text.
"""

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluicegate.engine.batch import parse_error
from sluicegate.engine.formats import casting, columns, soundness
from sluicegate.engine.formats.collecting import Collector
from sluicegate.engine.plan import Column, Table
from sluicegate.engine.values import complaint

ROWS = 65_536
"""Rows that are cast at a time."""
LARGEST = 512 << 20
"""Bytes that one file may be once it is decoded: a small file can stand for very much."""
BATCH = 64 << 20
"""Bytes that the text of rows read at a time may be, for all that is known before it is read."""
LARGE = 8 << 20
"""Bytes of a file whose columns are worth several threads."""
UNREADABLE = (duckdb.DataError, duckdb.NotSupportedError, duckdb.ProgrammingError)
"""What DuckDB raises of columns that it cannot cast, in contrast to what it lacks or suffers itself."""
DAY = 86_400_000_000_000
"""Nanoseconds."""


def read(body: bytes, table: Table, collector: Collector) -> None:
    """Read the rows of a file; it is taken whole or, where it cannot be read, not at all."""
    size, first = 0, 1
    pieces = []
    try:
        for piece in _pieces(body):
            size += piece.nbytes
            if size > LARGEST:
                told = f"the file is larger than {LARGEST >> 20} MiB once decoded; send it in several"
                collector.refuse(0, parse_error(told, 1))
                return
            pieces.append(piece)
    except (pa.ArrowException, OSError, ValueError) as error:
        collector.refuse(0, parse_error(f"error parsing Parquet: {error}", 1))
        return
    for piece in pieces:
        take(piece, table, collector, first=first)
        first += piece.num_rows


def take(rows: pa.Table, table: Table, collector: Collector, *, first: int) -> None:
    """Take rows whose columns have the names of the table's; the first row has the number `first`."""
    events = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows), start=first - 1)
    arrays = {"n": events, "event": events, "chunk": events}
    for i, column in enumerate(table.columns):
        found = _source(column, rows.column_names)
        if found is None:
            value = pa.scalar(columns.plain(column, column.default), columns.arrow_type(column))
            arrays[f"r{i}"] = pa.repeat(value, rows.num_rows)
        elif not _fits(column, rows.schema.field(found).type):
            told = (
                f"column '{column.name}' of type {column.type} cannot be read from {rows.schema.field(found)}"
            )
            collector.refuse(0, parse_error(told, first, column.name))
            return
        else:
            arrays[f"r{i}"] = rows.column(found)
    raw = _sound(pa.table(arrays), table, collector)
    types = {column.name: raw.schema.field(f"r{i}").type for i, column in enumerate(table.columns)}

    def cast(staged: casting.Staged) -> tuple[pa.Table, list[casting.Wrong]]:
        needed = raw.select([*casting.MARKS, *(f"r{i}" for i, _ in staged)])
        return casting.cast(
            collector.cursor,
            needed,
            staged,
            lambda column, name: _cast(column, name, types[column.name]),
            strict=True,
        )

    try:
        typed, wrong = cast(list(enumerate(table.columns)))
    except UNREADABLE as error:
        collector.refuse(0, _unreadable(cast, table, error, first))
        return
    for index, place in wrong:
        value = soundness.shown(raw.column(f"r{place}"), index)
        event = raw.column("event")[index].as_py()
        collector.refuse_value(table.columns[place], value, event, event)
    collector.add_typed(typed)


def _sound(raw: pa.Table, table: Table, collector: Collector) -> pa.Table:
    """Refuse rows with values that are not what their types say; returns the other rows."""
    refused: set[int] = set()
    for i, column in enumerate(table.columns):
        values = raw.column(f"r{i}")
        reason = "is not valid UTF-8" if _is_text(values.type) else "is out of range"
        for index in soundness.unsound(values):
            event = raw.column("event")[index].as_py()
            value = soundness.shown(values, index)
            told = complaint(column, value, "" if column.kind == "nested" else reason)
            collector.refuse(event, parse_error(told, event, column.name, value))
            refused.add(event)
    if not refused:
        return raw
    return raw.filter(pc.invert(pc.is_in(raw.column("event"), value_set=pa.array(refused, pa.int64()))))


def _unreadable(
    cast: Callable[[casting.Staged], object], table: Table, error: duckdb.Error, first: int
) -> dict[str, Any]:
    """Return what is told of columns that cannot be cast at all, naming the one that it is about."""
    about, name = "the file", None
    for i, column in enumerate(table.columns):
        try:
            cast([(i, column)])
        except UNREADABLE as found:
            about, name, error = f"column '{column.name}' of type {column.type}", column.name, found
            break
    reason = str(error).partition("\n")[0]
    return parse_error(f"{about} cannot be read: {reason}", first, name)


def _source(column: Column, names: list[str]) -> int | None:
    """Find a column in the file: by its own name, else without regard to case if it was unquoted."""
    if column.name in names:
        return names.index(column.name)
    folded = [name.lower() for name in names]
    return folded.index(column.name) if not column.case_sensitive and column.name in folded else None


def _fits(column: Column, kind: pa.DataType) -> bool:
    return kind == pa.null() or any(test(kind) for test in READ_FROM[column.kind])


def _cast(column: Column, raw: str, kind: pa.DataType) -> str:
    """Return the expression that makes a value of the column of a value of the file."""
    if column.kind == "date" and pa.types.is_integer(kind):
        within = f"{raw} BETWEEN {soundness.FIRST_DAY} AND {soundness.LAST_DAY}"
        return f"CASE WHEN {within} THEN DATE '1970-01-01' + CAST({raw} AS INTEGER) END"
    if column.kind == "time" and pa.types.is_integer(kind):
        within = f"{raw} BETWEEN 0 AND {DAY - 1}"
        return f"CASE WHEN {within} THEN TIME '00:00:00' + to_microseconds(CAST({raw} // 1000 AS BIGINT)) END"
    if kind == columns.own_type(column):
        return raw
    if _is_text(kind):
        return casting.from_text(column, raw)
    if column.kind == "nested":  # where TRY_CAST would make NULL of what does not fit within the value
        return f"TRY(CAST({raw} AS {column.type}))"
    return f"TRY_CAST({raw} AS {column.type})"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


Test = Callable[[pa.DataType], bool]

READ_FROM: dict[str, tuple[Test, ...]] = {
    "boolean": (pa.types.is_boolean,),
    "integer": (pa.types.is_integer,),
    "float": (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal),
    "decimal": (pa.types.is_decimal, pa.types.is_integer, pa.types.is_floating, _is_text),
    "text": (_is_text,),
    "binary": (_is_bytes,),
    "date": (pa.types.is_date, pa.types.is_integer, _is_text),
    "time": (pa.types.is_time, pa.types.is_integer, _is_text),
    "timestamp": (pa.types.is_timestamp, pa.types.is_date, _is_text),
    "interval": (pa.types.is_interval, _is_text),
    "uuid": (_is_text,),
    "variant": (_is_text,),
    "nested": (pa.types.is_nested,),
}
"""What columns of a kind may be in a file."""


def _pieces(body: bytes) -> Iterator[pa.Table]:
    with pq.ParquetFile(pa.BufferReader(body)) as file:
        rows = max(1, min(ROWS, BATCH // max(1, _widest_row(body, file.metadata))))
        # Other threads would take longer to begin than such a file takes to read, and all of them are busy.
        for batch in file.iter_batches(batch_size=rows, use_threads=len(body) > LARGE):
            piece = pa.Table.from_batches([batch])
            plain = pa.schema([field.with_type(_expanded(field.type)) for field in piece.schema])
            yield piece if piece.schema.equals(plain) else piece.cast(plain)


def _widest_row(body: bytes, metadata: pq.FileMetaData) -> int:
    """Return how long the texts of one row may be that stand in the file once for all rows."""
    widest = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        names = [
            path
            for place in range(group.num_columns)
            if (path := _repeated(group.column(place), metadata.schema.column(place)))
        ]
        if not names:
            continue
        with pq.ParquetFile(pa.BufferReader(body), read_dictionary=names, metadata=metadata) as file:
            first = next(file.iter_batches(1, row_groups=[number], columns=names, use_threads=False), None)
            texts = [] if first is None else [text for column in first.columns for text in _texts(column)]
            widest = max(widest, sum(pc.max(pc.binary_length(text)).as_py() or 0 for text in texts))
    return widest


def _repeated(chunk: pq.ColumnChunkMetaData, column: pq.ColumnSchema) -> str | None:
    """Return the path of a column of texts if a row has one of them and that may stand elsewhere."""
    elsewhere = any("DICTIONARY" in encoding for encoding in chunk.encodings)
    is_text = chunk.physical_type == "BYTE_ARRAY" and not column.max_repetition_level
    large = chunk.num_values * chunk.total_uncompressed_size > BATCH
    return column.path if elsewhere and is_text and large else None


def _texts(array: pa.Array) -> list[pa.Array]:
    """Return the texts that the first row of a column brings along, for the others as well."""
    if pa.types.is_struct(array.type):
        return [text for part in array.flatten() for text in _texts(part)]
    return [array.dictionary] if pa.types.is_dictionary(array.type) else []


def _expanded(kind: pa.DataType) -> pa.DataType:
    """Return a type in which each value stands where it belongs, so that its size is known."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_expanded(field.type)) for field in kind.fields])
    return kind.value_type if pa.types.is_dictionary(kind) else kind

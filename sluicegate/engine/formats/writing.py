"""Writing: rows with weights become bytes for a sink (contract §5.3, §9.7).

DuckDB writes a text per row, Arrow joins them; nothing in Python looks at a cell. A row of weight 2 is
written twice, deletions before insertions.
"""

import io
import secrets
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sluicegate.engine.formats import binaries, rowtexts
from sluicegate.engine.formats.config import CsvOutput, JsonOutput, OutputFormat
from sluicegate.engine.formats.flavors import FLAVORS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

WEIGHT = "~w"
ROWS = "~written"
HEAVIEST = 1_000_000
"""The largest weight that is written out as equal rows."""
PIECE = 10_000
"""Rows that are written at once where some occur more than once, unless a message takes more."""


class TooHeavy(Exception):
    """A row that occurs too often to be written that many times."""


class Message(NamedTuple):
    """What goes to a sink at once. `value` is nothing where a key is deleted (Redis)."""

    value: bytes | None
    records: int
    key: bytes | None = None


class Writer:
    """Writes the changes of one relation; `types` are its columns' types in DuckDB's words, by name."""

    def __init__(self, writing: OutputFormat, types: dict[str, str]) -> None:
        self._writing = writing
        flavor = FLAVORS[writing.flavor] if isinstance(writing, JsonOutput) else None
        in_base58 = flavor is not None and flavor.binary == "base58"
        self._encoded_here = [name for name, kind in types.items() if in_base58 and kind == "BLOB"]
        self._types = {**types, **dict.fromkeys(self._encoded_here, "VARCHAR")}
        self._stream = secrets.randbelow(1 << 63)
        self._sequence = 0

    def write(self, rows: pa.Table, cursor: "DuckDBPyConnection") -> Generator[Message, None, None]:
        """Yield the messages for rows with a column `~w`; the cursor is in use until the last of them."""
        for piece in repeated(rows, self._writing.records):
            yield from self._written(self._encoded(piece), cursor)

    def _written(self, rows: pa.Table, cursor: "DuckDBPyConnection") -> Iterator[Message]:
        cursor.register(ROWS, rows)
        try:
            if isinstance(self._writing, JsonOutput):
                yield from self._json(self._writing, cursor)
            elif isinstance(self._writing, CsvOutput):
                yield from self._csv(self._writing, cursor)
            else:
                yield from _parquet(rows, self._writing.records)
        finally:
            cursor.unregister(ROWS)

    def _encoded(self, rows: pa.Table) -> pa.Table:
        """Write bytes as base 58 where that is asked for: SQL has no function for it."""
        for name in self._encoded_here:
            found = [
                None if value is None else binaries.to_base58(value)
                for value in rows.column(name).to_pylist()
            ]
            rows = rows.set_column(rows.column_names.index(name), name, pa.array(found, pa.string()))
        return rows

    def _json(self, writing: JsonOutput, cursor: "DuckDBPyConnection") -> Iterator[Message]:
        texts = cursor.sql(self._json_query(writing)).to_arrow_table()
        self._sequence += texts.num_rows
        if writing.update_format == "insert_delete":
            yield from self._joined(texts.column("value"), writing)
            return
        keyed = "key" in texts.column_names
        for place in range(texts.num_rows):
            value = texts.column("value")[place].as_py()
            key = texts.column("key")[place].as_py().encode() if keyed else None
            yield Message(None if value is None else _framed(value, array=writing.array), 1, key)

    def _json_query(self, writing: JsonOutput) -> str:
        flavor = FLAVORS[writing.flavor]
        row = rowtexts.json_object(self._types, flavor)
        rising = f'"{WEIGHT}" > 0'
        if writing.update_format == "insert_delete":
            value = f"CASE WHEN {rising} THEN '{{\"insert\":' ELSE '{{\"delete\":' END || {row} || '}}'"
            return f'SELECT {value} AS value FROM temp."{ROWS}"'
        keys = {name: self._types[name] for name in writing.key_fields or self._types}
        if writing.update_format == "redis":
            parts = (rowtexts.plain(name, kind, flavor) for name, kind in keys.items())
            key = f"concat_ws({rowtexts.literal(writing.key_separator)}, {', '.join(parts)})"
            return f'SELECT {key} AS key, CASE WHEN {rising} THEN {row} END AS value FROM temp."{ROWS}"'
        if writing.update_format == "debezium":
            key = f"'{{\"payload\":' || {rowtexts.json_object(keys, flavor)} || '}}'"
            head = f'CASE WHEN {rising} THEN \'"c","after":\' ELSE \'"d","before":\' END'
            value = f"'{{\"payload\":{{\"op\":' || {head} || {row} || '}}}}'"
            return f'SELECT {key} AS key, {value} AS value FROM temp."{ROWS}"'
        number = f"row_number() OVER () - 1 + {self._sequence}"
        action = f"CASE WHEN {rising} THEN 'insert' ELSE 'delete' END"
        tail = f'\',"__action":"\' || {action} || \'","__stream_id":{self._stream},"__seq_number":\''
        return f"SELECT left({row}, -1) || {tail} || ({number}) || '}}' AS value FROM temp.\"{ROWS}\""

    def _csv(self, writing: CsvOutput, cursor: "DuckDBPyConnection") -> Iterator[Message]:
        fields = [rowtexts.csv_field(name, kind, writing.delimiter) for name, kind in self._types.items()]
        between = f" || {rowtexts.literal(writing.delimiter)} || "
        row = between.join([*fields, f'CAST(CASE WHEN "{WEIGHT}" > 0 THEN 1 ELSE -1 END AS VARCHAR)'])
        texts = cursor.sql(f'SELECT {row} AS value FROM temp."{ROWS}"').to_arrow_table().column("value")
        for start in range(0, len(texts), writing.records):
            piece = texts.slice(start, writing.records)
            yield Message(f"{_join(piece, chr(10))}\n".encode(), len(piece))

    def _joined(self, texts: pa.ChunkedArray, writing: JsonOutput) -> Iterator[Message]:
        for start in range(0, len(texts), writing.records):
            piece = texts.slice(start, writing.records)
            text = f"[{_join(piece, ',')}]\n" if writing.array else f"{_join(piece, chr(10))}\n"
            yield Message(text.encode(), len(piece))


def repeated(rows: pa.Table, records: int) -> Iterator[pa.Table]:
    """Yield each row as often as its weight says, deletions first; raises TooHeavy.

    Where some occur more than once they come in pieces, of as many whole messages of `records` as fit one.
    """
    weights = rows.column(WEIGHT)
    if pc.all(pc.equal(weights, 1)).as_py():
        yield from [rows] if rows.num_rows else []
        return
    order = pc.sort_indices(pc.greater(weights, 0).combine_chunks())
    rows = rows.take(order)
    times = pc.abs(rows.column(WEIGHT)).to_numpy()
    if times.max(initial=0) > HEAVIEST:
        raise TooHeavy(
            f"a row occurs more than {HEAVIEST} times; have the view count them, or use SELECT DISTINCT"
        )
    if times.max(initial=0) <= 1:
        yield rows
        return
    ends = times.cumsum()
    total, most = int(ends[-1]), records * max(1, PIECE // records)
    for start in range(0, total, most):
        places = ends.searchsorted(range(start, min(start + most, total)), side="right")
        first, last = int(places[0]), int(places[-1])
        yield rows.slice(first, last + 1 - first).take(pa.array(places - first))


def _framed(text: str, *, array: bool) -> bytes:
    return (f"[{text}]\n" if array else f"{text}\n").encode()


def _join(texts: pa.ChunkedArray, between: str) -> str:
    lists = pa.LargeListArray.from_arrays([0, len(texts)], texts.combine_chunks())
    return str(pc.binary_join(lists, between)[0].as_py())


def _parquet(rows: pa.Table, records: int) -> Iterator[Message]:
    for start in range(0, rows.num_rows, records):
        piece = rows.slice(start, records)
        file = io.BytesIO()
        pq.write_table(piece, file)
        yield Message(file.getvalue(), piece.num_rows)

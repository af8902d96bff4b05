"""What a query answers in Arrow's formats: an IPC stream and a Parquet file, written batch by batch.

pyarrow is imported with this module, so the module is imported with the first query that asks for it.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from sluicegate.engine.identifiers import quote
from sluicegate.engine.results import Result, TooMany, check_count

BATCH = 8192
"""Rows of a batch."""
ROW_GROUP = 16 << 20
"""Bytes of rows that make a group of a Parquet file: what is held of it until it is written."""
INSERTED = 256 << 20
"""Bytes of rows that one INSERT may bring: they are one step."""
AS_TEXT = {"variant": "CAST(CAST({} AS JSON) AS VARCHAR)"}
"""What Arrow's readers do not know as a type."""
PARQUET_AS_TEXT = {**AS_TEXT, "interval": "CAST({} AS VARCHAR)"}


class _Pieces:
    """A file that is read as it is written."""

    def __init__(self) -> None:
        self.closed = False
        self._written = 0
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take more."""
        piece = bytes(data)
        self._waiting.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Say how much was written."""
        return self._written

    def flush(self) -> None:
        """Hold nothing back."""

    def close(self) -> None:
        """Take no more."""
        self.closed = True

    def take(self) -> bytes:
        """Return what was written since the last time."""
        piece = b"".join(self._waiting)
        self._waiting.clear()
        return piece


def batches(result: Result, as_text: dict[str, str] = AS_TEXT) -> pa.RecordBatchReader:
    """Run a query; its rows come as they are read."""
    columns = zip(result.names, result.places, result.kinds, strict=True)
    cells = ", ".join(
        f"{as_text.get(kind.id, '{}').format(place)} AS {quote(name)}" for name, place, kind in columns
    )
    return result.cursor.sql(result.select(cells)).to_arrow_reader(BATCH)


def as_stream(result: Result) -> Iterator[bytes]:
    """Yield the rows as an Arrow IPC stream."""
    reader, pieces, count = batches(result), _Pieces(), 0
    with pa.ipc.new_stream(pa.PythonFile(pieces, mode="w"), reader.schema) as writer:
        for batch in reader:
            count += batch.num_rows
            check_count(count, result.most)
            writer.write_batch(batch)
            yield pieces.take()
    yield pieces.take()


def as_parquet(result: Result) -> Iterator[bytes]:
    """Yield the rows as a Parquet file."""
    reader, pieces, count = batches(result, PARQUET_AS_TEXT), _Pieces(), 0
    with pa.parquet.ParquetWriter(pa.PythonFile(pieces, mode="w"), reader.schema) as writer:
        group: list[pa.RecordBatch] = []
        for batch in reader:
            count += batch.num_rows
            check_count(count, result.most)
            group.append(batch)
            if sum(held.nbytes for held in group) >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(group))
                group.clear()
                yield pieces.take()
        if group:
            writer.write_table(pa.Table.from_batches(group))
    yield pieces.take()


def collected(result: Result, names: Sequence[str]) -> pa.Table:
    """Return all rows, with columns of the given names; raises TooMany where they would fill the memory."""
    if len(names) != len(result.names):
        raise TooMany(f"INSERT has {len(names)} columns, and its query {len(result.names)}")
    reader = result.cursor.sql(result.select("*")).to_arrow_reader(BATCH)
    held: list[pa.RecordBatch] = []
    size = count = 0
    for batch in reader:
        size, count = size + batch.nbytes, count + batch.num_rows
        check_count(count, result.most)
        if size > INSERTED:
            raise TooMany(f"an INSERT takes {INSERTED >> 20} MiB of rows at most: write several")
        held.append(batch)
    return pa.Table.from_batches(held, reader.schema).rename_columns(list(names))

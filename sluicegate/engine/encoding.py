"""Encoding: the changes of a relation become messages of a format, on a connection of their own.

Used by output connectors and by egress over HTTP. pyarrow comes with the formats, so an encoder is made when
it is needed. Everything here runs in threads.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from sluicegate.engine.formats.config import OutputFormat
from sluicegate.engine.identifiers import quote

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from sluicegate.engine.formats.writing import Message

WEIGHT = "~w"


class Encoder:
    """Writes the changes of one relation, given by its physical name."""

    def __init__(self, cursor: "DuckDBPyConnection", relation: str, writing: OutputFormat) -> None:
        """Write over a connection, which is closed in the end."""
        from sluicegate.engine.formats.writing import Writer

        rows = cursor.sql(f"SELECT * FROM {quote(relation)} LIMIT 0")
        self._cursor = cursor
        self._writer = Writer(writing, dict(zip(rows.columns, map(str, rows.types), strict=True)))

    def messages(self, rows: "pa.Table") -> Generator["Message", None, None]:
        """Yield the messages for rows with their weights; draw them to the end before the next rows."""
        yield from self._writer.write(rows, self._cursor)

    def interrupt(self) -> None:
        """Have a thread that writes give up; nothing else can be written then."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Let go of the connection."""
        self._cursor.close()


def inserted(rows: "pa.Table") -> "pa.Table":
    """Return rows of a snapshot as changes: each came once."""
    import pyarrow as pa

    return rows.append_column(WEIGHT, pa.array([1] * rows.num_rows, pa.int64()))


def rows_of(reader: "pa.RecordBatchReader") -> "pa.Table | None":
    """Return the next rows of a snapshot, None at its end."""
    import pyarrow as pa

    for batch in reader:
        if batch.num_rows:
            return pa.Table.from_batches([batch])
    return None

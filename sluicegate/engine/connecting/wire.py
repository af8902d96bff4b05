"""Between the bytes of connectors and rows: what a connector's `format` says (contract §9.7)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluicegate.engine.batch import Batch
from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats import config
from sluicegate.engine.formats.config import (
    KEYED,
    Csv,
    InputFormat,
    JsonOutput,
    OutputFormat,
    ParquetOutput,
)
from sluicegate.engine.formats.splitting import Splitter
from sluicegate.engine.plan import Table, View

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from sluicegate.engine.encoding import Encoder

Cursors = Callable[[], "DuckDBPyConnection"]
"""Gives a connection for the casts of one chunk."""


@dataclass(frozen=True)
class Reader:
    """Reads the bytes of one input connector."""

    table: Table
    format: InputFormat
    most: int | None
    cursor: Cursors

    def splitter(self) -> Splitter:
        """Return what finds the records of one file or object."""
        return Splitter(self.format, self.most)

    def read(self, data: bytes, *, first: bool) -> Batch:
        """Parse whole records; `first` are those at the beginning of a file or object, after its header."""
        from sluicegate.engine.formats.reading import read

        reading = self.format
        if isinstance(reading, Csv) and reading.headers and not first:
            reading = replace(reading, headers=False)
        with self.cursor() as cursor:
            return read(data, self.table, reading, cursor)


def reader(
    endpoint: str, given: Mapping[str, Any] | None, table: Table, most: int | None, cursor: Cursors
) -> Reader:
    """Return the reader of a connector; raises EngineError for a format that cannot be read."""
    name, configured = _format(endpoint, given)
    return Reader(table, config.reading(endpoint, name, configured, table), most, cursor)


class Writer:
    """Writes the bytes of one output connector, in threads."""

    def __init__(self, cursor: "DuckDBPyConnection", relation: str, writing: OutputFormat) -> None:
        """Write the changes of a relation, given by its physical name, over a connection of its own."""
        self._cursor = cursor
        self._relation = relation
        self._writing = writing
        self._encoder: Encoder | None = None

    def pieces(self, rows: "pa.Table") -> Iterator[bytes]:
        """Yield the bytes for rows with their weights in `~w`."""
        from sluicegate.engine.encoding import Encoder

        if self._encoder is None:
            self._encoder = Encoder(self._cursor, self._relation, self._writing)
        for message in self._encoder.messages(rows):
            yield message.value or b""

    def close(self) -> None:
        """Let go of the connection."""
        self._cursor.close()


def writing(endpoint: str, given: Mapping[str, Any] | None, view: View, transport: str) -> OutputFormat:
    """Return the format of a connector; raises EngineError for one that its transport cannot take."""
    name, configured = _format(endpoint, given)
    found = config.writing(endpoint, name, configured, view.columns)
    if isinstance(found, JsonOutput) and found.update_format in KEYED:
        raise config.keyed(endpoint, found.update_format, transport)
    if isinstance(found, ParquetOutput):
        message = f"'{endpoint}' cannot write parquet: {transport} adds step to step, and a file of Parquet "
        message += "cannot be added to; use csv or json, or ask for the view with a query in parquet"
        details = {"endpoint_name": endpoint, "error": message}
        raise EngineError(400, "ConfigError.OutputFormatNotSupported", message, details)
    return found


def _format(endpoint: str, given: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    if given is None:
        message = f'Connector \'{endpoint}\' needs a format, such as {{"name": "json"}}'
        raise EngineError(400, "ConfigError.FormatNotSpecified", message, {"endpoint_name": endpoint})
    return given["name"], given["config"]

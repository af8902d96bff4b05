"""Defaults of columns: the values of absent ones as JSON, and those that read a connector's metadata."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

METADATA = "~metadata"
"""What expressions call the metadata of a connector, a JSON value."""
AS_TEXT = {"decimal", "date", "time", "timestamp", "uuid", "interval"}
"""Kinds of columns whose values are text in JSON."""


def to_json(typed: str, kind: str) -> str:
    """Return the expression that makes JSON of a typed one, to be read by `of_json`."""
    if kind == "binary":
        return f"to_json(hex({typed}))"
    return f"to_json({typed}::VARCHAR)" if kind in AS_TEXT else f"to_json({typed})"


def of_json(text: str | None, kind: str) -> Any:
    """Return the JSON value of a column that an expression of `to_json` has given."""
    value = None if text is None else json.loads(text)
    return list(bytes.fromhex(value)) if kind == "binary" and value is not None else value


def metadata(text: str | None) -> Mapping[str, Any] | None:
    """Read the metadata of a request. Raises EngineError for what is no JSON object."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"connector_metadata is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise _invalid("connector_metadata must be a JSON object")
    return found


def with_metadata(table: Table, found: Mapping[str, Any], cursor: "DuckDBPyConnection") -> Table:
    """Return the table with the defaults that metadata give. Raises EngineError where one cannot be had."""
    import duckdb

    computed = [column for column in table.columns if column.computed is not None]
    if not computed:
        return table
    values = ", ".join(to_json(str(column.computed), column.kind) for column in computed)
    query = f'SELECT {values} FROM (SELECT CAST($1 AS JSON) AS "{METADATA}")'
    try:
        [row] = cursor.execute(query, [json.dumps(found)]).fetchall()
    except duckdb.Error as error:
        raise _invalid(f"the default of a column cannot be had from connector_metadata: {error}") from error
    given = {column.name: of_json(text, column.kind) for column, text in zip(computed, row, strict=True)}
    columns = (replace(column, default=given.get(column.name, column.default)) for column in table.columns)
    return replace(table, columns=tuple(columns))


def _invalid(reason: str) -> EngineError:
    return EngineError(400, "InvalidParam", f"Invalid parameter: {reason}", {"error": reason})

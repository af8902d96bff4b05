"""Casting: columns as they were read become columns of the table's types, and DuckDB tells what is wrong.

The cast runs on a cursor of its own, outside the writer's transaction, and touches no table.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sluicegate.engine.formats.columns import own
from sluicegate.engine.plan import Column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MARKS = ("n", "event", "chunk")
"""What travels beside the values: place among the changes, record number, and what is refused together."""
RAW = "~raw"
YEARS = "0001-01-01", "9999-12-31 23:59:59.999999"

Staged = Sequence[tuple[int, Column]]
"""Columns of a table with their places."""


class CursorNeeded(Exception):
    """Rows were to be read without DuckDB, and only it can tell what is right."""


class Wrong(NamedTuple):
    """A row that does not fit: its number, and the place of the first column that it is about."""

    row: int
    place: int


def from_json(column: Column, raw: str) -> str:
    """Return the expression that makes a value of the column of what `columns` made of JSON."""
    if column.kind in AS_THEY_ARE or column.type == "DOUBLE":
        return raw
    if column.kind == "variant":
        return f"TRY(CAST({raw} AS JSON))"
    if column.kind == "nested":
        return f"TRY(CAST(CAST({raw} AS JSON) AS {column.type}))"
    return _bounded(column, raw)


def default(column: Column, parameter: str) -> str:
    """Return the expression that makes a column's default of what `columns.plain` returns."""
    loaded = column.type if column.kind == "integer" else LOADED.get(column.kind, "VARCHAR")
    return from_json(column, f"CAST({parameter} AS {loaded})")


def from_text(column: Column, raw: str) -> str:
    """Return the expression that makes a value of the column of a field of CSV."""
    kind = column.kind
    if kind in ("text", "binary"):
        return raw
    if kind == "boolean":
        return f"CASE lower({raw}) WHEN 'true' THEN true WHEN 'false' THEN false END"
    if kind == "integer":
        # The cast itself would round a fraction.
        value = f"TRY_CAST({raw} AS {column.type})"
        whole = f"regexp_full_match({raw}, '\\s*[+-]?[0-9]+\\s*')"
        return f"CASE WHEN CAST({value} AS VARCHAR) = {raw} OR {whole} THEN {value} END"
    if kind == "variant":
        return f"TRY(CAST(json({raw}) AS JSON))"
    if kind == "nested":
        return f"TRY(CAST(CAST({raw} AS JSON) AS {column.type}))"
    return _bounded(column, raw)


Caster = Callable[[Column, str], str]

AS_THEY_ARE = {"boolean", "integer", "text", "binary"}
LOADED = {"boolean": "BOOLEAN", "float": "DOUBLE", "binary": "BLOB"}
"""DuckDB's words for how values travel; integers by their type, every other kind as text."""


def cast(
    cursor: "DuckDBPyConnection | None", raw: pa.Table, columns: Staged, caster: Caster, *, strict: bool
) -> tuple[pa.Table, list[Wrong]]:
    """Return the rows with typed columns `c{i}`, and which of them are wrong; `strict` upholds NOT NULL.

    `raw` has a column `r{i}` for each of the columns, and the marks. Raises CursorNeeded.
    """
    required = {i for i, column in columns if strict and not column.nullable}
    if settled := _settled(raw, columns, required):
        return settled, []
    if cursor is None:
        raise CursorNeeded
    with shown(cursor, raw):
        return judge(cursor, f'temp."{RAW}"', columns, caster, required)


@contextmanager
def shown(cursor: "DuckDBPyConnection", raw: pa.Table) -> Iterator[None]:
    """Show a table to the cursor as `~raw` for the length of the block."""
    cursor.register(RAW, raw)
    try:
        yield
    finally:
        cursor.unregister(RAW)


def judge(
    cursor: "DuckDBPyConnection", source: str, columns: Staged, caster: Caster, required: set[int]
) -> tuple[pa.Table, list[Wrong]]:
    """Cast the rows of a relation that has the columns `r{i}` and the marks."""
    typed = cursor.sql(_query(source, columns, required, caster)).to_arrow_table()
    bad = typed.column("bad").combine_chunks()
    found = pc.indices_nonzero(pc.greater_equal(bad, 0)).to_pylist()
    return typed.drop_columns(["bad"]), [Wrong(index, bad[index].as_py()) for index in found]


def _settled(raw: pa.Table, columns: Staged, required: set[int]) -> pa.Table | None:
    """Return the typed rows where Arrow alone gets there: for a small batch that is much quicker."""
    arrays = {mark: raw.column(mark) for mark in MARKS}
    for i, column in columns:
        found = own(column, raw.column(f"r{i}"))
        if found is None or (found.null_count and i in required):
            return None
        arrays[f"c{i}"] = found
    return pa.table(arrays)


def _query(source: str, columns: Staged, required: set[int], caster: Caster) -> str:
    casts = "".join(f", {caster(column, f'r{i}')} AS c{i}" for i, column in columns)
    judged = ""
    for i, column in columns:
        if i in required:
            judged += f" WHEN c{i} IS NULL THEN {i}"
        elif caster(column, "r") != "r":
            judged += f" WHEN c{i} IS NULL AND r{i} IS NOT NULL THEN {i}"
    bad = f"CASE{judged} ELSE -1 END" if judged else "-1"
    kept = ", ".join([*MARKS, *(f"c{i}" for i, _ in columns)])
    return f"SELECT {kept}, {bad} AS bad FROM (SELECT *{casts} FROM {source})"


def _bounded(column: Column, raw: str) -> str:
    """Cast, and leave out what DuckDB has beyond SQL: infinite dates, and years that no client can read."""
    value = f"TRY_CAST({raw} AS {column.type})"
    if column.kind not in ("date", "timestamp"):
        return value
    if column.type == "TIMESTAMP":  # which by itself would not heed an offset
        value = f"CAST(TRY_CAST({raw} AS TIMESTAMPTZ) AS TIMESTAMP)"
    low, high = YEARS if column.kind == "timestamp" else (YEARS[0], YEARS[1][:10])
    word = column.type
    return f"CASE WHEN {value} BETWEEN {word} '{low}' AND {word} '{high}' THEN {value} END"

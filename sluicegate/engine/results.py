"""What a query answers, as pieces of bytes: text, JSON lines, a hash (contract §5.4).

Arrow's formats are in `arrowresults`. The work is DuckDB's, and no more than a piece is ever held here.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
from duckdb.sqltypes import DuckDBPyType

from sluicegate.engine.jsonsql import as_json, literal

ROWS = 1000
"""Rows fetched at once."""
WIDTH = 64
"""Characters of a cell that the text format shows."""
RESULT = 'temp."~result"'
MODULUS = 1 << 64


@dataclass(frozen=True)
class Result:
    """A query that is bound and has not run, and the most rows it may yield."""

    cursor: duckdb.DuckDBPyConnection
    sql: str
    names: tuple[str, ...]
    kinds: tuple[DuckDBPyType, ...]
    most: int | None = None

    @classmethod
    def of(cls, cursor: duckdb.DuckDBPyConnection, sql: str, most: int | None = None) -> "Result":
        """Bind a query; raises DuckDB's errors."""
        bound = cursor.sql(sql)
        return cls(cursor, sql, tuple(bound.columns), tuple(bound.types), most)

    @property
    def places(self) -> list[str]:
        """Return names of the columns that no two share."""
        return [f"c{i}" for i in range(len(self.names))]

    def select(self, expressions: str) -> str:
        """Return a query over this one, whose columns it calls by place."""
        return f"SELECT {expressions} FROM ({self.sql}) AS q({', '.join(self.places)})"

    def rows(self, sql: str) -> Iterator[list[tuple[object, ...]]]:
        """Yield the rows of a query over this one, some at a time."""
        self.cursor.execute(sql)
        count = 0
        while rows := self.cursor.fetchmany(ROWS):
            count += len(rows)
            check_count(count, self.most)
            yield rows


class TooMany(Exception):
    """A query yields more rows than it may."""


def check_count(count: int, most: int | None) -> None:
    """Raise TooMany where there are more rows than there may be."""
    if most is not None and count > most:
        text = f"the query yields more than {most} rows: narrow it down, or raise adhoc_query_max_rows"
        raise TooMany(f"{text} in the dev_tweaks of the runtime configuration")


def drained(result: Result) -> Iterator[bytes]:
    """Run a query whose rows nobody wants; yields nothing."""
    for _ in result.rows(result.sql):
        yield from ()


def as_lines(result: Result) -> Iterator[bytes]:
    """Yield the rows as JSON objects, one a line."""
    columns = zip(result.names, result.places, result.kinds, strict=True)
    pairs = ", ".join(f"{literal(name)}, {as_json(place, kind)}" for name, place, kind in columns)
    for rows in result.rows(result.select(f"CAST(json_object({pairs}) AS VARCHAR)")):
        yield "".join(f"{row[0]}\n" for row in rows).encode()


def as_table(result: Result) -> Iterator[bytes]:
    """Yield the rows as a table; DuckDB keeps it, on disk where it is large, until its widths are known."""
    columns = zip(result.places, result.kinds, strict=True)
    cells = ", ".join(f"{_as_text(place, kind)} AS {place}" for place, kind in columns)
    limited = "" if result.most is None else f" LIMIT {result.most + 1}"
    run = result.cursor.execute
    run(f'CREATE OR REPLACE TEMP TABLE "~result" AS {result.select(cells)}{limited}')
    try:
        longest = ", ".join(f"coalesce(max(length({place})), 0)" for place in result.places)
        found = run(f"SELECT {longest} FROM {RESULT}").fetchall()[0]
        names = [_cut(name) for name in result.names]
        widths = [max(len(name), int(width)) for name, width in zip(names, found, strict=True)]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
        yield (rule + _line(names, widths) + rule).encode()
        for rows in result.rows(f"SELECT * FROM {RESULT}"):
            yield "".join(_line(row, widths) for row in rows).encode()
        yield rule.encode()
    finally:
        result.cursor.abort()
        run(f"DROP TABLE IF EXISTS {RESULT}")


def as_hash(result: Result) -> Iterator[bytes]:
    """Yield one hash of all rows, whatever their order.

    It is SHA-256, in upper-case hexadecimal digits, of: the JSON list of [name, type] of each column, in
    UTF-8; how many rows there are; and two sums, modulo 2^64, over all rows of the lower and the upper half
    of the MD5 of the row. The three numbers are 8 bytes each, little-endian. A row is the JSON list of its
    values as the format json writes them, except that a REAL or DOUBLE is its text, so that NaN is not NULL.
    """
    values = ", ".join(
        f"CAST({place} AS VARCHAR)" if kind.id in ("float", "double") else as_json(place, kind)
        for place, kind in zip(result.places, result.kinds, strict=True)
    )
    row = f"CAST(json_array({values}) AS VARCHAR)"
    rows = result.select(f"md5_number_lower({row}) AS low, md5_number_upper({row}) AS high")
    found = result.cursor.execute(f"SELECT count(*), sum(low), sum(high) FROM ({rows})").fetchall()[0]
    count, low, high = (int(number or 0) % MODULUS for number in found)
    check_count(count, result.most)
    schema = [[name, str(kind)] for name, kind in zip(result.names, result.kinds, strict=True)]
    digest = hashlib.sha256(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode())
    for number in (count, low, high):
        digest.update(number.to_bytes(8, "little"))
    yield digest.hexdigest().upper().encode()


def _as_text(column: str, kind: DuckDBPyType) -> str:
    shown = f"CAST({column} AS VARCHAR)"
    if kind.id.startswith("timestamp"):
        shown = f"replace({shown}, ' ', 'T')"
    elif kind.id == "blob":
        shown = f"lower(hex({column}))"
    elif kind.id == "variant":
        shown = f"CAST(CAST({column} AS JSON) AS VARCHAR)"
    shown = f"replace(replace({shown}, chr(13), ''), chr(10), '\\n')"
    return f"CASE WHEN length({shown}) > {WIDTH} THEN left({shown}, {WIDTH}) || '...' ELSE {shown} END"


def _line(cells: Sequence[object], widths: Sequence[int]) -> str:
    shown = (
        f" {'' if cell is None else cell!s:<{width}} " for cell, width in zip(cells, widths, strict=True)
    )
    return "|" + "|".join(shown) + "|\n"


def _cut(name: str) -> str:
    return name if len(name) <= WIDTH else name[:WIDTH] + "..."

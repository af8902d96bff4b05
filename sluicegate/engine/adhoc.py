"""Ad-hoc queries: which SQL is let through, and how its rows are written.

sqlglot is imported with this module, so the module is imported with the first query.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import duckdb
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from sluicegate.engine import dialect
from sluicegate.engine.columntypes import quote
from sluicegate.engine.errors import EngineError, query_failed
from sluicegate.engine.plan import Plan, Relation, Table
from sluicegate.engine.relations import QUERIES, Unreachable, exact, localize, name_columns

FORMATS = ("text", "json")
ALLOWED = "only SELECT, VALUES and INSERT INTO a table are allowed"
ROWS = 1000
"""Rows fetched at once: what a query holds in memory of its result."""
WIDTH = 64
"""Characters of a cell that the text format shows."""
RESULT = 'temp."~result"'


@dataclass(frozen=True)
class Select:
    """A statement that reads."""

    sql: str


@dataclass(frozen=True)
class Insert:
    """A statement that writes the rows of a query into a table."""

    table: Table
    columns: tuple[str, ...]
    sql: str


Statement = Select | Insert


def check_format(name: str) -> None:
    """Refuse a format that this release does not write."""
    if name not in FORMATS:
        raise query_failed(f"the format '{name}' is not supported: this release has {' and '.join(FORMATS)}")


def parse(sql: str, plan: Plan) -> list[Statement]:
    """Read the statements of a request; raises what the client is told."""
    try:
        parsed = [(s, dialect.parse(s, sql)) for s in dialect.statements(sql)]
    except (ParseError, TokenError) as error:
        raise query_failed(f"SQL error: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise query_failed("the query is nested too deeply") from error
    if not parsed:
        raise query_failed("the query is empty")
    return [_statement(tree, plan) for _, tree in parsed]


def _statement(tree: exp.Expr, plan: Plan) -> Statement:
    physical = _readable(plan)
    try:
        if isinstance(tree, exp.Insert):
            return _insert(tree, plan, physical)
        if isinstance(tree, QUERIES):
            localize(tree, physical)
            name_columns(tree, lambda _, node: node.sql(dialect="duckdb").lower())
            return Select(tree.sql(dialect="duckdb", identify=True))
    except Unreachable as error:
        raise query_failed(str(error)) from error
    raise query_failed(ALLOWED)


def _insert(tree: exp.Insert, plan: Plan, physical: Callable[[str], str | None]) -> Insert:
    target = tree.this
    listed = target.expressions if isinstance(target, exp.Schema) else []
    named = target.this if isinstance(target, exp.Schema) else target
    name = exact(named.this)
    table = next((table for table in plan.tables if table.name == name), None)
    if table is None:
        raise query_failed(f"table '{name}' not found")
    extras = {key for key, value in tree.args.items() if value} - {"this", "expression"}
    if extras or not isinstance(tree.expression, QUERIES):
        raise query_failed("an INSERT has the form INSERT INTO table [(columns)] query")
    columns = tuple(exact(part) for part in listed) or tuple(column.name for column in table.columns)
    known = {column.name for column in table.columns}
    for column in columns:
        if column not in known or columns.count(column) > 1:
            raise query_failed(f"table '{name}' has no column '{column}', or it is given twice")
    localize(tree.expression, physical)
    return Insert(table, columns, tree.expression.sql(dialect="duckdb", identify=True))


def _readable(plan: Plan) -> Callable[[str], str | None]:
    by_name: dict[str, Relation] = {relation.name: relation for relation in plan.relations}

    def physical(name: str) -> str | None:
        relation = by_name.get(name)
        if relation is not None and not relation.queryable:
            raise query_failed(_not_materialized(relation))
        return relation.physical if relation else None

    return physical


def _not_materialized(relation: Relation) -> str:
    if isinstance(relation, Table):
        how = "declare it WITH ('materialized' = 'true') or give it a PRIMARY KEY"
    else:
        how = "declare it with CREATE MATERIALIZED VIEW"
    return f"Tried to SELECT from a non-materialized source '{relation.name}': to query it ad hoc, {how}"


class Run:
    """One statement on a cursor of its own, read row by row in a thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.abandoned = False

    def interrupt(self) -> None:
        """Stop it, whatever it is doing."""
        self.abandoned = True
        self._cursor.interrupt()

    def rows_unread(self, select: Select) -> Iterator[bytes]:
        """Run a statement whose rows nobody wants; yields nothing."""
        for _ in self._pieces(select.sql):
            yield from ()

    def json(self, select: Select) -> Iterator[bytes]:
        """Yield pieces of the result as JSON objects, one a line."""
        columns = self._columns(select.sql)
        pairs = ", ".join(
            f"{_literal(name)}, {_as_json(f'c{i}', kind)}" for i, (name, kind) in enumerate(columns)
        )
        aliases = ", ".join(f"c{i}" for i in range(len(columns)))
        sql = f"SELECT CAST(json_object({pairs}) AS VARCHAR) FROM ({select.sql}) AS q({aliases})"
        for rows in self._pieces(sql):
            yield "".join(f"{row[0]}\n" for row in rows).encode()

    def text(self, select: Select) -> Iterator[bytes]:
        """Yield pieces of the result as a table; it is kept in DuckDB until its widths are known."""
        columns = self._columns(select.sql)
        aliases = [f"c{i}" for i in range(len(columns))]
        cells = ", ".join(
            f"{_as_text(a, kind)} AS {a}" for a, (_, kind) in zip(aliases, columns, strict=True)
        )
        self._cursor.execute(
            f'CREATE OR REPLACE TEMP TABLE "~result" AS SELECT {cells} '
            f"FROM ({select.sql}) AS q({', '.join(aliases)})"
        )
        longest = ", ".join(f"coalesce(max(length({a})), 0)" for a in aliases)
        found = self._cursor.execute(f"SELECT {longest} FROM {RESULT}").fetchall()[0]
        names = [_cut(name) for name, _ in columns]
        widths = [max(len(name), int(width)) for name, width in zip(names, found, strict=True)]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
        yield (rule + _line(names, widths) + rule).encode()
        for rows in self._pieces(f"SELECT * FROM {RESULT}"):
            yield "".join(_line(row, widths) for row in rows).encode()
        yield rule.encode()

    def _columns(self, sql: str) -> list[tuple[str, str]]:
        return [(str(row[0]), str(row[1])) for row in self._cursor.execute(f"DESCRIBE {sql}").fetchall()]

    def _pieces(self, sql: str) -> Iterator[list[tuple[object, ...]]]:
        self._cursor.execute(sql)
        while rows := self._cursor.fetchmany(ROWS):
            if self.abandoned:
                raise duckdb.InterruptException("Interrupted")
            yield rows


def explain(error: Exception) -> EngineError:
    """Return what a client is told of an error of DuckDB."""
    return error if isinstance(error, EngineError) else query_failed(str(error).split("\n\nLINE ")[0].strip())


def _as_json(column: str, kind: str) -> str:
    """Write a column so that JSON keeps its value: the rules of the contract, by type."""
    if kind in ("FLOAT", "DOUBLE"):  # JSON has no NaN; a REAL keeps its own digits
        return f"CASE WHEN isfinite({column}) THEN CAST(CAST({column} AS VARCHAR) AS JSON) END"
    if kind.startswith("TIMESTAMP"):
        return f"replace(CAST({column} AS VARCHAR), ' ', 'T')"
    if kind == "JSON":
        return f"CAST({column} AS VARCHAR)"
    if kind == "BLOB":
        digits = f"hex({column})[2 * i + 1 : 2 * i + 2]"
        return f"list_transform(range(octet_length({column})), lambda i: CAST('0x' || {digits} AS INTEGER))"
    return column


def _as_text(column: str, kind: str) -> str:
    shown = f"CAST({column} AS VARCHAR)"
    if kind.startswith("TIMESTAMP"):
        shown = f"replace({shown}, ' ', 'T')"
    if kind == "BLOB":
        shown = f"lower(hex({column}))"
    shown = f"replace(replace({shown}, chr(13), ''), chr(10), '\\n')"
    return f"CASE WHEN length({shown}) > {WIDTH} THEN left({shown}, {WIDTH}) || '...' ELSE {shown} END"


def _line(cells: Sequence[object], widths: Sequence[int]) -> str:
    shown = (
        f" {'' if cell is None else cell!s:<{width}} " for cell, width in zip(cells, widths, strict=True)
    )
    return "|" + "|".join(shown) + "|\n"


def _cut(name: str) -> str:
    return name if len(name) <= WIDTH else name[:WIDTH] + "..."


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def count_of_inserted(count: int) -> Select:
    """Return the query that answers an INSERT: one row with how many rows went in."""
    return Select(f"SELECT CAST({count} AS BIGINT) AS {quote('count')}")

"""Ad-hoc queries: which SQL is let through.

sqlglot is imported with this module, so the module is imported with the first query.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from sluicegate.engine import dialect, jsonwords, prepared
from sluicegate.engine.errors import EngineError, query_failed
from sluicegate.engine.plan import Plan, Relation, Table
from sluicegate.engine.reach import TOO_DEEP
from sluicegate.engine.relations import QUERIES, Unreachable, exact, localize, name_columns

ALLOWED = "only SELECT, VALUES, INSERT INTO a table, PREPARE and EXECUTE are allowed"
LONGEST = 1 << 20
"""Characters of a request's SQL."""
TOKENS = 50_000
"""Words of it: to parse them takes seconds of pure Python, beside which little else gets done."""


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


def parse(sql: str, plan: Plan) -> list[Statement]:
    """Read the statements of a request; raises what the client is told."""
    try:
        trees = prepared.expand(_trees(sql))
    except (ParseError, TokenError) as error:
        raise query_failed(f"SQL error: {str(error).splitlines()[0]}") from error
    except prepared.Unprepared as error:
        raise query_failed(str(error)) from error
    except RecursionError as error:
        raise query_failed(TOO_DEEP) from error
    if not trees:
        raise query_failed("the query is empty")
    try:
        return [_statement(tree, plan) for tree in trees]
    except RecursionError as error:
        raise query_failed(TOO_DEEP) from error


def readable(plan: Plan) -> list[str]:
    """Return what queries may read, by its names inside DuckDB."""
    return [relation.physical for relation in plan.relations if relation.queryable]


def _trees(sql: str) -> Iterator[prepared.Parsed]:
    if len(sql) > LONGEST:
        raise query_failed(f"the query has more than {LONGEST} characters")
    if "\0" in sql:
        raise query_failed("the query has a NUL character")
    found = list(dialect.statements(sql))
    if sum(len(statement.tokens) for statement in found) > TOKENS:
        raise query_failed(f"the query has more than {TOKENS} words: put long lists into a table")
    for statement in found:
        yield prepared.read(statement, sql)


def _statement(tree: exp.Expr, plan: Plan) -> Statement:
    physical = _readable(plan)
    try:
        if isinstance(tree, exp.Insert):
            return _insert(tree, plan, physical)
        if isinstance(tree, QUERIES):
            name_columns(tree, lambda _, node: node.sql(dialect="duckdb").lower())
            jsonwords.rewrite(tree)
            localize(tree, physical)
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
    if named.args.get("db") or named.args.get("catalog"):
        raise query_failed("tables have no schema or catalogue")
    extras = {key for key, value in tree.args.items() if value} - {"this", "expression"}
    if extras or not isinstance(tree.expression, QUERIES):
        raise query_failed("an INSERT has the form INSERT INTO table [(columns)] query")
    columns = tuple(exact(part) for part in listed) or tuple(column.name for column in table.columns)
    known = {column.name for column in table.columns}
    for column in columns:
        if column not in known or columns.count(column) > 1:
            raise query_failed(f"table '{name}' has no column '{column}', or it is given twice")
    jsonwords.rewrite(tree.expression)
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


def explain(error: Exception) -> EngineError:
    """Return what a client is told of an error of DuckDB."""
    if isinstance(error, EngineError):
        return error
    text = str(error).split("\n\nLINE ")[0].split("\n\nPossible solutions")[0]
    if isinstance(error, MemoryError) or "Out of Memory" in text:
        text = f"the query needs more memory than it may have: {text or 'none is left'}"
    return query_failed(text.strip())

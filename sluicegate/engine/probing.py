"""What type an expression of a query has: DuckDB is asked, in the place where the expression stands.

The place is the expression's SELECT with the sources that it reads from and the WITH clauses around it. An
expression of a correlated subquery is asked about within the SELECT that it is correlated with.
"""

from collections.abc import Callable

from sqlglot import exp
from sqlglot.errors import ParseError

Describe = Callable[[str], str | None]
"""From a query to the type of its last column; nothing where DuckDB refuses it."""

DEPTH = 3
"""How many subqueries within each other a correlation is looked for in."""
SOURCES = ("from_", "joins", "laterals", "windows")
SHAPING = ("order", "limit", "offset", "distinct", "having", "qualify", "where", "with_")


class Probe:
    """Answers for the types of one query's expressions."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._known: dict[str, exp.DataType | None] = {}

    def type_of(self, node: exp.Expr) -> exp.DataType | None:
        """Return the type of a node that stands in its query."""
        for query in _questions(node):
            if query not in self._known:
                text = self._describe(query)
                self._known[query] = _type(text) if text else None
            found = self._known[query]
            if found is not None:
                return found
        return None


def _type(text: str) -> exp.DataType | None:
    """Read DuckDB's word for a type; it has some that no column can have, such as that of NULL."""
    try:
        return exp.DataType.build(text, dialect="duckdb")
    except ParseError:
        return exp.DataType(this=exp.DataType.Type.LIST, nested=True) if text.endswith("[]") else None


def _questions(node: exp.Expr) -> list[str]:
    select = _select(node)
    if select is None:
        return [f"SELECT {_sql(node)}"]
    asked = [_within(select, node, node.copy()), _whole(select, node)]
    inner = asked[0]
    child: exp.Expr = node
    for _ in range(DEPTH):
        child = select
        outer = _select(select)
        if outer is None:
            break
        inner = _within(outer, child, exp.Subquery(this=inner.copy()))
        asked.append(inner)
        select = outer
    with_ = _visible(node)
    return [_sql(_with(query, with_)) for query in asked]


def _within(select: exp.Select, node: exp.Expr, asked: exp.Expr) -> exp.Select:
    """Return `SELECT asked` from the sources of a SELECT, of a join only from those before the node."""
    parts = {name: select.args[name] for name in SOURCES if select.args.get(name)}
    query = exp.Select(expressions=[exp.Alias(this=asked, alias=exp.to_identifier("~t", quoted=True))])
    inside = _source_around(node, select)
    for name, part in parts.items():
        if isinstance(part, list):
            kept = part[: part.index(inside)] if inside in part else part
            query.set(name, [source.copy() for source in kept])
        elif part is not inside:
            query.set(name, part.copy())
    return query


def _whole(select: exp.Select, node: exp.Expr) -> exp.Select:
    """Return the SELECT with its columns and groups, and the node as one more column."""
    query = select.copy()
    for name in SHAPING:
        query.set(name, None)
    query.append("expressions", exp.Alias(this=node.copy(), alias=exp.to_identifier("~t", quoted=True)))
    return query


def _source_around(node: exp.Expr, select: exp.Select) -> exp.Expr | None:
    """Return the source whose own text a node is part of, unless it stands in the condition of a join."""
    child = node
    while child.parent is not None and child.parent is not select:
        if isinstance(child.parent, exp.Join) and child.arg_key in ("on", "using"):
            return None
        child = child.parent
    return child if isinstance(child, exp.From | exp.Join | exp.Lateral) else None


def _select(node: exp.Expr) -> exp.Select | None:
    found = node.find_ancestor(exp.Select)
    return found if isinstance(found, exp.Select) else None


def _visible(node: exp.Expr) -> exp.With | None:
    """Return the WITH clauses that a place sees, outermost first."""
    tables: list[exp.Expr] = []
    recursive = False
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            before = parent.expressions[: child.index or 0]
            tables = [*before, *tables]
            recursive = recursive or bool(parent.args.get("recursive"))
        elif isinstance(parent, exp.Query) and not isinstance(child, exp.With):
            with_ = parent.args.get("with_")
            tables = [*(with_.expressions if with_ else []), *tables]
            recursive = recursive or bool(with_ and with_.args.get("recursive"))
        child, parent = parent, parent.parent
    if not tables:
        return None
    return exp.With(expressions=[table.copy() for table in tables], recursive=recursive)


def _with(query: exp.Select, with_: exp.With | None) -> exp.Select:
    if with_ is None:
        return query
    query = query.copy()
    query.set("with_", with_.copy())
    return query


def _sql(query: exp.Expr) -> str:
    return query.sql(dialect="duckdb", identify=True)

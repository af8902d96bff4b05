"""Linear queries: filters, projections and UNION ALL of such. The change of one is the query of the change.

Where a query reads a relation, a copy of it reads what has changed of that relation instead, and carries the
weight along as its last column. A query that reads several relations, by UNION ALL, has a copy for each.
"""

from collections.abc import Iterator

from sqlglot import exp

from sluicegate.engine.applying import delta

WEIGHT = "~w"
PLAIN = {"expressions", "from_", "where", "joins", "order"}
"""The parts that a linear SELECT may have. Without LIMIT an order means nothing."""
LARGEST = 5_000
"""Nodes of a query that is looked at: common tables used often make it grow."""
SAFE = (
    *(exp.Column, exp.Identifier, exp.Alias, exp.Star, exp.Literal, exp.Null, exp.Boolean, exp.Paren),
    *(exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In),
    *(exp.Between, exp.Select, exp.From, exp.Where, exp.Table, exp.TableAlias, exp.Subquery, exp.Union),
)
"""What yields a value for any row."""


class Unsuited(Exception):
    """A query that cannot be maintained in a certain way, and why."""


def variants(query: exp.Expr) -> Iterator[tuple[str, exp.Query]]:
    """Yield, of each relation that a query reads, its name and the query of its change; raises Unsuited."""
    if type(query) is exp.Union:
        if query.args.get("distinct") or query.args.get("by_name") or query.args.get("limit"):
            raise Unsuited("it has a set operation other than UNION ALL, or a LIMIT")
        yield from variants(query.left)
        yield from variants(query.right)
    elif isinstance(query, exp.Subquery) and set(_given(query)) <= {"this", "alias"}:
        yield from variants(query.this)
    elif isinstance(query, exp.Select):
        check(query, PLAIN)
        source = query.args.get("from_")
        for name, changed in _changed(source.this) if source is not None else ():
            yield name, _weighted(query, changed)
    else:
        raise Unsuited("it is more than SELECT and UNION ALL")


def check(select: exp.Select, allowed: set[str]) -> None:
    """Refuse a SELECT that has other parts than these, or that looks beyond the row at hand."""
    for part in _given(select):
        if part not in allowed:
            raise Unsuited(f"it has {part.strip('_').upper()}")
    joins = select.args.get("joins") or ()
    if any(not isinstance(join.this, exp.Unnest) or join.side not in ("", "LEFT") for join in joins):
        raise Unsuited("it has a JOIN")
    for node in expressions(select, "expressions", "where", "joins", "group", "having"):
        if node.find(exp.Query):
            raise Unsuited("it has a subquery in an expression")
        if node.find(exp.Window, exp.Columns):
            raise Unsuited("it has a window function or COLUMNS")
        if "group" not in allowed and node.find(exp.AggFunc):
            raise Unsuited("it has an aggregate")


def whole_rows(select: exp.Select) -> str | None:
    """Return the name under which a SELECT may take a row of its source as a whole, if it uses that name."""
    source = select.args.get("from_")
    name = source.this.alias_or_name.lower() if source is not None else ""
    for node in expressions(select, "expressions", "where", "joins", "group", "having"):
        if any(not one.table and one.name.lower() == name for one in node.find_all(exp.Column)):
            return name
    return None


def expressions(select: exp.Select, *parts: str) -> Iterator[exp.Expr]:
    """Yield what the given parts of a SELECT consist of."""
    for part in parts:
        given = select.args.get(part)
        yield from given if isinstance(given, list) else [given] if given else []


def inlined(query: exp.Expr) -> exp.Expr:
    """Return a query with its common tables, those of its WITH, put where they are read."""
    query = query.copy()
    common = query.args.get("with_")
    if common is None:
        return query
    if common.args.get("recursive") or len(list(query.find_all(exp.With))) > 1:
        raise Unsuited("it has WITH RECURSIVE, or WITH inside of a query")
    query.set("with_", None)
    definitions: dict[str, exp.CTE] = {}
    for table in common.expressions:
        table.set("this", _substituted(table.this, definitions))
        definitions[table.alias] = table
    return _substituted(query, definitions)


def fallible(query: exp.Expr) -> bool:
    """Tell whether a query may fail for some row."""
    return any(not isinstance(node, SAFE) for node in query.walk())


def _substituted(query: exp.Expr, definitions: dict[str, exp.CTE]) -> exp.Expr:
    for table in list(query.find_all(exp.Table)):
        definition = definitions.get(table.name)
        if definition is None or table.args.get("db"):
            continue
        columns = definition.args["alias"].columns
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        if not alias.columns and columns:
            alias.set("columns", [column.copy() for column in columns])
        table.replace(exp.Subquery(this=definition.this.copy(), alias=alias.copy()))
    if sum(1 for _ in query.walk()) > LARGEST:
        raise Unsuited("its WITH makes it too large")
    return query


def _changed(source: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """Yield what may stand in the place of a source: a relation's change, or a query of one."""
    if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
        if set(_given(source)) - {"this", "alias"}:
            raise Unsuited("it reads a sample or a pivot")
        named = exp.to_identifier(delta(source.name), quoted=True)
        temporary = exp.to_identifier("temp", quoted=True)
        yield source.name, exp.Table(this=named, db=temporary, alias=_alias(source))
    elif isinstance(source, exp.Subquery) and not set(_given(source)) - {"this", "alias"}:
        for name, inner in variants(source.this):
            yield name, exp.Subquery(this=inner, alias=_alias(source))
    else:
        raise Unsuited("it reads more than relations and queries")


def _alias(source: exp.Expr) -> exp.TableAlias:
    given = source.args.get("alias")
    alias = (
        given.copy() if given else exp.TableAlias(this=exp.to_identifier(source.name or "~q", quoted=True))
    )
    if alias.columns:
        alias.append("columns", exp.to_identifier(WEIGHT, quoted=True))
    return alias


def _weighted(select: exp.Select, source: exp.Expr) -> exp.Select:
    """Return a SELECT that reads another source, with the weight of its rows as last column."""
    weighted = select.copy()
    weighted.set("order", None)
    weighted.set("from_", exp.From(this=source))
    for selected in weighted.expressions:
        star = selected.this if isinstance(selected, exp.Column) else selected
        if isinstance(star, exp.Star):
            hidden = exp.to_identifier(WEIGHT, quoted=True)
            own = isinstance(selected, exp.Star) or selected.table == source.alias
            star.set("except_", [*(star.args.get("except_") or []), *([hidden] if own else [])])
    weighted.append("expressions", exp.column(WEIGHT, table=source.alias, quoted=True))
    return weighted


def _given(node: exp.Expr) -> list[str]:
    return [key for key, value in node.args.items() if value]

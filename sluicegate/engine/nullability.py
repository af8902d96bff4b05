"""Which columns of a view cannot be NULL, as far as that follows from its query.

What is not understood may be NULL: a client that is told so is never wrong.
"""

from collections.abc import Mapping

from sqlglot import exp

Known = Mapping[str, frozenset[str]]
"""Of each relation, by its name inside DuckDB, the columns that are never NULL."""
WHOLE = (
    *(exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Paren, exp.DPipe, exp.And, exp.Or, exp.Not),
    *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Upper, exp.Lower, exp.Length, exp.Abs),
)
"""Expressions that are NULL only where a part of them is."""
ALWAYS = (exp.Literal, exp.Boolean, exp.Count, exp.RowNumber, exp.Is, exp.Exists)
NEVER_BELOW = {"LEFT": "right", "RIGHT": "left", "FULL": "both"}
"""By the side of an outer join, what it fills with NULL."""


def never_null(query: exp.Expr, known: Known) -> list[bool]:
    """Tell of each column of a query whether it is never NULL; nothing where that cannot be said."""
    if isinstance(query, exp.Subquery):
        return never_null(query.this, known)
    if isinstance(query, exp.SetOperation):
        return _of_both(query, _with(query, known))
    if not isinstance(query, exp.Select) or query.is_star or _has_sets(query):
        return []
    known = _with(query, known)
    sources = _sources(query, known)
    return [_sure(selected.unalias(), sources) for selected in query.selects]


def _of_both(query: exp.SetOperation, known: Known) -> list[bool]:
    left, right = (never_null(side, known) for side in (query.this, query.expression))
    if len(left) != len(right):
        return []
    return [one and other for one, other in zip(left, right, strict=True)]


def _with(query: exp.Query, known: Known) -> Known:
    found = dict(known)
    for common in query.ctes:
        names = [column.name for column in common.args["alias"].args.get("columns") or ()]
        found[common.alias] = _named(common.this, names, found)
    return found


def _named(query: exp.Expr, names: list[str], known: Known) -> frozenset[str]:
    sure = never_null(query, known)
    named = names or (query.named_selects if isinstance(query, exp.Query) else [])
    return frozenset(name for name, certain in zip(named, sure, strict=False) if certain)


def _has_sets(query: exp.Select) -> bool:
    """Tell whether a query groups by sets, which leave out columns."""
    group = query.args.get("group")
    return group is not None and group.find(exp.Rollup, exp.Cube, exp.GroupingSets) is not None


def _sources(query: exp.Select, known: Known) -> dict[str, frozenset[str]]:
    first = query.args.get("from_")
    found: dict[str, frozenset[str]] = {}
    if first is not None:
        found[first.this.alias_or_name] = _source(first.this, known)
    for join in query.args.get("joins") or ():
        side = NEVER_BELOW.get(str(join.args.get("side") or "").upper())
        if side in ("left", "both"):
            found = dict.fromkeys(found, frozenset())
        right = frozenset() if side in ("right", "both") else _source(join.this, known)
        found[join.this.alias_or_name] = right
    return found


def _source(source: exp.Expr, known: Known) -> frozenset[str]:
    if isinstance(source, exp.Table):
        renamed = source.args.get("alias") and source.args["alias"].args.get("columns")
        return frozenset() if renamed or source.args.get("pivots") else known.get(source.name, frozenset())
    if isinstance(source, exp.Subquery) and not source.args.get("pivots"):
        return _named(source.this, source.alias_column_names, known)
    return frozenset()


def _sure(node: exp.Expr, sources: Mapping[str, frozenset[str]]) -> bool:
    if isinstance(node, exp.Column):
        # A bare name is in one source only, but which is not said: it must be sure wherever it may be.
        if node.table:
            return node.name in sources.get(node.table, frozenset())
        return len(sources) == 1 and node.name in next(iter(sources.values()))
    if isinstance(node, ALWAYS):
        return True
    if isinstance(node, exp.Coalesce):
        return any(_sure(part, sources) for part in (node.this, *node.expressions))
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
        return _sure(node.this, sources)
    if isinstance(node, WHOLE):
        return all(_sure(part, sources) for part in node.iter_expressions())
    return False

"""Views that read themselves: `DECLARE RECURSIVE VIEW`, then `CREATE VIEW` of that name, as WITH RECURSIVE.

The result is the least set that contains what the view selects from itself, so equal rows are one row.
"""

from collections.abc import Iterator, Sequence

from sqlglot import exp

from sluicegate.engine.relations import exact

NOT_A_UNION = (
    "A recursive view needs the form query UNION query, where one query does not read the view itself"
)
NOT_YET = (
    "The view '{}' is declared RECURSIVE and not created yet; views that read each other are not available "
    "in the built-in engine: write them as one recursive view"
)


class NotAUnion(Exception):
    """A recursive view that has no beginning."""


def reads(query: exp.Expr, name: str) -> bool:
    """Tell whether a query reads a relation of a name."""
    return any(
        isinstance(t.this, exp.Identifier) and exact(t.this) == name for t in query.find_all(exp.Table)
    )


def closed(query: exp.Expr, name: str, columns: Sequence[str]) -> exp.Expr:
    """Return the query of a view that reads itself; raises NotAUnion."""
    branches = list(_branches(query))
    first = [branch for branch in branches if not reads(branch, name)]
    again = [branch for branch in branches if reads(branch, name)]
    if not first or not again:
        raise NotAUnion
    union = exp.Union(this=_all(first), expression=_all(again), distinct=True)
    identifiers = [exp.to_identifier(column, quoted=True) for column in (name, *columns)]
    alias = exp.TableAlias(this=identifiers[0], columns=identifiers[1:])
    table = exp.Table(this=identifiers[0].copy())
    outer = exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))
    outer.set("with_", exp.With(expressions=[exp.CTE(this=union, alias=alias)], recursive=True))
    return outer


def _branches(query: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(query, exp.Union):
        yield from _branches(query.this)
        yield from _branches(query.expression)
    elif isinstance(query, exp.Subquery) and not query.alias:
        yield from _branches(query.this)
    else:
        yield query


def _all(branches: Sequence[exp.Expr]) -> exp.Expr:
    found = branches[0].copy()
    for branch in branches[1:]:
        found = exp.Union(this=found, expression=branch.copy(), distinct=False)
    return exp.Subquery(this=found) if len(branches) > 1 else found

"""Names: which relation a query means, and what it is called inside DuckDB.

In a program `V0`, written without quotes, is `v0`, and `"V0"` is another relation. DuckDB ignores case even
in quotes, so a name with capitals gets a spelling of its own there. Every name of a query is resolved here,
before DuckDB sees it; thus no query reaches DuckDB's catalogues, files or Python's variables by name. What
a query reads from is a relation, a query, VALUES or one of a few functions, and nothing else.
"""

from collections.abc import Callable

from sqlglot import exp

from sluicegate.engine import stretch
from sluicegate.engine.allowed import TABLE_FUNCTIONS as TABLE_FUNCTION_NAMES

TABLE_FUNCTIONS = (exp.Unnest, exp.Explode, exp.GenerateSeries, exp.ExplodingGenerateSeries)
SOURCES = (exp.Table, exp.Subquery, exp.Values, exp.Lateral, *TABLE_FUNCTIONS)
"""What may follow FROM, JOIN or a comma."""
QUERIES = (exp.Query, exp.Values)
OTHERS = (
    *(exp.DML, exp.DDL, exp.Command, exp.Into, exp.Attach, exp.Copy, exp.Pragma),
    *(exp.Describe, exp.Show, exp.Summarize, exp.Set),
)
"""What hides in a query and is none."""

Physical = Callable[[str], str | None]
"""From a relation's exact name to its name inside DuckDB."""


class Unreachable(Exception):
    """A query reaches for what it may not have."""

    def __init__(self, message: str, node: exp.Expr) -> None:
        super().__init__(message)
        self.node = node


def exact(identifier: exp.Expr) -> str:
    """Return the name that an identifier means: unquoted ones are in lower case."""
    return identifier.name if identifier.args.get("quoted") else identifier.name.lower()


def physical_name(name: str) -> str:
    """Return the name of a relation inside DuckDB, which two names that differ in case do not share."""
    capitals = sum(1 << place for place, letter in enumerate(name) if letter != letter.lower())
    return f"{name.lower()}~{capitals:x}" if capitals else name


def localize(query: exp.Expr, physical: Physical) -> None:
    """Rewrite a query in place to DuckDB's names; raises Unreachable."""
    for identifier in query.find_all(exp.Identifier):
        identifier.set("this", exact(identifier))
    for other in query.find_all(*OTHERS):
        if not isinstance(other, QUERIES):
            raise Unreachable("A query may only read relations", other)
    _check_sources(query)
    renamed: dict[str, str] = {}
    for table in list(query.find_all(exp.Table)):
        _localize_table(table, physical, renamed)
    for column in query.find_all(exp.Column):
        qualifier = column.args.get("table")
        if qualifier is not None and qualifier.name in renamed:
            qualifier.set("this", renamed[qualifier.name])
    stretch.bound(query)


def name_columns(query: exp.Expr, name: Callable[[int, exp.Expr], str]) -> None:
    """Name the columns of a query that have none, by their place and expression."""
    first: exp.Expr = query
    while isinstance(first, exp.SetOperation | exp.Subquery):
        first = first.this
    if not isinstance(first, exp.Select):
        return
    for index, selected in enumerate(first.selects):
        if not isinstance(selected, exp.Alias | exp.Aliases | exp.Column) and not selected.is_star:
            alias = exp.Identifier(this=name(index, selected), quoted=True)
            selected.replace(exp.Alias(this=selected.copy(), alias=alias))


def quoted_names(query: exp.Expr) -> set[str]:
    """Return the names of a query's columns that are written in quotes."""
    names = set()
    for selected in query.selects if isinstance(query, exp.Query) else ():
        identifier = selected.args.get("alias") or selected.this
        if isinstance(identifier, exp.Identifier) and identifier.args.get("quoted"):
            names.add(identifier.name)
    return names


def _check_sources(query: exp.Expr) -> None:
    """Refuse every table function but the harmless ones, wherever it stands."""
    for clause in query.find_all(exp.From, exp.Join):
        if not isinstance(clause.this, SOURCES):
            raise Unreachable("This is no relation", clause)
    for lateral in query.find_all(exp.Lateral):
        if lateral.args.get("view") or not isinstance(lateral.this, exp.Subquery):
            _check_function(lateral)
    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            _check_function(table)


def _check_function(caller: exp.Expr) -> None:
    called = caller.this
    named = isinstance(called, exp.Anonymous) and called.name.lower() in TABLE_FUNCTION_NAMES
    if not named and not isinstance(called, TABLE_FUNCTIONS):
        raise Unreachable("This table function is not available", caller)


def _localize_table(table: exp.Table, physical: Physical, renamed: dict[str, str]) -> None:
    named = table.this
    if not isinstance(named, exp.Identifier):
        return
    if table.args.get("db"):
        raise Unreachable(f"Object '{table.args['db'].name}' not found", named)
    if _is_common_table(table, named.name):
        return
    found = physical(named.name)
    if found is None:
        raise Unreachable(f"Object '{named.name}' not found", named)
    if found != named.name:
        if not table.alias:
            renamed[named.name] = found
        named.set("this", found)


def _is_common_table(table: exp.Table, name: str) -> bool:
    """Tell whether a name is one of the WITH clauses around it."""
    child: exp.Expr = table
    parent = table.parent
    while parent is not None:
        visible: list[exp.Expr] = []
        if isinstance(parent, exp.With):
            earlier = parent.expressions[: child.index or 0]
            visible = [*earlier, child] if parent.args.get("recursive") else earlier
        elif isinstance(parent, exp.Query) and not isinstance(child, exp.With):
            visible = list(parent.ctes)
        if any(common.alias == name for common in visible):
            return True
        child, parent = parent, parent.parent
    return False

"""Classification: how each view of a program is going to follow its tables, settled at compile time.

    linear      filter, project, UNION ALL: the change of the view is the query of the change
    aggregate   SUM, COUNT, AVG by groups of a linear query: the change of each group is added to its sums
    difference  anything else: computed anew, and compared with what it was, when something it reads changes

The first two cost as much as what changes. They need the change of what they read, so a view that reads one
which nobody watches and which is maintained by difference is maintained by difference itself.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from sluicegate.engine import nowtime
from sluicegate.engine.applying import WEIGHT, scratch
from sluicegate.engine.dialect import tokenize
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Branch, Maintenance, View
from sluicegate.engine.views import aggregate, linear
from sluicegate.engine.views.aggregate import STORED, Aggregation
from sluicegate.engine.views.linear import Unsuited

CLOCK = {
    *("now", "today", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
    *("get_current_time", "get_current_timestamp", "transaction_timestamp", "getvariable"),
}
"""Words that make a query read the clock."""
BARE = {word for word in CLOCK if word.startswith(("current", "local"))}
"""Those of them that are called without parentheses."""
EXACT = ("HUGEINT", "DECIMAL")
"""Types of sums from which a summand can be taken off again."""

Columns = Sequence[tuple[str, str]]
"""Names and types of columns."""


@dataclass(frozen=True)
class Catalog:
    """What is known of the program so far, and of the functions of DuckDB."""

    views: Mapping[str, View]
    """By physical name."""
    tables: frozenset[str]
    """Physical names."""
    unsteady: frozenset[str]
    """Functions that yield different values for equal arguments, or that aggregate."""
    describe: Callable[[str], Columns]
    """From a query to its columns; raises Unsuited."""
    rehearse: Callable[[Sequence[str]], None]
    """Runs statements over empty relations; raises Unsuited."""


def classify(view: View, query: exp.Expr, columns: Columns, catalog: Catalog) -> View:
    """Return a view with how it is maintained; it is in DuckDB, and has these columns there."""
    sql = query.sql(dialect="duckdb", identify=True)
    reads = _reads(query, catalog)
    called = _called(sql, catalog.unsteady)
    read_views = [catalog.views[name] for name in reads if name in catalog.views]
    by_itself = bool(called & CLOCK) or nowtime.read(query)
    reads_now = by_itself or any(read.reads_now for read in read_views)
    try:
        if by_itself:
            raise Unsuited("it reads the time")
        if called - _aggregates(query):
            word = min(called - _aggregates(query)).upper()
            raise Unsuited(f"{word} does not follow from single rows, sums and counts")
        maintenance = _incremental(view, linear.inlined(query), columns, catalog)
        _check_sources(maintenance, catalog)
        catalog.rehearse(_statements(view, maintenance))
    except Unsuited as unsuited:
        initial = f"SELECT * FROM ({view.query})"
        maintenance = Maintenance("difference", str(unsuited), (), fallible=True, initial=initial)
        maintenance = _stored(view, maintenance)
    return replace(view, reads_now=reads_now, maintenance=replace(maintenance, reads=reads))


def _incremental(view: View, plain: exp.Expr, columns: Columns, catalog: Catalog) -> Maintenance:
    _check_rows(plain, catalog)
    if isinstance(plain, exp.Select) and aggregate.suits(plain):
        taken = aggregate.take_apart(plain, lambda select: _source_columns(select, catalog))
        return _aggregate(view, taken, columns, catalog)
    branches = tuple(Branch(name, _wrapped(tree, columns)) for name, tree in linear.variants(plain))
    return Maintenance("linear", "", (), linear.fallible(plain), branches)


def _check_rows(plain: exp.Expr, catalog: Catalog) -> None:
    """Refuse rows that are taken as a whole: those of a change have their weight in them."""
    for select in plain.find_all(exp.Select):
        name = linear.whole_rows(select)
        if name is not None and name not in {column.lower() for column in _source_columns(select, catalog)}:
            raise Unsuited("it takes a row as a whole")


def _aggregate(view: View, taken: Aggregation, columns: Columns, catalog: Catalog) -> Maintenance:
    rows = taken.rows.sql(dialect="duckdb", identify=True)
    types = catalog.describe(rows)
    totals = _totals(taken, rows, catalog)
    branches = tuple(Branch(name, _wrapped(tree, types)) for name, tree in linear.variants(taken.rows))
    keys = [f"k{i}" for i in range(len(taken.keys))]
    named = ", ".join(map(quote, keys))
    by = f" GROUP BY {named}" if keys else ""
    weighed, plain = _sums(taken, totals)
    lead = f"{named}, " if keys else ""
    store = Maintenance(
        "aggregate",
        "",
        (),
        fallible=True,
        branches=branches,
        fold=(f"SELECT {lead}{weighed} FROM (", f"){by}"),
        initial=f"SELECT {lead}{plain} FROM ({rows}){by}",
    )
    store = _stored(view, store)
    name, groups = quote(store.store), scratch(f"~g {view.physical}")
    same = " AND ".join(f"s.{quote(key)} IS NOT DISTINCT FROM g.{quote(key)}" for key in keys)
    outputs = ", ".join(
        f"CAST({output.sql(dialect='duckdb', identify=True)} AS {kind}) AS {quote(column)}"
        for output, (column, kind) in zip(taken.outputs, columns, strict=True)
    )
    having = f" WHERE {taken.having.sql(dialect='duckdb', identify=True)}" if taken.having else ""
    near = f"SELECT s.* FROM {name} s SEMI JOIN {groups} g ON {same}" if keys else f"FROM {name}"
    return replace(
        store,
        shown=f"SELECT {outputs} FROM {name} AS {quote(STORED)}{having}",
        touched=f"SELECT {outputs} FROM ({near}) AS {quote(STORED)}{having}",
        merge=_merge(name, groups, same, [*keys, *_measures(taken)]),
    )


def _totals(taken: Aggregation, rows: str, catalog: Catalog) -> dict[int, str]:
    """Return the types of the sums; raises Unsuited where one is not exact."""
    if not taken.summed:
        return {}
    asked = ", ".join(f'sum("a{i}")' for i in sorted(taken.summed))
    kinds = [kind for _, kind in catalog.describe(f"SELECT {asked} FROM ({rows})")]
    for kind in kinds:
        if not kind.startswith(EXACT):
            raise Unsuited(f"a sum of type {kind} is not exact")
    return dict(zip(sorted(taken.summed), kinds, strict=True))


def _sums(taken: Aggregation, totals: Mapping[int, str]) -> tuple[str, str]:
    """Return what is summed of rows with a weight, and of rows without."""
    weighed = [f"CAST(coalesce(sum({WEIGHT}), 0) AS BIGINT) AS n"]
    plain = ["count(*) AS n"]
    for i, _ in enumerate(taken.arguments):
        if i in totals:
            kind = totals[i]
            weighed.append(f'CAST(coalesce(sum(CAST("a{i}" AS {kind}) * {WEIGHT}), 0) AS {kind}) AS s{i}')
            plain.append(f'CAST(coalesce(sum("a{i}"), 0) AS {kind}) AS s{i}')
        weighed.append(f'CAST(coalesce(sum({WEIGHT}) FILTER ("a{i}" IS NOT NULL), 0) AS BIGINT) AS c{i}')
        plain.append(f'count("a{i}") AS c{i}')
    return ", ".join(weighed), ", ".join(plain)


def _measures(taken: Aggregation) -> list[str]:
    found = ["n"]
    for i, _ in enumerate(taken.arguments):
        found += [f"s{i}", f"c{i}"] if i in taken.summed else [f"c{i}"]
    return found


def _merge(store: str, groups: str, same: str, columns: Sequence[str]) -> str:
    sums = ", ".join(f"{name} = s.{name} + g.{name}" for name in columns if not name.startswith("k"))
    if not same:
        return f"UPDATE {store} s SET {sums} FROM {groups} g"
    given = ", ".join(f"g.{name}" for name in columns)
    return (
        f"MERGE INTO {store} s USING {groups} g ON ({same}) "
        f"WHEN MATCHED AND s.n + g.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET {sums} "
        f"WHEN NOT MATCHED AND g.n > 0 THEN INSERT ({', '.join(columns)}) VALUES ({given})"
    )


def _stored(view: View, maintenance: Maintenance) -> Maintenance:
    """Name the store after what is in it, so that one of another release is not taken for it."""
    mark = hashlib.sha256(maintenance.initial.encode()).hexdigest()[:12]
    name = f"~s {view.physical} {mark}"
    return replace(maintenance, store=name, shown=f"SELECT * FROM {quote(name)}")


def _statements(view: View, maintenance: Maintenance) -> list[str]:
    """Return what a step does for a view that is not maintained by difference."""
    if maintenance.kind == "linear":
        return [branch.sql for branch in maintenance.branches]
    groups, store = f"~g {view.physical}", quote(maintenance.store)
    before, after = maintenance.fold
    rows = " UNION ALL ".join(branch.sql for branch in maintenance.branches)
    return [
        f"CREATE TEMP TABLE {store} AS {maintenance.initial}",
        f"CREATE TEMP TABLE {quote(groups)} AS {before}{rows}{after}",
        maintenance.merge,
        maintenance.touched,
        maintenance.shown,
    ]


def _check_sources(maintenance: Maintenance, catalog: Catalog) -> None:
    for branch in maintenance.branches:
        source = catalog.views.get(branch.source)
        unwatched = source is not None and not source.watched
        if source is None or source.maintenance is None or not unwatched:
            continue
        if source.maintenance.kind == "difference":
            raise Unsuited(f"it reads '{source.name}', which {_clause(source.maintenance.reason)}")


def _clause(reason: str) -> str:
    return f"is computed anew because {reason}"


def _reads(query: exp.Expr, catalog: Catalog) -> tuple[str, ...]:
    found = {table.name for table in query.find_all(exp.Table)}
    return tuple(sorted(name for name in found if name in catalog.tables or name in catalog.views))


def _called(sql: str, unsteady: frozenset[str]) -> set[str]:
    """Return the functions of a kind that a query calls, by its words: no parser's knowledge is needed."""
    tokens = [token.text.lower() for token in tokenize(sql)]
    calls = {name for name, following in zip(tokens, [*tokens[1:], ""], strict=True) if following == "("}
    return (calls & unsteady) | (set(tokens) & BARE)


def _aggregates(query: exp.Expr) -> set[str]:
    """Return the aggregates that may stand where aggregates are looked at."""
    return {"sum", "count", "avg"} if query.find(exp.AggFunc) else set()


def _source_columns(select: exp.Select, catalog: Catalog) -> set[str]:
    every = exp.Select(expressions=[exp.Star()], from_=select.args["from_"].copy())
    every.set("joins", [join.copy() for join in select.args.get("joins") or ()])
    return {name for name, _ in catalog.describe(every.sql(dialect="duckdb", identify=True))}


def _wrapped(tree: exp.Query, columns: Columns) -> str:
    inner = tree.sql(dialect="duckdb", identify=True)
    rows = f"SELECT * FROM ({inner}) AS {_listed('~q', [*columns, (WEIGHT.strip(chr(34)), 'BIGINT')])}"
    return _cast(rows, columns, WEIGHT)


def _cast(rows: str, columns: Columns, *more: str) -> str:
    casts = [f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in columns]
    return f"SELECT {', '.join([*casts, *more])} FROM ({rows})"


def _listed(name: str, columns: Columns) -> str:
    return f"{quote(name)}({', '.join(quote(column) for column, _ in columns)})"

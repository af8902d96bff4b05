"""Aggregates that follow the changes of their rows: SUM, COUNT and AVG by groups of a linear query.

Of each group its keys `k{i}` are stored, the number `n` of its rows, and for each argument the sum `s{i}`
and the number `c{i}` of its values that are not NULL. Sums of integers and decimals are exact, so what goes
can be taken off again; of floating-point numbers it cannot, and what has such sums is not for here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp

from sluicegate.engine.views import linear
from sluicegate.engine.views.linear import Unsuited

PARTS = {*linear.PLAIN, "group", "having", "distinct"}
KNOWN = (exp.Sum, exp.Count, exp.Avg)

SourceColumns = Callable[[exp.Select], set[str]]
"""From a SELECT to the names of all columns of what it reads."""


@dataclass
class Aggregation:
    """A query taken apart."""

    keys: list[exp.Expr]
    arguments: list[exp.Expr] = field(default_factory=list)
    summed: set[int] = field(default_factory=set)
    """Of which arguments the sum is needed, and not only the number of values."""
    outputs: list[exp.Expr] = field(default_factory=list)
    """The columns of the query, of what is stored."""
    having: exp.Expr | None = None
    whole: bool = False
    """Whether all rows are one group, which is there even if it is empty."""
    rows: exp.Select = field(default_factory=exp.Select)
    """The linear query of keys and arguments of each row: `k{i}`, `a{i}`."""

    def stored(self, node: exp.Expr) -> exp.Expr:
        """Return an expression of what is stored for one of the rows of a group; raises Unsuited."""
        found = node.transform(self._stored)
        known = {"n", *(f"k{i}" for i in range(len(self.keys)))}
        known |= {f"{letter}{i}" for i in range(len(self.arguments)) for letter in "sc"}
        for column in found.find_all(exp.Column):
            if column.table != STORED or column.name not in known:
                raise Unsuited("it has an expression of columns that are not grouped")
        return found

    def _stored(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Filter) and isinstance(node.this, exp.AggFunc):
            return self._aggregate(node.this, node.expression.this)
        if isinstance(node, exp.AggFunc):
            return self._aggregate(node, None)
        for index, key in enumerate(self.keys):
            if node == key:
                return column(f"k{index}")
        return node

    def _aggregate(self, call: exp.AggFunc, condition: exp.Expr | None) -> exp.Expr:
        if not isinstance(call, KNOWN) or call.args.get("expressions"):
            raise Unsuited(f"it has an aggregate other than SUM, COUNT and AVG: {call.sql(dialect='duckdb')}")
        argument = call.this
        if isinstance(argument, exp.Distinct) or argument is None:
            raise Unsuited("it has an aggregate of distinct values")
        if isinstance(argument, exp.Star):
            if condition is None:
                return column("n")
            argument = exp.Literal.number(1)
        if condition is not None:
            argument = exp.Case().when(condition.copy(), argument.copy())
        place = self._place(argument)
        count = column(f"c{place}")
        if isinstance(call, exp.Count):
            return count
        self.summed.add(place)
        total: exp.Expr = column(f"s{place}")
        if isinstance(call, exp.Avg):
            total = exp.Div(this=exp.cast(total, "DOUBLE"), expression=count.copy())
        return exp.Paren(this=exp.Case().when(exp.GT(this=count, expression=exp.Literal.number(0)), total))

    def _place(self, argument: exp.Expr) -> int:
        if argument not in self.arguments:
            self.arguments.append(argument.copy())
        return self.arguments.index(argument)


STORED = "~s"
"""How a query of what is stored calls it."""


def column(name: str) -> exp.Column:
    """Return a column of what is stored."""
    return exp.column(name, table=STORED, quoted=True)


def suits(select: exp.Select) -> bool:
    """Tell whether a query looks like an aggregate, at its top."""
    if select.args.get("group") or select.args.get("distinct") or select.args.get("having"):
        return True
    return any(call.parent_select is select for call in select.find_all(exp.AggFunc))


def take_apart(select: exp.Select, source_columns: SourceColumns) -> Aggregation:
    """Return how a query aggregates; raises Unsuited."""
    linear.check(select, PARTS)
    if select.args.get("from_") is None:
        raise Unsuited("it reads nothing")
    select = _unqualified(select)
    names = {one.alias: one.this for one in select.expressions if isinstance(one, exp.Alias)}
    for hidden in source_columns(select):  # a column goes before an alias of its name
        names.pop(hidden, None)
    outputs = [one.unalias() for one in select.expressions]
    if any(one.find(exp.Star) for one in outputs if not one.find(exp.AggFunc)):
        raise Unsuited("it groups and selects *")
    group = select.args.get("group")
    taken = Aggregation(_keys(select, outputs, names))
    taken.whole = group is None and not select.args.get("distinct")
    taken.outputs = [taken.stored(one) for one in outputs]
    having = select.args.get("having")
    if having is not None:
        taken.having = taken.stored(having.this.transform(lambda node: _dealiased(node, names)))
    taken.rows = _rows(select, taken)
    return taken


def _unqualified(select: exp.Select) -> exp.Select:
    """Return a SELECT without the qualifiers that only say where everything comes from."""
    select = select.copy()
    source = select.args["from_"].this.alias_or_name
    if select.args.get("joins"):
        return select
    for node in linear.expressions(select, "expressions", "group", "having"):
        for one in node.find_all(exp.Column):
            if one.table == source and not isinstance(one.this, exp.Star):
                one.set("table", None)
    return select


def _keys(select: exp.Select, outputs: list[exp.Expr], names: dict[str, exp.Expr]) -> list[exp.Expr]:
    if select.args.get("distinct"):
        return _distinct(select, outputs)
    group = select.args.get("group")
    if group is None:
        if not any(one.find(exp.AggFunc) for one in outputs):
            raise Unsuited("it has no aggregate")
        return []
    if any(value for key, value in group.args.items() if key != "expressions"):
        raise Unsuited("it groups in several ways")
    keys = []
    for key in group.expressions:
        found = _dealiased(key, names)
        if isinstance(key, exp.Literal) and key.is_int and 0 < int(key.name) <= len(outputs):
            found = outputs[int(key.name) - 1]
        if not isinstance(found, exp.Expr) or found.find(exp.AggFunc) or isinstance(found, exp.Tuple):
            raise Unsuited("it groups by more than expressions of a row")
        keys.append(found.copy())
    return keys


def _distinct(select: exp.Select, outputs: list[exp.Expr]) -> list[exp.Expr]:
    aggregates = any(one.find(exp.AggFunc) for one in outputs)
    if aggregates or any(select.args.get(part) for part in ("group", "having")):
        raise Unsuited("it has DISTINCT and aggregates")
    if select.args["distinct"].args.get("on"):
        raise Unsuited("it has DISTINCT ON")
    return [one.copy() for one in outputs]


def _dealiased(node: exp.Expr, names: dict[str, exp.Expr]) -> exp.Expr:
    if isinstance(node, exp.Column) and not node.table and node.name in names:
        return names[node.name].copy()
    return node


def _rows(select: exp.Select, taken: Aggregation) -> exp.Select:
    rows = select.copy()
    for part in ("group", "having", "distinct", "order"):
        rows.set(part, None)
    selected = [(f"k{i}", key) for i, key in enumerate(taken.keys)]
    selected += [(f"a{i}", argument) for i, argument in enumerate(taken.arguments)]
    rows.set(
        "expressions",
        [exp.alias_(one.copy(), name, quoted=True) for name, one in selected]
        or [exp.alias_(exp.Literal.number(1), "a", quoted=True)],
    )
    return rows

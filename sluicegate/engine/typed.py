"""Rewriting that depends on types: what DuckDB does otherwise with the values of some types.

Nodes are visited in the order in which they are worked out, so what is asked of DuckDB is always in its own
words already. Where a type cannot be found, DuckDB's meaning stays.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlglot import exp

from sluicegate.engine import casting, decimals
from sluicegate.engine.columntypes import Resolve
from sluicegate.engine.functions import NATIVE, meaning
from sluicegate.engine.kinds import DECIMAL, FLOATS, INTEGERS, LISTS, Type
from sluicegate.engine.probing import Describe, Probe

FIRST = ("with_", "from_", "joins", "laterals", "windows")
"""Parts of a SELECT that are worked out before its columns."""
WRAPPERS = (exp.Window, exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)
DATES = {Type.DATE}
BYTES = {Type.VARBINARY, Type.BINARY}
BINARY_PART = "unhex(substring(hex(b), 2 * greatest(n, 1) - 1))"
BINARY_PIECE = "unhex(substring(hex(b), 2 * greatest(n, 1) - 1, 2 * greatest(k, 0)))"
TEXT_PART = "substring(s, greatest(n, 1))"
TEXT_PIECE = "substring(s, greatest(n, 1), greatest(least(k, k + n - 1), 0))"
FIELDS = '(SELECT unnest("~e") FROM (SELECT unnest(a) AS "~e") AS "~u")'
ENTRIES = '(SELECT unnest("~e") FROM (SELECT unnest(map_entries(a)) AS "~e") AS "~u")'
KEY = "json_extract(v, '$.\"' || replace(k, '\"', '\\\"') || '\"')"
OFFSET = "list_extract(a, CASE WHEN n >= 0 THEN n + 1 END)"
PLACE = "json_extract(v, CASE WHEN n > 0 THEN n - 1 END)"


class Rewriter:
    """Rewrites one query."""

    def __init__(self, describe: Describe, resolve: Resolve) -> None:
        self._probe = Probe(describe)
        self._resolve = resolve
        self._rules: Mapping[type[exp.Expr], Callable[[Any], exp.Expr | None]] = {
            exp.Add: self._shift,
            exp.Anonymous: self._call,
            exp.Avg: self._average,
            exp.Bracket: self._element,
            exp.Cast: self._cast,
            exp.Div: self._divide,
            exp.Filter: self._average,
            exp.Round: self._round,
            exp.Sub: self._shift,
            exp.Substring: self._substring,
            exp.TryCast: self._cast,
            exp.Unnest: self._unnest,
            exp.Window: self._average,
        }

    def rewrite(self, query: exp.Expr) -> None:
        """Rewrite a query in place."""
        for node in _in_order(query):
            rule = self._rules.get(type(node))
            if rule is None or node.parent is None or NATIVE in node.meta:
                continue
            found = rule(node)
            if found is not None:
                node.replace(found)

    def _kind(self, node: exp.Expr) -> exp.DataType | None:
        return self._probe.type_of(node)

    def _cast(self, node: exp.Cast) -> exp.Expr | None:
        return casting.cast(node, lambda: self._kind(node.this), self._resolve)

    def _divide(self, node: exp.Div) -> exp.Expr | None:
        left, right = self._kind(node.this), self._kind(node.expression)
        if left is None or right is None:
            return None
        kinds = {left.this, right.this}
        if kinds & FLOATS:
            return decimals.float_quotient(node)
        exact = DECIMAL in kinds and kinds <= {DECIMAL, *INTEGERS}
        return decimals.quotient(node, left, right) if exact else None

    def _average(self, node: exp.Expr) -> exp.Expr | None:
        """Write AVG as a sum over a count, so that it has the type of what it averages."""
        core = node
        while isinstance(core, WRAPPERS):
            core = core.this
        wrapped = isinstance(node.parent, WRAPPERS) and node.arg_key == "this"
        if not isinstance(core, exp.Avg) or wrapped:
            return None
        argument = core.this.expressions[0] if isinstance(core.this, exp.Distinct) else core.this
        kind = self._kind(argument)
        if kind is None or kind.this not in {*INTEGERS, DECIMAL}:
            return None
        return decimals.average(node, core, kind)

    def _element(self, node: exp.Bracket) -> exp.Expr | None:
        """Read `x[i]`: places begin at 1, also in a VARIANT, and what is not there is NULL."""
        if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
            return None
        index = node.expressions[0]
        if isinstance(index, exp.Anonymous) and index.name.upper() == "SAFE_OFFSET":
            return meaning(OFFSET, {"a": node.this, "n": index.expressions[0]})
        kind = self._kind(node.this)
        if kind is None:
            return None
        if kind.this is Type.JSON:
            return self._field(node.this, index)
        if kind.this in LISTS and not _is_place(index):
            return meaning("list_extract(a, greatest(n, 0))", {"a": node.this, "n": index})
        return None

    def _field(self, variant: exp.Expr, index: exp.Expr) -> exp.Expr:
        kind = self._kind(index) if not isinstance(index, exp.Literal) else None
        text = index.is_string or (kind is not None and kind.this in {Type.VARCHAR, Type.TEXT})
        if text:
            return meaning(KEY, {"v": variant, "k": index})
        return meaning(PLACE, {"v": variant, "n": index})

    def _cardinality(self, node: exp.Anonymous) -> exp.Expr | None:
        kind = self._kind(node.expressions[0])
        name = "cardinality" if kind is not None and kind.this is Type.MAP else "len"
        count = exp.Anonymous(this=name, expressions=node.expressions)
        return exp.Cast(this=count, to=exp.DataType.build("INT"))

    def _substring(self, node: exp.Substring) -> exp.Expr | None:
        start, length = node.args.get("start"), node.args.get("length")
        if start is None:
            return None
        kind = self._kind(node.this)
        arguments = {"s": node.this, "b": node.this, "n": start, **({"k": length} if length else {})}
        if kind is not None and kind.this in BYTES:
            return meaning(BINARY_PIECE if length else BINARY_PART, arguments)
        if _is_place(start) and int(start.name) > 0:
            return None
        return meaning(TEXT_PIECE if length else TEXT_PART, arguments)

    def _round(self, node: exp.Round) -> exp.Expr | None:
        """Round halves of a floating point number to the even neighbour."""
        kind = self._kind(node.this)
        if node.args.get("decimals") is not None or kind is None or kind.this not in FLOATS:
            return None
        return meaning("round_even(x, 0)", {"x": node.this})

    def _shift(self, node: exp.Add | exp.Sub) -> exp.Expr | None:
        """Keep a DATE a DATE when an interval is added to it."""
        for side, other in ((node.this, node.expression), (node.expression, node.this)):
            if _may_be_interval(other):
                kind = self._kind(side)
                if kind is not None and kind.this in DATES and self._is_interval(other):
                    return exp.Cast(this=node.copy(), to=exp.DataType.build("DATE"))
        return None

    def _unnest(self, node: exp.Unnest) -> exp.Expr | None:
        """Make columns of the entries of a MAP and of the fields of a ROW, where they are given names."""
        argument = node.expressions[0]
        kind = self._kind(argument)
        if kind is None or not isinstance(node.parent, exp.Join | exp.From):
            return None
        alias = node.args.get("alias")
        names = alias.args.get("columns") or [] if alias is not None else []
        if kind.this is Type.MAP:
            body = ENTRIES
        elif kind.this in LISTS and len(names) > 1 and not node.args.get("offset"):
            body = FIELDS
        else:
            return None
        rows = meaning(body, {"a": argument})
        return exp.Lateral(this=rows, alias=alias.copy() if alias is not None else None)

    def _is_interval(self, node: exp.Expr) -> bool:
        kind = self._kind(node)
        return kind is not None and kind.this is Type.INTERVAL

    def _call(self, node: exp.Anonymous) -> exp.Expr | None:
        rules = {"CARDINALITY": self._cardinality, "DATE_TRUNC": self._truncate, "SUBSTR": self._substr}
        rule = rules.get(node.name.upper())
        return rule(node) if rule and node.expressions else None

    def _substr(self, node: exp.Anonymous) -> exp.Expr | None:
        kind = self._kind(node.expressions[0])
        if kind is None or kind.this not in BYTES:
            return None
        body = BINARY_PIECE if len(node.expressions) == 3 else BINARY_PART
        return meaning(body, dict(zip("bnk", node.expressions, strict=False)))

    def _truncate(self, node: exp.Anonymous) -> exp.Expr | None:
        kind = self._kind(node.expressions[-1])
        if kind is None or kind.this not in DATES:
            return None
        return exp.Cast(this=node.copy(), to=exp.DataType.build("DATE"))


def _in_order(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield nodes after those that they are made of; of a SELECT, its sources first."""
    keys = sorted(node.args, key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST))
    for key in keys:
        part = node.args[key]
        for child in list(part) if isinstance(part, list) else [part]:
            if isinstance(child, exp.Expr) and not isinstance(child, exp.DataType):
                yield from _in_order(child)
    yield node


def _is_place(index: exp.Expr) -> bool:
    return isinstance(index, exp.Literal) and index.is_int


def _may_be_interval(node: exp.Expr) -> bool:
    return not isinstance(node, exp.Literal)

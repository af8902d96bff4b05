"""Rewriting that needs no types: before parsing, of tokens; after it, of what DuckDB writes otherwise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sluicegate.engine import timewindows
from sluicegate.engine.functions import enclosed, meaning
from sluicegate.engine.grammar import ANSI_UNIT

Rule = Callable[[Any], exp.Expr | None]

SIDES = {"LEFT", "RIGHT", "FULL"}
BACKSLASH = "\\"
ROUNDED_UP = "CASE WHEN date_trunc('{0}', t) = t THEN t ELSE date_trunc('{0}', t) + INTERVAL '1' {0} END"
OVERLAP = "least(a, b) <= greatest(c, d) AND greatest(a, b) >= least(c, d)"
OVERLAY = (
    "CASE WHEN n <= 0 THEN s WHEN n > length(s) THEN s || r "
    "ELSE left(s, n - 1) || r || substring(s, n + greatest(k, 0)) END"
)


def replaced(token: Token, kind: TokenType, text: str) -> Token:
    """Return another token in the place of one."""
    return Token(kind, text, line=token.line, col=token.col, start=token.start, end=token.end)


def tokens(given: Sequence[Token]) -> list[Token]:
    """Return tokens that sqlglot can parse: array types, table functions, ASOF joins, MINUS."""
    return _suffix_arrays(_asof_joins(_minus(_foreign_keys(timewindows.tokens(given)))))


def rewrite(tree: exp.Expr) -> exp.Expr:
    """Return the tree in DuckDB's words."""
    for node in list(tree.walk(bfs=False)):
        rule = RULES.get(type(node))
        found = rule(node) if rule else None
        if found is not None:
            node.replace(found)
    return tree


def _suffix_arrays(given: Sequence[Token]) -> list[Token]:
    """Write the type `T ARRAY` as `T[]`, which nests; `ARRAY[…]` and `ARRAY(…)` are expressions."""
    rewritten: list[Token] = []
    for index, token in enumerate(given):
        following = given[index + 1].token_type if index + 1 < len(given) else None
        expression = following in (TokenType.L_BRACKET, TokenType.L_PAREN, TokenType.LT)
        if token.token_type is TokenType.ARRAY and not expression and index:
            rewritten.append(replaced(token, TokenType.L_BRACKET, "["))
            rewritten.append(replaced(token, TokenType.R_BRACKET, "]"))
        else:
            rewritten.append(token)
    return rewritten


def _asof_joins(given: list[Token]) -> list[Token]:
    """Write `LEFT ASOF JOIN` as `ASOF LEFT JOIN`."""
    words = [token.text.upper() for token in given]
    for index in range(len(given) - 2):
        if words[index] in SIDES and words[index + 1 : index + 3] == ["ASOF", "JOIN"]:
            given[index], given[index + 1] = given[index + 1], given[index]
    return given


def _minus(given: list[Token]) -> list[Token]:
    """Write the set operation MINUS as EXCEPT."""
    after = {"SELECT", "(", "VALUES", "ALL", "DISTINCT", "WITH"}
    for index, token in enumerate(given[:-1]):
        if token.token_type is TokenType.VAR and token.text.upper() == "MINUS" and index:
            following = given[index + 1].text.upper()
            if following in after:
                given[index] = replaced(token, TokenType.EXCEPT, "EXCEPT")
    return given


def _foreign_keys(given: list[Token]) -> list[Token]:
    """Write `FOREIGN KEY REFERENCES t(c)` of a column as `REFERENCES t(c)`."""
    return [
        token
        for index, token in enumerate(given)
        if not (
            token.token_type is TokenType.FOREIGN_KEY
            and index + 1 < len(given)
            and given[index + 1].text.upper() == "REFERENCES"
        )
    ]


def _extract(node: exp.Extract) -> exp.Expr | None:
    name = node.this.name.upper().removeprefix(ANSI_UNIT)
    argument = node.expression
    if name in ("DOW", "DAYOFWEEK"):
        return meaning("dayofweek(d) + 1", {"d": argument})
    if name == "EPOCH":
        return meaning("CAST(floor(epoch(d)) AS BIGINT)", {"d": argument})
    if name == "NANOSECOND":
        return meaning("EXTRACT(MICROSECOND FROM d) * 1000", {"d": argument})
    node.set("this", exp.var(name))
    return None


def _floor(node: exp.Floor) -> exp.Expr | None:
    to = node.args.get("to")
    if to is None:
        return None
    word = exp.Literal.string(to.name.removeprefix(ANSI_UNIT))
    return exp.Anonymous(this="date_trunc", expressions=[word, node.this])


def _ceil(node: exp.Ceil) -> exp.Expr | None:
    to = node.args.get("to")
    if to is None:
        return None
    name = to.name.upper().removeprefix(ANSI_UNIT)
    return meaning(ROUNDED_UP.format(name), {"t": node.this})


def _interval(node: exp.Interval) -> exp.Expr | None:
    """Write spans and precisions as one literal that DuckDB reads."""
    given, unit = node.this, node.args.get("unit")
    if not isinstance(given, exp.Literal) or not isinstance(unit, exp.IntervalSpan | exp.Func):
        return None
    if isinstance(unit, exp.Func):
        node.set("unit", exp.var(type(unit).__name__.upper()))
        return None
    text = given.name.strip()
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    first, last = (part.name.upper().removesuffix("S") for part in (unit.this, unit.expression))
    if first == "YEAR":
        years, _, months = text.partition("-")
        written = f"{sign}{years} years {sign}{months or 0} months"
    else:
        days, _, clock = text.rpartition(" ") if first == "DAY" else ("", "", text)
        written = f"{sign}{days or 0} days {sign}{_clock(clock, first, last)}"
    return exp.Cast(this=exp.Literal.string(written), to=exp.DataType.build("INTERVAL"))


def _clock(text: str, first: str, last: str) -> str:
    """Return hours, minutes and seconds; those before the first unit and after the last are zero."""
    parts = text.split(":")
    before = ["0"] if first == "MINUTE" else []
    after = {"HOUR": ["0", "0"], "MINUTE": ["0"]}.get(last, [])
    return ":".join([*before, *parts, *after])


def _like(node: exp.Like | exp.ILike) -> exp.Expr | None:
    """Escape with a backslash where nothing else is said; a plain pattern stays as it is."""
    pattern = node.expression
    plain = isinstance(pattern, exp.Literal) and BACKSLASH not in pattern.name
    if plain or isinstance(node.parent, exp.Escape):
        return None
    inner = exp.Paren(this=pattern.copy()) if not isinstance(pattern, exp.Literal) else pattern.copy()
    found = type(node)(this=node.this.copy(), expression=inner)
    return exp.Paren(this=exp.Escape(this=found, expression=exp.Literal.string(BACKSLASH)))


def _join(node: exp.Join) -> None:
    condition = node.args.get("match_condition")
    if condition is not None:
        node.set("match_condition", None)
        node.set("on", exp.and_(node.args.get("on"), condition))
    applied = isinstance(node.this, exp.Lateral) and not node.args.get("on")
    if applied and node.args.get("kind") != "CROSS":  # CROSS APPLY, OUTER APPLY
        node.set("on", exp.true())


def _overlaps(node: exp.Overlaps) -> exp.Expr | None:
    pairs = [side.expressions for side in (node.this, node.expression) if isinstance(side, exp.Tuple)]
    if [len(pair) for pair in pairs] != [2, 2]:
        return None
    ends = []
    for start, end in pairs:
        through = (
            exp.Add(this=enclosed(start.copy()), expression=end) if isinstance(end, exp.Interval) else end
        )
        ends += [start, through]
    return meaning(OVERLAP, dict(zip("abcd", ends, strict=True)))


def _overlay(node: exp.Overlay) -> exp.Expr:
    replacement = node.expression
    length = node.args.get("for_") or exp.Length(this=replacement.copy())
    arguments = {"s": node.this, "r": replacement, "n": node.args["from_"], "k": length}
    return meaning(OVERLAY, arguments)


RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Ceil: _ceil,
    exp.Extract: _extract,
    exp.Floor: _floor,
    exp.ILike: _like,
    exp.Interval: _interval,
    exp.Join: _join,
    exp.Like: _like,
    exp.Overlaps: _overlaps,
    exp.Overlay: _overlay,
    exp.Table: timewindows.table,
}

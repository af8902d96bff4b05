"""Quotients and averages with the types that the Calcite family gives them.

DuckDB divides DECIMAL in floating point. Here the digits are divided as whole numbers of 128 bits where they
fit, so that the result is exact to its last digit; digits after it are cut off.
"""

from typing import NamedTuple

from sqlglot import exp

from sluicegate.engine.functions import enclosed, meaning
from sluicegate.engine.kinds import DECIMAL, sizes

WIDEST = 38
LEAST_SCALE = 6
"""Digits of a quotient after the point, also where its operands are so wide that whole digits are lost."""
ROWS = 12
"""Digits that a sum may have more than what it sums up: a billion rows and some."""
EXACT = (
    "CAST(CAST(CAST(CAST(a * {up_left} AS HUGEINT) * {shift_left} "
    "// (CAST(b * {up_right} AS HUGEINT) * {shift_right}) AS DECIMAL(38, 0)) "
    "* {down} AS DECIMAL(38, {scale})) AS DECIMAL({precision}, {scale}))"
)
ROUNDED = "CAST(CAST(a AS DOUBLE) / CAST(b AS DOUBLE) AS DECIMAL({precision}, {scale}))"
INFINITE = "CASE WHEN b = 0 THEN a * CAST('inf' AS DOUBLE) ELSE a / b END"


class Sides(NamedTuple):
    """Two numbers, each with its precision and scale."""

    left: exp.Expr
    first: tuple[int, int]
    right: exp.Expr
    second: tuple[int, int]


def quotient(node: exp.Div, left: exp.DataType, right: exp.DataType) -> exp.Expr:
    """Return the exact quotient of two numbers of which one is a DECIMAL."""
    (p1, s1), (p2, s2) = sizes(left), sizes(right)
    whole = min(p1 - s1 + s2, WIDEST)
    wanted = max(LEAST_SCALE, s1 + p2 + 1)
    scale = max(min(wanted, WIDEST - whole), LEAST_SCALE)
    sides = Sides(node.this, (p1, s1), node.expression, (p2, s2))
    return _divided(sides, min(whole + scale, WIDEST), scale)


def float_quotient(node: exp.Div) -> exp.Expr | None:
    """Let a floating point number divided by zero be infinite; None where the divisor is a constant."""
    divisor = node.expression
    if divisor.is_number and float(divisor.name or 0) != 0:
        return None
    return meaning(INFINITE, {"a": node.this, "b": divisor})


def average(node: exp.Expr, core: exp.Avg, kind: exp.DataType) -> exp.Expr:
    """Return AVG as SUM over COUNT, in the type of its argument; `node` is AVG with its OVER and FILTER."""
    total = _instead(node, core, exp.Sum(this=core.this.copy()))
    count = _instead(node, core, exp.Count(this=core.this.copy(), big_int=True))
    known = exp.func("nullif", count, exp.Literal.number(0))
    if kind.this != DECIMAL:
        whole = exp.Div(this=enclosed(total), expression=known)
        return exp.Cast(this=whole, to=kind.copy())
    precision, scale = sizes(kind)
    sides = Sides(total, (min(precision + ROWS, WIDEST), scale), known, (19, 0))
    return _divided(sides, precision, scale)


def _divided(sides: Sides, precision: int, scale: int) -> exp.Expr:
    (p1, s1), (p2, s2) = sides.first, sides.second
    shift = scale + s2 - s1
    fits = p1 + max(s1, shift) <= WIDEST and p2 + max(s2, -shift) <= WIDEST
    body = (EXACT if fits else ROUNDED).format(
        up_left=f"CAST({10**s1} AS DECIMAL({s1 + 1}, 0))",
        up_right=f"CAST({10**s2} AS DECIMAL({s2 + 1}, 0))",
        shift_left=f"CAST({10 ** max(shift, 0)} AS HUGEINT)",
        shift_right=f"CAST({10 ** max(-shift, 0)} AS HUGEINT)",
        down=f"CAST('{10**-scale:.{scale}f}' AS DECIMAL({max(scale, 1)}, {scale}))",
        precision=precision,
        scale=scale,
    )
    return meaning(body, {"a": sides.left, "b": sides.right})


def _instead(node: exp.Expr, core: exp.Expr, other: exp.Expr) -> exp.Expr:
    """Return a copy of an aggregate call, with its OVER and FILTER, of another function."""
    if node is core:
        return other
    copied = node.copy()
    place = copied
    while isinstance(place.this, exp.Window | exp.Filter):
        place = place.this
    place.this.replace(other)
    return copied

"""Texts made long by a number: a bound on it, where an answer is longer than what it is made of.

Padding and repeating cannot be interrupted, and take seconds and gigabytes for a number with nine digits.
"""

from sqlglot import exp

from sluicegate.engine.allowed import LONGEST

STRETCHED = {"lpad": 1, "rpad": 1, "repeat": 1}
"""Functions that yield as much as a number says, and the place of that number."""
_KEYS: dict[type[exp.Expr], str] = {exp.Pad: "expression", exp.Repeat: "times"}
"""The same as classes of the parser, and the argument that has the number."""


def bound(query: exp.Expr) -> None:
    """Have too large a number end the query, in place."""
    for call in list(query.find_all(*_KEYS, exp.Anonymous)):
        number = _number(call)
        if number is not None and not _small(number):
            number.replace(_checked(number))


def _number(call: exp.Expr) -> exp.Expr | None:
    if not isinstance(call, exp.Anonymous):
        found = call.args.get(_KEYS[type(call)])
        return found if isinstance(found, exp.Expr) else None
    place = STRETCHED.get(call.name.lower())
    return call.expressions[place] if place is not None and place < len(call.expressions) else None


def _small(number: exp.Expr) -> bool:
    return isinstance(number, exp.Literal) and number.is_int and int(number.name) <= LONGEST


def _checked(number: exp.Expr) -> exp.Expr:
    reason = exp.Literal.string(f"a text or list may be stretched to {LONGEST} at most")
    return exp.Paren(
        this=exp.Case(
            ifs=[
                exp.If(
                    this=exp.GT(this=exp.Paren(this=number.copy()), expression=exp.Literal.number(LONGEST)),
                    true=exp.Anonymous(this="error", expressions=[reason]),
                )
            ],
            default=number.copy(),
        )
    )

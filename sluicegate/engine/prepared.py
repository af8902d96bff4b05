"""PREPARE and EXECUTE within one request: a prepared statement is kept as parsed, and its arguments take the
places of its parameters when it is executed."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.tokenizer_core import Token, TokenType

from sluicegate.engine import dialect
from sluicegate.engine.dialect import Statement
from sluicegate.engine.grammar import Dialect
from sluicegate.engine.relations import exact

FORM = "PREPARE name [(types)] AS statement"


class Unprepared(Exception):
    """A statement is executed that was not prepared, or not with so many parameters."""


@dataclass(frozen=True)
class Prepare:
    """A statement under a name, with the types of its parameters where they are given."""

    name: str
    types: list[exp.DataType]
    tree: exp.Expr


@dataclass(frozen=True)
class Execute:
    """The name of a statement, and arguments for it."""

    name: str
    arguments: list[exp.Expr]


Parsed = Prepare | Execute | exp.Expr


def read(statement: Statement, text: str) -> Parsed:
    """Parse a statement; raises ParseError."""
    word = statement.tokens[0].text.upper()
    if word not in ("PREPARE", "EXECUTE"):
        return dialect.parse(statement, text)
    if len(statement.tokens) < 2:
        raise ParseError(f"{word} needs a name")
    name = _name(statement.tokens[1])
    rest = statement.tokens[2:]
    if word == "EXECUTE":
        listed = _parsed([_word(TokenType.SELECT, "SELECT"), *_within(rest)], text) if rest else None
        return Execute(name, listed.selects if isinstance(listed, exp.Select) else [])
    place = next((i for i, token in enumerate(rest) if token.token_type is TokenType.ALIAS), None)
    if place is None or place + 1 == len(rest):
        raise ParseError(f"PREPARE has the form {FORM}")
    return Prepare(name, _types(_within(rest[:place])), _parsed(rest[place + 1 :], text))


def expand(found: Iterable[Parsed]) -> list[exp.Expr]:
    """Return the statements that run, in order; raises Unprepared."""
    known: dict[str, Prepare] = {}
    running = []
    for parsed in found:
        if isinstance(parsed, Prepare):
            known[parsed.name] = parsed
        elif isinstance(parsed, Execute):
            if parsed.name not in known:
                raise Unprepared(f"no statement '{parsed.name}' is prepared in this request")
            running.append(_filled(known[parsed.name], parsed.arguments))
        else:
            running.append(parsed)
    return running


def _filled(prepare: Prepare, arguments: list[exp.Expr]) -> exp.Expr:
    tree = prepare.tree.copy()
    places = list(tree.find_all(exp.Placeholder))
    unnamed = iter(range(1, len(places) + 1))
    numbers = [int(p.name) if p.name.isdecimal() else next(unnamed) for p in places]
    wanted = max([*numbers, len(prepare.types)], default=0)
    if len(arguments) != wanted:
        raise Unprepared(f"'{prepare.name}' takes {wanted} parameters, {len(arguments)} are given")
    for place, number in zip(places, numbers, strict=True):
        value: exp.Expr = exp.Paren(this=arguments[number - 1].copy())
        if prepare.types:
            value = exp.Cast(this=value, to=prepare.types[number - 1].copy())
        place.replace(value)
    return tree


def _parsed(tokens: list[Token], text: str) -> exp.Expr:
    return dialect.parse(Statement(tokens, tokens, [], local=False, materialized=False), text)


def _types(tokens: list[Token]) -> list[exp.DataType]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type is TokenType.COMMA and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [exp.DataType.build(" ".join(t.text for t in part), dialect=Dialect) for part in parts if part]


def _within(tokens: list[Token]) -> list[Token]:
    """Return what stands in the parentheses."""
    if not tokens:
        return []
    if tokens[0].token_type is not TokenType.L_PAREN or tokens[-1].token_type is not TokenType.R_PAREN:
        raise ParseError("a list in parentheses is expected after the name")
    return tokens[1:-1]


def _name(token: Token) -> str:
    quoted = token.token_type is TokenType.IDENTIFIER
    return exact(exp.Identifier(this=token.text, quoted=quoted))


def _word(kind: TokenType, text: str) -> Token:
    return Token(kind, text)

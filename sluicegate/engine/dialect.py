"""The SQL dialect of programs and ad-hoc queries: DuckDB's grammar with the words of the Calcite family.

Statements are told apart by their tokens, so that an error in one does not hide those of the next, and so
that what no parser knows (`CREATE LOCAL VIEW`, `WITH ('key' = 'value')`) is taken out with its position.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.dialect import build_default_decimal_type
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

# A statement that sqlglot does not know is refused with a message of ours; its own warning says nothing more.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

UNIT_LITERALS = {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}


class Lateness(exp.Expression, exp.ColumnConstraintKind):
    """`LATENESS expression` on a column."""


class Watermark(exp.Expression, exp.ColumnConstraintKind):
    """`WATERMARK expression` on a column."""


def _is_unit(node: Any) -> bool:
    return isinstance(node, exp.Column | exp.Var) and node.name.upper() in UNIT_LITERALS


def _date_diff(args: list[Any]) -> exp.Expr:
    if len(args) == 3 and _is_unit(args[0]):
        return exp.Anonymous(this="date_diff", expressions=[exp.Literal.string(args[0].name), *args[1:]])
    return exp.Anonymous(this="timestampdiff", expressions=args)


def _date_trunc(args: list[Any]) -> exp.Expr:
    if len(args) == 2 and _is_unit(args[1]):
        args = [exp.Literal.string(args[1].name), args[0]]
    return exp.Anonymous(this="date_trunc", expressions=args)


class _Parser(DuckDBParser):
    FUNCTIONS: ClassVar = {
        **DuckDBParser.FUNCTIONS,
        "TIMESTAMPDIFF": _date_diff,
        "DATE_TRUNC": _date_trunc,
        "TIMESTAMP_TRUNC": _date_trunc,
    }
    # A DECIMAL without digits is the widest, without a fraction.
    TYPE_CONVERTERS: ClassVar = {
        exp.DataType.Type.DECIMAL: build_default_decimal_type(precision=38, scale=0),
    }
    CONSTRAINT_PARSERS: ClassVar = {
        **DuckDBParser.CONSTRAINT_PARSERS,
        "LATENESS": lambda self: self.expression(Lateness(this=self._parse_bitwise())),
        "WATERMARK": lambda self: self.expression(Watermark(this=self._parse_bitwise())),
    }


class Dialect(DuckDB):
    """DuckDB's grammar, with types that keep their lengths and FLOAT of double precision."""

    class Tokenizer(DuckDB.Tokenizer):
        """The tokens of the dialect."""

        HEX_STRINGS: ClassVar = [("x'", "'"), ("X'", "'")]
        KEYWORDS: ClassVar = {
            **DuckDB.Tokenizer.KEYWORDS,
            "CHAR": TokenType.CHAR,
            "FLOAT": TokenType.DOUBLE,
            "MAP": TokenType.MAP,
            "VARCHAR": TokenType.VARCHAR,
            "VARIANT": TokenType.VARIANT,
        }

    Parser = _Parser


@dataclass(frozen=True)
class Span:
    """A range of the program's text: 1-based lines and columns, both ends included."""

    start_line: int
    start_column: int
    end_line: int
    end_column: int


class Source:
    """A program's text that knows where each character stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def span(self, start: int, end: int) -> Span:
        """Return the lines and columns of the characters from `start` to `end`, which is included."""
        return Span(*self._place(start), *self._place(end))

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset, hi=len(self.lines)) - 1
        return line + 1, offset - self._starts[line] + 1

    def of(self, tokens: Sequence[Token]) -> Span:
        """Return the range from the first to the last token."""
        return self.span(tokens[0].start, tokens[-1].end)


@dataclass(frozen=True)
class Property:
    """One `'key' = 'value'` of a WITH clause."""

    key: Token
    value: Token


@dataclass(frozen=True)
class Statement:
    """One statement: its tokens, with what was taken out of them."""

    original: list[Token]
    tokens: list[Token]
    properties: list[Property]
    local: bool
    materialized: bool


def tokenize(text: str) -> list[Token]:
    """Split a text into tokens; raises sqlglot's TokenError."""
    return list(Dialect().tokenize(text))


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a program; raises sqlglot's TokenError."""
    current: list[Token] = []
    for token in [*tokenize(text), Token(TokenType.SEMICOLON, ";")]:
        if token.token_type is not TokenType.SEMICOLON:
            current.append(token)
        elif current:
            yield _statement(current)
            current = []


def parse(statement: Statement, text: str) -> exp.Expr:
    """Parse one statement; raises sqlglot's ParseError."""
    tree = Dialect().parser().parse(_suffix_arrays(statement.tokens), text)[0]
    return tree if tree is not None else exp.Command(this="")


def replaced(token: Token, kind: TokenType, text: str) -> Token:
    """Return another token in the place of one."""
    return Token(kind, text, line=token.line, col=token.col, start=token.start, end=token.end)


def _statement(tokens: list[Token]) -> Statement:
    rest = list(tokens)
    words = [token.text.upper() for token in tokens[:3]]
    local = words[:3] == ["CREATE", "LOCAL", "VIEW"]
    materialized = words[:3] == ["CREATE", "MATERIALIZED", "VIEW"]
    if local or materialized:
        del rest[1]
    properties: list[Property] = []
    if words and words[0] == "CREATE":
        rest, properties = _take_properties(rest)
    return Statement(tokens, rest, properties, local, materialized)


def _take_properties(tokens: list[Token]) -> tuple[list[Token], list[Property]]:
    for start, token in enumerate(tokens[:-2]):
        opens = tokens[start + 1].token_type is TokenType.L_PAREN
        if token.token_type is TokenType.WITH and opens and tokens[start + 2].token_type is TokenType.STRING:
            end, properties = _read_properties(tokens, start + 2)
            if end is not None:
                return tokens[:start] + tokens[end:], properties
    return tokens, []


def _read_properties(tokens: list[Token], at: int) -> tuple[int | None, list[Property]]:
    properties = []
    shape = [TokenType.STRING, TokenType.EQ, TokenType.STRING]
    while at + 3 < len(tokens) and [token.token_type for token in tokens[at : at + 3]] == shape:
        properties.append(Property(tokens[at], tokens[at + 2]))
        at += 4
        if tokens[at - 1].token_type is TokenType.R_PAREN:
            return at, properties
    return None, []


def _suffix_arrays(tokens: list[Token]) -> list[Token]:
    """Write the type `T ARRAY` as `T[]`, which nests; `ARRAY[…]` and `ARRAY(…)` are expressions."""
    rewritten: list[Token] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1].token_type if index + 1 < len(tokens) else None
        expression = following in (TokenType.L_BRACKET, TokenType.L_PAREN, TokenType.LT)
        if token.token_type is TokenType.ARRAY and not expression and index:
            rewritten.append(replaced(token, TokenType.L_BRACKET, "["))
            rewritten.append(replaced(token, TokenType.R_BRACKET, "]"))
        else:
            rewritten.append(token)
    return rewritten

"""The SQL dialect of programs and ad-hoc queries: DuckDB's grammar with the words of the Calcite family.

Statements are told apart by their tokens, so that an error in one does not hide those of the next, and so
that what no parser knows (`CREATE LOCAL VIEW`, `WITH ('key' = 'value')`) is taken out with its position.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sluicegate.engine import syntax
from sluicegate.engine.grammar import Dialect

# A statement that sqlglot does not know is refused with a message of ours; its own warning says nothing more.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


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

    def within(self, span: Span) -> str:
        """Return the text of a range."""
        start = self._starts[span.start_line - 1] + span.start_column - 1
        end = self._starts[span.end_line - 1] + span.end_column
        return self.text[start:end]

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
    """Parse one statement into DuckDB's words, without comments; raises sqlglot's ParseError."""
    tree = Dialect().parser().parse(syntax.tokens(statement.tokens), text)[0]
    if tree is None:
        return exp.Command(this="")
    for node in tree.walk():
        node.comments = None
    return syntax.rewrite(tree)


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

"""Statements about views that make nothing: LATENESS, CREATE INDEX, SET."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sluicegate.engine.dialect import Source, Span, Statement
from sluicegate.engine.messages import PARSE_ERROR, Message, ProgramError
from sluicegate.engine.plan import Index, View
from sluicegate.engine.relations import exact


class Notes:
    """What a program says of its views besides their queries."""

    def __init__(self, source: Source, messages: list[Message]) -> None:
        self._source = source
        self._messages = messages
        self._lateness: list[tuple[str, str, str, Span]] = []
        self.indexes: list[Index] = []

    def lateness(self, statement: Statement) -> None:
        """Take `LATENESS view.column expression`, a note of the view's column; the view may come later."""
        given = statement.tokens
        if len(given) < 5 or given[2].text != ".":
            text = "LATENESS needs the form LATENESS view.column expression"
            raise ProgramError(text, self._source.of(statement.original), PARSE_ERROR)
        bound = self._source.text[given[4].start : given[-1].end + 1]
        span = self._source.of(given[1:4])
        self._lateness.append((_name_of(given[1]), _name_of(given[3]), bound, span))

    def setting(self, statement: Statement) -> None:
        text = "SET has no effect in the built-in engine"
        self._messages.append(Message(self._source.of(statement.original), "Ignored", text, warning=True))

    def index(self, statement: Statement, tree: exp.Create, views: Sequence[View]) -> None:
        """Take CREATE INDEX name ON view(columns): a unique key that output connectors may name."""
        index = tree.this
        table = index.args.get("table")
        params = index.args.get("params")
        listed = params.args.get("columns") or [] if params is not None else []
        columns = [exact(found) for part in listed if (found := part.find(exp.Identifier)) is not None]
        span = self._source.of(statement.original)
        relation = exact(table.this) if table is not None else ""
        view = next((view for view in views if view.name == relation), None)
        if view is None:
            raise ProgramError(f"CREATE INDEX needs a view that exists: '{relation}' is none", span)
        for column in columns:
            if column not in view.columns:
                raise ProgramError(f"View '{relation}' has no column '{column}'", span)
        name = exact(index.this)
        if any(other.name == name for other in self.indexes):
            raise ProgramError(f"An index with name '{name}' already exists", span)
        self.indexes.append(Index(name, relation, tuple(columns)))

    def write(
        self, schema: Mapping[str, list[dict[str, Any]]], views: Sequence[View], failed: set[str]
    ) -> None:
        """Write what LATENESS statements say into the schema."""
        for name, column, bound, span in self._lateness:
            fields = [f for view in schema["outputs"] if view["name"] == name for f in view["fields"]]
            found = [field for field in fields if field["name"] == column]
            known = found or name in failed or any(view.name == name for view in views)
            if not known:
                error = ProgramError(f"LATENESS names '{name}.{column}', which does not exist", span)
                self._messages.append(Message.of(error))
            for field in found:
                field["lateness"] = bound


def _name_of(token: Token) -> str:
    return token.text if token.token_type is TokenType.IDENTIFIER else token.text.lower()

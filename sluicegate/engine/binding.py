"""DuckDB at compile time: an empty, locked database that checks what a program means.

Its complaints speak of the statement that it was given; here they are brought back to the place in the
program that the user wrote.
"""

import json
from collections.abc import Sequence
from typing import Any

import duckdb
from sqlglot.tokenizer_core import Token

from sluicegate.engine.dialect import Source, Span, Statement, tokenize
from sluicegate.engine.locked import SETTINGS, lock
from sluicegate.engine.messages import ProgramError

MEMORY = "512MB"
"""Binding needs little; a DEFAULT that computes must not take the machine."""


class Binder:
    """A database that holds the program's relations, without rows."""

    def __init__(self) -> None:
        own: dict[str, Any] = {
            "errors_as_json": True,
            "threads": 1,
            "memory_limit": MEMORY,
            "temp_directory": "",
        }
        self._connection = duckdb.connect(":memory:", config={**SETTINGS, **own})
        lock(self._connection)

    def execute(self, sql: str, span: Span) -> list[tuple[Any, ...]]:
        """Run a statement of ours; its errors are placed at `span`."""
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise ProgramError(_explanation(error)["exception_message"], span) from error

    def create_view(self, head: str, query: str, statement: Statement, source: Source) -> None:
        """Make a view; an error is placed at the token of the program that it is about."""
        try:
            self._connection.execute(head + query)
        except duckdb.Error as error:
            explanation = _explanation(error)
            place = _place(explanation, head, query, statement.original)
            span = source.of(place or statement.original)
            raise ProgramError(explanation["exception_message"], span) from error

    def columns(self, physical: str, span: Span) -> list[tuple[str, str]]:
        """Return names and types of a relation's columns."""
        described = self.execute(f"DESCRIBE {physical}", span)
        return [(str(row[0]), str(row[1])) for row in described]


def _explanation(error: duckdb.Error) -> dict[str, Any]:
    text = str(error)
    try:
        explanation: dict[str, Any] = json.loads(text[text.index("{") :])
        message = str(explanation["exception_message"])
    except (ValueError, KeyError):
        return {"exception_message": text}
    candidates = message.find("\n\tCandidate")
    return {**explanation, "exception_message": message[: candidates if candidates > 0 else None].strip()}


def _place(
    explanation: dict[str, Any], head: str, query: str, original: Sequence[Token]
) -> list[Token] | None:
    """Find the token that DuckDB points at: the n-th of its text there is the n-th of its text here."""
    if "position" not in explanation:
        return None
    at = len((head + query).encode()[: int(explanation["position"])].decode(errors="ignore")) - len(head)
    there = tokenize(query)
    pointed = next((token for token in there if token.start <= at <= token.end), None)
    if pointed is None:
        return None
    text = pointed.text.lower()
    nth = sum(token.text.lower() == text and token.start < pointed.start for token in there)
    here = [token for token in _body(original) if token.text.lower() == text]
    return [here[nth]] if nth < len(here) else None


def _body(original: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens after the first AS, which is where a view's query begins."""
    starts = (index for index, token in enumerate(original) if token.text.upper() == "AS")
    return original[next(starts, -1) + 1 :]

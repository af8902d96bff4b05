"""DuckDB at compile time: an empty, locked database that checks what a program means.

Its complaints speak of the statement that it was given; here they are brought back to the place in the
program that the user wrote.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from sqlglot.tokenizer_core import Token

from sluicegate.engine import reach
from sluicegate.engine.dialect import Source, Span, Statement, tokenize
from sluicegate.engine.locked import SETTINGS, lock
from sluicegate.engine.messages import ProgramError
from sluicegate.engine.plan import NOW, NOW_DDL

MEMORY = "512MB"
"""Binding needs little; a DEFAULT that computes must not take the machine."""


class Binder:
    """A database that holds the program's relations, without rows."""

    def __init__(self, relations: Mapping[str, str]) -> None:
        """Let views read the relations, given by name with their names in DuckDB; more may come."""
        self._relations = relations
        own: dict[str, Any] = {
            "errors_as_json": True,
            "threads": 1,
            "memory_limit": MEMORY,
            "temp_directory": "",
        }
        self._connection = duckdb.connect(":memory:", config={**SETTINGS, **own})
        lock(self._connection)
        self._connection.execute(NOW_DDL)

    def execute(self, sql: str, span: Span) -> list[tuple[Any, ...]]:
        """Run a statement of ours; its errors are placed at `span`."""
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise ProgramError(complaint(error), span) from error

    def create_view(self, head: str, query: str, statement: Statement, source: Source) -> None:
        """Make a view; an error is placed at the token of the program that it is about."""
        try:
            reach.check(self._connection, query, self._relations.values(), ours={NOW})
            self._connection.execute(head + query)
        except reach.Forbidden as error:
            at = {} if error.position is None else {"position": error.position + len(head.encode())}
            place = _place(at, head, query, statement.original)
            raise ProgramError(str(error), source.of(place or statement.original)) from error
        except duckdb.Error as error:
            explanation = _explanation(error)
            place = _place(explanation, head, query, statement.original)
            span = source.of(place or statement.original)
            raise ProgramError(explanation["exception_message"], span) from error

    def type_of(self, query: str) -> str | None:
        """Return the type of a query's last column; nothing where the query cannot be bound."""
        try:
            described = self._connection.execute(f"DESCRIBE {query}").fetchall()
        except duckdb.Error:
            return None
        return str(described[-1][1])

    def columns(self, physical: str, span: Span) -> list[tuple[str, str]]:
        """Return names and types of a relation's columns."""
        described = self.execute(f"DESCRIBE {physical}", span)
        return [(str(row[0]), str(row[1])) for row in described]

    def unsteady(self) -> frozenset[str]:
        """Return the functions whose value is not settled by their arguments in one row."""
        found = self._connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE function_type = 'aggregate' OR stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
        )
        return frozenset(str(name).lower() for (name,) in found.fetchall())

    def make(self, statement: str) -> None:
        """Run a statement of ours; raises duckdb.Error where a constant of the program cannot be computed."""
        self._connection.execute(statement)

    def described(self, query: str) -> list[tuple[str, str]]:
        """Return names and types of a query's columns; raises duckdb.Error."""
        rows = self._connection.execute(f"DESCRIBE {query}").fetchall()
        return [(str(row[0]), str(row[1])) for row in rows]

    def rehearse(self, statements: Sequence[str]) -> None:
        """Run statements of ours and leave nothing of them behind; raises duckdb.Error."""
        self._connection.execute("BEGIN")
        try:
            for statement in statements:
                self._connection.execute(statement)
        finally:
            self._connection.execute("ROLLBACK")


def complaint(error: duckdb.Error) -> str:
    """Return what DuckDB says of a statement that it was given."""
    return str(_explanation(error)["exception_message"])


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

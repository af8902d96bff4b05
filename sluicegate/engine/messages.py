"""Compiler messages: what is wrong, where, and the lines around it with a caret.

A program may be large and wrong everywhere, on one line; what is said of it is bounded in every respect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.engine.dialect import Source, Span

PARSE_ERROR = "Error parsing SQL"
COMPILATION_ERROR = "Compilation error"
NOT_IMPLEMENTED = "Not yet implemented"
CONNECTOR_ERROR = "ConnectorGenerationError"

MESSAGES = 100
"""Messages shown of a program; nobody reads more before trying again."""
SIZE = 500
"""Characters of a message's text, and of its snippet."""
LINE = 200
"""Characters shown of one line of the program: with its carets it fits into a snippet."""
BEFORE = 60
"""Of these, how many stand before the place."""
CUT = "..."
ROOM = 10
"""Characters that the line takes which says that a snippet is cut."""
LEFT_OUT = "{} more messages are not shown"


class ProgramError(Exception):
    """Something that is wrong at a place of the program."""

    def __init__(self, message: str, span: Span, error_type: str = COMPILATION_ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.error_type = error_type


@dataclass(frozen=True)
class Message:
    """One message of the compiler."""

    span: Span
    error_type: str
    text: str
    warning: bool = False

    @classmethod
    def of(cls, error: ProgramError) -> "Message":
        """Return the message of an error."""
        span = error.span
        text = error.message
        if error.error_type == COMPILATION_ERROR:
            text = (
                f"From line {span.start_line}, column {span.start_column} "
                f"to line {span.end_line}, column {span.end_column}: {text}"
            )
        return cls(span, error.error_type, text)

    def to_json(self, source: Source) -> dict[str, Any]:
        """Return the message as clients read it."""
        return {
            "start_line_number": self.span.start_line,
            "start_column": self.span.start_column,
            "end_line_number": self.span.end_line,
            "end_column": self.span.end_column,
            "warning": self.warning,
            "error_type": self.error_type,
            "message": _cut(self.text),
            "snippet": snippet(source, self.span),
        }


def shown(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages if they are few; else errors before warnings, and last how many are left out."""
    if len(messages) <= MESSAGES:
        return messages
    first = sorted(messages, key=lambda message: message.warning)[: MESSAGES - 1]
    text = LEFT_OUT.format(len(messages) - len(first))
    return [*first, Message(first[-1].span, COMPILATION_ERROR, text, warning=True)]


def snippet(source: Source, span: Span) -> str:
    """Return the numbered lines of a range; carets under a range of one line."""
    if span.start_line == span.end_line:
        return _pointed(source, span)
    found = ""
    for number in range(span.start_line, span.end_line + 1):
        column = span.start_column if number == span.start_line else 1
        line, _ = _window(source.lines[number - 1], column)
        following = f"{number:5}|{line}\n"
        if len(found) + len(following) > SIZE - ROOM:
            return f"{found}{CUT:>5}|\n"
        found += following
    return found


def _pointed(source: Source, span: Span) -> str:
    line, moved = _window(source.lines[span.start_line - 1], span.start_column)
    head = f"{span.start_line:5}|"
    before = span.start_column - 1 + moved
    width = max(1, min(span.end_column - span.start_column + 1, len(line) - before))
    return f"{head}{line}\n{' ' * (len(head) + before)}{'^' * width}\n"


def _window(line: str, column: int) -> tuple[str, int]:
    """Cut a long line around a column; return it and by how much what is left has moved to the right."""
    start = min(max(0, column - 1 - BEFORE), max(0, len(line) - LINE))
    left, right = CUT if start else "", CUT if start + LINE < len(line) else ""
    return left + line[start : start + LINE] + right, len(left) - start


def _cut(text: str) -> str:
    return text if len(text) <= SIZE else text[: SIZE - len(CUT)] + CUT

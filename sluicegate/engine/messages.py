"""Compiler messages: what is wrong, where, and the lines around it with a caret."""

from dataclasses import dataclass
from typing import Any

from sluicegate.engine.dialect import Source, Span

PARSE_ERROR = "Error parsing SQL"
COMPILATION_ERROR = "Compilation error"
NOT_IMPLEMENTED = "Not yet implemented"
CONNECTOR_ERROR = "ConnectorGenerationError"


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
            "message": self.text,
            "snippet": snippet(source, self.span),
        }


def snippet(source: Source, span: Span) -> str:
    """Return the numbered lines of a range; carets under a range of one line."""
    shown = [f"{n:5}|{source.lines[n - 1]}\n" for n in range(span.start_line, span.end_line + 1)]
    if span.start_line == span.end_line:
        width = max(1, span.end_column - span.start_column + 1)
        shown.append(" " * (6 + span.start_column - 1) + "^" * width + "\n")
    return "".join(shown)

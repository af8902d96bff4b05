"""Keeps the values of secrets out of what the process says: its log lines and its errors.

The provisioner hands over each value in a variable of its own (`protocol.SECRET_PREFIX`). Rows are the
user's own and stay as they are.
"""

import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, TextIO

from sluicegate.protocol import SECRET_PREFIX

SHORTEST = 4
"""Characters; a shorter value would take the sense out of every line, and protects nothing."""
SHOWN = "[secret]"


class Redactor:
    """Replaces the values of secrets, the longest first, as one may contain another."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Know the values of an environment."""
        values = {value for name, value in environment.items() if name.startswith(SECRET_PREFIX)}
        self._values = sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text without the values."""
        for value in self._values:
            text = text.replace(value, SHOWN)
        return text

    def within(self, value: Any) -> Any:
        """Return a JSON value without the values in any of its texts."""
        if not self._values:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(key)): self.within(item) for key, item in value.items()}
            case list() | tuple():
                return [self.within(item) for item in value]
        return value


class _Redacting:
    """A stream of text that the values of secrets do not get into."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor

    def write(self, text: str) -> int:
        """Write a text without the values."""
        self._stream.write(self._redactor.text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@cache
def own() -> Redactor:
    """What this process was given."""
    return Redactor(os.environ)


def install() -> None:
    """Keep the values out of all that this process prints from now on."""
    sys.stdout = _Redacting(sys.stdout, own())
    sys.stderr = _Redacting(sys.stderr, own())

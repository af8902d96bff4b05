"""Scanning: values of JSON that follow one another in a body, one at a time and in bounded memory.

The body is decoded piece by piece; Python's own decoder does the parsing. After something unreadable the scan
goes on at the next line.
"""

import codecs
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sluicegate.engine.formats.changes import Malformed
from sluicegate.engine.values import SHOWN, shorten

PIECE = 16 << 10
"""Bytes decoded at a time; Python counts the lines before each error, in all that is decoded."""
LARGEST = 16 << 20
"""Characters of one value: parsed, they may take twenty times as much memory."""
BLANKS = re.compile(r"[ \t\r\n]*")
CLOSE = 16
"""Characters before the end within which an error may come from what has not been decoded yet."""
PATIENCE = 4
"""Times the body's length that may be scanned in vain, before the rest of it is left unread."""
LEAST_PATIENCE = 1 << 20
NESTED = 16 << 10
"""Characters that a value nested too deeply is taken to have cost."""
BOM = "\ufeff"
STRAY = re.compile("[\udc80-\udcff]")
"""What stands for a byte that is not UTF-8; it is not written in UTF-8 itself."""
NOT_UTF8 = "not valid UTF-8"


class Scanner:
    """A place in a body."""

    def __init__(self, body: bytes, *, exact: bool, single_line: bool) -> None:
        floats = Decimal if exact else None
        decoder: Any = json.JSONDecoder(parse_float=floats, parse_constant=_no_constant)
        # Not `raw_decode`, which counts the lines before a value that is missing.
        self._scan = decoder.scan_once
        self._pieces = _decoded(body)
        self._text = ""
        self._at = 0
        self._done = False
        self._single_line = single_line
        self._strays = not is_utf8(body)
        self._credit = PATIENCE * len(body) + LEAST_PATIENCE

    def peek(self) -> str:
        """Go to the next character that is not blank and return it, or nothing at the end."""
        while True:
            blanks = BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self) -> str:
        """Step over the next character that is not blank and return it."""
        found = self.peek()
        self._at += 1
        return found

    def value(self) -> Any:
        """Read one value; raises Malformed, having gone to the next line."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (ValueError, RecursionError, StopIteration) as error:
                if self._cut_short(error) and self._more():
                    continue
                self._charge(error)
                raise self._unreadable(error) from error
            number = isinstance(value, int | float | Decimal)
            if number and end == len(self._text) and self._more():
                continue
            if self._single_line and "\n" in self._text[self._at : end]:
                raise self._unreadable(ValueError("the value has several lines"))
            if self._strays and STRAY.search(self._text, self._at, end):
                raise self._unreadable(ValueError(NOT_UTF8), end)
            self._at = end
            return value

    def skip_line(self) -> None:
        """Go to the next line."""
        while True:
            newline = self._text.find("\n", self._at)
            self._at = len(self._text) if newline < 0 else newline
            if newline >= 0 or not self._more():
                return

    def _more(self) -> bool:
        """Decode further, as much again as is not read yet; tell whether there was more."""
        left = len(self._text) - self._at
        if self._done or left > LARGEST:
            return False
        pieces, size = [self._text[self._at :]], 0
        while size < max(left, 1):
            piece = next(self._pieces, None)
            if piece is None:
                self._done = True
                break
            pieces.append(piece)
            size += len(piece)
        self._text, self._at = "".join(pieces), 0
        return size > 0

    def _cut_short(self, error: Exception) -> bool:
        unfinished = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated string")
        return unfinished or _place(error, self._at) > len(self._text) - CLOSE

    def _charge(self, error: Exception) -> None:
        """Give up on a body that costs much more than its length: a line may be read far into the next."""
        self._credit -= NESTED if isinstance(error, RecursionError) else _place(error, self._at) - self._at
        if self._credit < 0:
            self._text, self._at, self._done = "", 0, True
            raise Malformed("too much of the input is not JSON; the rest of it has not been read") from error

    def _unreadable(self, error: Exception, end: int = 0) -> Malformed:
        """Go to the line after what cannot be read, or after its end where that is known."""
        reason = _reason(error)
        if not self._done and len(self._text) - self._at > LARGEST:
            reason = f"a value is longer than {LARGEST >> 20} MiB"
        shown = STRAY.sub("\ufffd", self._text[self._at : self._at + SHOWN + 1].partition("\n")[0])
        self._at = max(self._at, end)
        self.skip_line()
        return Malformed(f"error parsing JSON: {reason} in {shorten(shown)}")


def elements(scanner: Scanner, *, array: bool) -> Iterator[tuple[int, Any]]:
    """Yield elements with the number of their chunk; a Malformed stands for one that cannot be read.

    Without `array` each value is an element and a chunk of its own; with it each value is a list of elements.
    """
    chunk = 0
    while scanner.peek():
        chunk += 1
        try:
            if array:
                yield from ((chunk, element) for element in _array(scanner))
            else:
                yield chunk, scanner.value()
        except Malformed as error:
            yield chunk, error


def _array(scanner: Scanner) -> Iterator[Any]:
    if scanner.peek() != "[":
        value = scanner.value()
        if value is not None:  # which is what the official client sends for an empty list
            raise Malformed(f"expected a JSON array, got {shorten(value)}")
        return
    scanner.take()
    if scanner.peek() == "]":
        scanner.take()
        return
    while True:
        yield scanner.value()
        following = scanner.take()
        if following == "]":
            return
        if following != ",":
            scanner.skip_line()
            raise Malformed("error parsing JSON: expected , or ] after an element of an array")


def is_utf8(body: bytes) -> bool:
    """Say whether all of a body is UTF-8."""
    if body.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(body), PIECE):
            decoder.decode(body[start : start + PIECE], final=start + PIECE >= len(body))
    except UnicodeDecodeError:
        return False
    return True


def _decoded(body: bytes) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for start in range(0, len(body), PIECE):
        text = decoder.decode(body[start : start + PIECE], final=start + PIECE >= len(body))
        yield text.removeprefix(BOM) if not start else text


def _place(error: Exception, start: int) -> int:
    """Return how far an error has read; nothing is known of a nesting too deep or a number too long."""
    if isinstance(error, StopIteration):  # a value was expected, and there is none
        return int(error.value)
    return max(start, error.pos) if isinstance(error, json.JSONDecodeError) else start


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, StopIteration):
        return "expected a value"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _no_constant(name: str) -> float:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)

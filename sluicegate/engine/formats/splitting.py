"""Splitting: a stream of bytes is cut between records, so that a connector's offset is exact to the byte.

A splitter is fed what a transport reads and gives back whole records, as many as there are or may be taken at
once; what is left waits for more, and is the `rest` at the end of the stream. Cuts fall between rows of CSV,
between lines where the format has lines, between values of JSON where values may span lines, and nowhere
inside a Parquet file or a blob.
"""

import re
from typing import Protocol

from sluicegate.engine.formats.config import Csv, InputFormat, Json, Parquet, Raw

LARGEST = 64 << 20
"""Bytes that may wait for the end of a record."""
LARGEST_WHOLE = 256 << 20
"""Bytes of what is never cut."""
TOKENS = re.compile(rb'[\]\[{}]|\n[ \t\r]*(?:[\[{]|\Z)|"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?:"|\\?\n|\\?\Z)')
"""What opens or closes a value of JSON, with the line's end before it; a string as a whole, even one that is
not finished, and no further than its line."""
STRING, NEWLINE = b'"\n'
OPENING, CLOSING = b"[{", b"]}"
BLANK = b" \t\r\n"
BEFORE = b",:["
"""Where a value has begun, what may precede a line that begins with a bracket."""


class TooLong(Exception):
    """A record that is larger than what may wait."""


class Cutter(Protocol):
    """Finds the ends of records in the bytes that wait, which begin with a record."""

    def cut(self, waiting: bytearray, most: int | None) -> int:
        """Return how many bytes are whole records, of which there may be at most so many."""


class Splitter:
    """Cuts one stream, from the beginning of a record on, into pieces of at most so many records."""

    def __init__(self, reading: InputFormat, most: int | None = None) -> None:
        self._cutter = _cutter(reading)
        self._limit = LARGEST_WHOLE if isinstance(self._cutter, _Whole) else LARGEST
        self._most = most
        self._waiting = bytearray()
        self._owed = isinstance(reading, Parquet)

    def feed(self, data: bytes) -> None:
        """Take what has been read."""
        self._waiting += data

    def piece(self) -> bytes | None:
        """Return whole records, None where more has to come first; raises TooLong."""
        size = self._cutter.cut(self._waiting, self._most)
        if size:
            return self._take(size)
        if len(self._waiting) > self._limit:
            raise TooLong(f"a record is larger than {self._limit >> 20} MiB; write smaller ones")
        return None

    def rest(self) -> bytes | None:
        """Return what is left at the end of the stream, if anything; of Parquet also nothing at all, which
        is no Parquet and has to be told."""
        return self._take(len(self._waiting)) if self._waiting or self._owed else None

    def _take(self, size: int) -> bytes:
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._owed = False
        return data


def _cutter(reading: InputFormat) -> Cutter:
    if isinstance(reading, Csv) and reading.quoting:
        return _Rows(reading)
    if isinstance(reading, Csv) or (isinstance(reading, Raw) and reading.lines):
        return _Lines()
    if isinstance(reading, Json):
        return _Lines() if reading.single_line else _Values()
    return _Whole()


class _Whole:
    def cut(self, waiting: bytearray, most: int | None) -> int:
        return 0


class _Lines:
    def cut(self, waiting: bytearray, most: int | None) -> int:
        if most is None:
            return waiting.rfind(b"\n") + 1
        end = 0
        for _ in range(most):
            following = waiting.find(b"\n", end) + 1
            if not following:
                break
            end = following
        return end


class _Rows:
    """Rows of CSV: a line's end inside quotes is none, and quotes open only where a field begins.

    Remembers how far it has looked, and whether that was inside quotes.
    """

    def __init__(self, reading: Csv) -> None:
        self._quote = reading.quote.encode()
        self._doubled = reading.double_quote
        delimiter, quote = re.escape(reading.delimiter.encode()), re.escape(self._quote)
        outside = rb"\n|(?:(?<=[\r\n" + delimiter + rb"])|\A)" + quote
        if reading.comment is not None:
            outside += rb"|(?:(?<=\n)|\A)" + re.escape(reading.comment.encode()) + rb"[^\n]*(?:\n|\Z)"
        inside = quote + quote + rb"|" + quote if self._doubled else quote
        if reading.escape is not None:
            inside += rb"|" + re.escape(reading.escape.encode()) + rb"(?:.|\Z)"
        self._outside, self._inside = re.compile(outside), re.compile(inside, re.DOTALL)
        self._plain = reading.comment is None
        self._looked = 0
        self._quoted = False

    def cut(self, waiting: bytearray, most: int | None) -> int:
        unquoted = self._plain and not self._quoted and waiting.find(self._quote, self._looked) < 0
        if not unquoted or most is not None:
            return self._look(waiting, most)
        end = waiting.rfind(b"\n", self._looked) + 1
        self._looked = len(waiting) - end
        return end

    def _look(self, waiting: bytearray, most: int | None) -> int:
        end, rows, at = 0, 0, self._looked
        while rows != most:
            found = (self._inside if self._quoted else self._outside).search(waiting, at)
            if found is None or self._may_go_on(found.group(), last=found.end() == len(waiting)):
                at = len(waiting) if found is None else found.start()
                break
            token, at = found.group(), found.end()
            if token.endswith(b"\n") and not self._quoted:
                end, rows = at, rows + (token == b"\n")
            else:
                self._quoted = not self._quoted or token != self._quote
        self._looked = at - end
        return end

    def _may_go_on(self, token: bytes, *, last: bool) -> bool:
        """Tell whether a token may be the beginning of a longer one."""
        if not last:
            return False
        if self._quoted:
            return len(token) == 1 and (self._doubled or token != self._quote)
        return token not in (b"\n", self._quote) and not token.endswith(b"\n")


class _Values:
    """Values of JSON at the top: objects and lists by their brackets, others by lines.

    A value that has turned out to be none, as one that is cut short does in the next line, ends with the line
    before that; the reader tells it, and looks for the next in the next line.
    """

    def __init__(self) -> None:
        self._looked = 0
        self._depth = 0

    def cut(self, waiting: bytearray, most: int | None) -> int:
        end, values, last = 0, 0, len(waiting)
        for found in TOKENS.finditer(waiting, self._looked):
            token = found.group()
            if token[0] == token[-1] == STRING and found.end() < len(waiting):
                continue
            if self._depth and (broken := _broken(waiting, found)):
                end, values, self._depth = broken, values + 1, 0
            if found.end() == len(waiting) and _may_go_on(token):
                last = found.start()
            elif token[-1] in OPENING:
                self._depth += 1
            elif token[-1] in CLOSING:
                self._depth = max(0, self._depth - 1)
                end, values = (end, values) if self._depth else (found.end(), values + 1)
            if values == most:
                return self._begin_at(end)
        return self._pause(waiting, end, last)

    def _pause(self, waiting: bytearray, end: int, last: int) -> int:
        """Go on looking at a place when there is more; returns where what is whole ends."""
        if not self._depth:
            end = max(end, waiting.rfind(b"\n") + 1)
        elif not end and len(waiting) > LARGEST:  # of which no reader makes a value
            return self._begin_at(waiting.rfind(b"\n") + 1)
        self._looked = max(last - end, 0)
        return end

    def _begin_at(self, end: int) -> int:
        self._looked = self._depth = 0
        return end


def _broken(waiting: bytearray, found: re.Match[bytes]) -> int:
    """Return where the line ends in which, or after which, a token shows that its value is none; else 0."""
    token = found.group()
    if token[0] == STRING:
        return found.end() if token[-1] == NEWLINE else 0
    if token[0] != NEWLINE or token[-1] not in OPENING:
        return 0
    before = found.start()
    while waiting[before] in BLANK:
        before -= 1
    return 0 if waiting[before] in BEFORE else found.start() + 1


def _may_go_on(token: bytes) -> bool:
    """Tell whether the last token may be the beginning of a longer one."""
    if token[0] == STRING:
        return token[-1] != NEWLINE and not _closed(token)
    return token[0] == NEWLINE and token[-1] not in OPENING


def _closed(token: bytes) -> bool:
    """Tell whether a string has its closing quote."""
    return len(token) > 1 and token.endswith(b'"') and (len(token) - len(token[:-1].rstrip(b"\\"))) % 2 == 1

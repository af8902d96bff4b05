"""Numbers for the lines of a log of which the beginning is not kept.

With each rotation it is written down how many lines end before the position from which the log will be kept.
The number of any other line that is kept is counted from there; a log without rotations needs no such file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

_PIECE = 1 << 20


class Line(NamedTuple):
    """Where a line begins."""

    number: int
    """How many lines are before it in the log as a whole."""
    position: int


class _Log(Protocol):
    @property
    def kept_from(self) -> int: ...

    def end(self) -> int: ...

    def read(self, position: int, limit: int) -> tuple[int, bytes]: ...


class Numbering:
    """The numbers of one log's lines; nothing may be rotated while it counts."""

    def __init__(self, log: _Log, path: Path) -> None:
        self._log = log
        self._path = path

    def find(self, number: int) -> Line:
        """Find the line of a number: the first whole one that is kept where it is not kept any more, the one
        that will come next where there are not so many."""
        found = self._first()
        for end in self._ends(found.position):
            if found.number >= number:
                break
            found = Line(found.number + 1, end)
        return found

    def write_down(self, position: int) -> None:
        """Remember how many lines end before a position that goes on being kept."""
        aside = self._path.with_name(f"{self._path.name}.new")
        aside.write_text(f"{self._before(position)} {position}\n")
        aside.replace(self._path)

    def _first(self) -> Line:
        """The first line that is kept whole: a rotation cuts anywhere."""
        start = self._log.kept_from
        if start == 0:
            return Line(0, 0)
        return Line(self._before(start) + 1, next(self._ends(start), self._log.end()))

    def _before(self, position: int) -> int:
        known = self._known()
        low, high = sorted((known.position, position))
        between = sum(data.count(b"\n", 0, max(0, high - begin)) for begin, data in self._pieces(low))
        return known.number + (between if position >= known.position else -between)

    def _known(self) -> Line:
        """What was written down last; where nothing was, the log begins where it is kept."""
        try:
            number, position = self._path.read_text().split()
        except FileNotFoundError:
            return Line(0, self._log.kept_from)
        return Line(int(number), int(position))

    def _ends(self, position: int) -> Iterator[int]:
        """The positions after each line end, from a position on."""
        for begin, data in self._pieces(position):
            at = data.find(b"\n") + 1
            while at:
                yield begin + at
                at = data.find(b"\n", at) + 1

    def _pieces(self, position: int) -> Iterator[tuple[int, bytes]]:
        while True:
            position, data = self._log.read(position, _PIECE)
            if not data:
                return
            yield position, data
            position += len(data)

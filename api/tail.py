"""The end of a pipeline's journal as this process has read it: one copy for all who watch the pipeline.

Each entry has a number that only grows. Who watches remembers the number that it wants next; where that has
fallen out at the other end, entries are lost to it, and it is told so. Nothing is kept per watcher.
"""

import json
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from sluicegate.lifecycle.journal import KEPT


class Entry(NamedTuple):
    """One transition, as it is sent."""

    event_id: str
    text: str


class Tail:
    """The newest transitions, oldest first."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._entries: deque[Entry] = deque()
        self._first = 0

    @property
    def first(self) -> int:
        """The number of the oldest entry kept."""
        return self._first

    @property
    def end(self) -> int:
        """The number that the next entry will have."""
        return self._first + len(self._entries)

    @property
    def newest(self) -> str | None:
        """The id of the newest event."""
        return self._entries[-1].event_id if self._entries else None

    @property
    def oldest(self) -> str | None:
        """The id of the oldest event kept."""
        return self._entries[0].event_id if self._entries else None

    def follows(self, events: list[dict[str, Any]]) -> bool:
        """Whether events, newest first, go on where this ends."""
        return not self._entries or (bool(events) and events[-1]["event_id"] == self.newest)

    def extend(self, events: list[dict[str, Any]]) -> None:
        """Take events, newest first; where they do not go on where this ends, what is between is lost."""
        news = [Entry(event["event_id"], json.dumps(event, separators=(",", ":"))) for event in events[::-1]]
        if not self.follows(events):
            self._first = self.end + 1
            self._entries.clear()
        self._entries.extend(news[1:] if self._entries else news)
        while len(self._entries) > KEPT:
            self._entries.popleft()
            self._first += 1

    def after(self, event_id: str) -> int | None:
        """The number of the entry that follows an event; None where the event is not here."""
        for number, entry in enumerate(self._entries, self._first):
            if entry.event_id == event_id:
                return number + 1
        return None

    def since(self, number: int) -> Iterable[Entry]:
        """The entries from a number on, of those that are kept."""
        return list(self._entries)[max(number - self._first, 0) :]

"""Server-sent events, as their reader gets them line by line."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event; `id` is the cursor to go on from, where the event is one."""

    kind: str
    id: str | None
    data: dict[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event | None]:
    """Yield events whose data is JSON, and None for each line that is only a sign of life."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name in {"event", "id", "data"}:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
            fields = {}
        else:
            yield None

"""A sampling profile of the process's Python threads, in the format that Firefox calls Gecko's.

https://profiler.firefox.com reads it, which is also what `samply load` shows. It has the Python frames; what
a call spends in DuckDB or Arrow stands at the line that has called it.
"""

import gzip
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

INTERVAL = 0.01
"""Seconds between samples: a hundred a second take about a hundredth of one processor."""
CATEGORY = 0


@dataclass
class _Thread:
    """The samples of one thread. Equal stacks and frames are kept once, so what counts is the variety."""

    name: str
    begun: float
    strings: dict[str, int] = field(default_factory=dict)
    frames: dict[tuple[int, int], int] = field(default_factory=dict)
    stacks: dict[tuple[int | None, int], int] = field(default_factory=dict)
    samples: list[tuple[int | None, float]] = field(default_factory=list)

    def take(self, frame: FrameType, at: float) -> None:
        """Take one sample."""
        self.samples.append((self._stack(frame), at))

    def _stack(self, innermost: FrameType) -> int | None:
        place: int | None = None
        for frame in reversed(_callers(innermost)):
            code = frame.f_code
            location = f"{code.co_qualname} ({code.co_filename})"
            key = (self.strings.setdefault(location, len(self.strings)), frame.f_lineno or 0)
            own = self.frames.setdefault(key, len(self.frames))
            place = self.stacks.setdefault((place, own), len(self.stacks))
        return place

    def describe(self, identity: int) -> dict[str, Any]:
        """Return the thread as the format has it: tables with a schema that names their columns."""
        return {
            "name": self.name,
            "processType": "default",
            "processName": "Sluicegate engine",
            "tid": identity,
            "pid": os.getpid(),
            "registerTime": self.begun,
            "unregisterTime": None,
            "markers": _table(("name", "startTime", "endTime", "phase", "category", "data"), []),
            "samples": _table(
                ("stack", "time", "responsiveness"), [[stack, at, 0] for stack, at in self.samples]
            ),
            "frameTable": _table(
                (
                    *("location", "relevantForJS", "innerWindowID", "implementation"),
                    *("line", "column", "category", "subcategory"),
                ),
                [[place, False, 0, None, line, None, CATEGORY, 0] for place, line in self.frames],
            ),
            "stackTable": _table(("prefix", "frame"), [list(stack) for stack in self.stacks]),
            "stringTable": list(self.strings),
        }


def record(seconds: float, stop: threading.Event) -> bytes:
    """Sample for so long, or until told to stop, in a thread of its own; returns the profile, compressed."""
    began, began_at = time.monotonic(), time.time()
    own = threading.get_ident()
    threads: dict[int, _Thread] = {}
    while (now := time.monotonic() - began) < seconds:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for identity, frame in sys._current_frames().items():
            if identity == own:
                continue
            if identity not in threads:
                threads[identity] = _Thread(names.get(identity, "thread"), now * 1000)
            threads[identity].take(frame, now * 1000)
        if stop.wait(INTERVAL):
            break
    profile = {
        "meta": _meta(began_at),
        "libs": [],
        "threads": [thread.describe(identity) for identity, thread in threads.items()],
        "processes": [],
        "pausedRanges": [],
    }
    return gzip.compress(json.dumps(profile).encode())


def _meta(began_at: float) -> dict[str, Any]:
    return {
        "version": 24,
        "interval": INTERVAL * 1000,
        "stackwalk": 1,
        "debug": 0,
        "gcpoison": 0,
        "asyncstack": 1,
        "startTime": began_at * 1000,
        "shutdownTime": None,
        "processType": 0,
        "product": "Sluicegate engine",
        "presymbolicated": True,
        "categories": [{"name": "Python", "color": "blue", "subcategories": ["Other"]}],
        "markerSchema": [],
    }


def _callers(frame: FrameType | None) -> list[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _table(columns: tuple[str, ...], rows: list[Any]) -> dict[str, Any]:
    return {"schema": {name: place for place, name in enumerate(columns)}, "data": rows}

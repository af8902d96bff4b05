"""The samples of a run as lives of processes, and events and statuses on the same clock."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.recording import Run


@dataclass(frozen=True)
class Life:
    """One process of a pipeline, as long as it was seen."""

    pipeline: str
    pid: int
    started: int
    generation: int
    seen: float
    gone: float = math.inf
    """The first moment at which it was looked for in vain."""

    def within(self, begin: float, end: float) -> bool:
        """Whether it lived at some moment of that time."""
        return self.seen <= end and self.gone >= begin


def lives(samples: Iterable[dict[str, Any]]) -> list[Life]:
    """All processes that were seen, in the order in which they were."""
    found: dict[tuple[str, int, int], Life] = {}
    over: list[Life] = []
    for sample in samples:
        present = {
            (pipeline, pid, started): generation
            for pipeline, live in sample["live"].items()
            for pid, started, generation, _ in live
        }
        for key in found.keys() - present.keys():
            over.append(_ended(found.pop(key), sample["at"]))
        for key in present.keys() - found.keys():
            found[key] = Life(*key, present[key], sample["at"])
    return sorted([*over, *found.values()], key=lambda life: life.seen)


def _ended(life: Life, at: float) -> Life:
    return Life(life.pipeline, life.pid, life.started, life.generation, life.seen, at)


def moment(run: Run, text: str) -> float:
    """The moment of a time as the API writes it."""
    return run.monotonic(datetime.fromisoformat(text).timestamp())

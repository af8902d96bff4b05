"""Figures: what was measured, the floor beside it, and the aim for their ratio."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One row of the table; times in milliseconds."""

    measure: str
    floor: str
    measured_ms: Sequence[float]
    floor_ms: Sequence[float]
    aim: float | None = None
    """At most this many times the floor, by medians."""
    aim_ms: float | None = None
    """A median of at most so many milliseconds."""

    @property
    def median(self) -> float:
        """Median of what was measured."""
        return statistics.median(self.measured_ms)

    @property
    def floor_median(self) -> float:
        """Median of the floor."""
        return statistics.median(self.floor_ms)

    @property
    def ratio(self) -> float:
        """How many times the floor it is."""
        return self.median / self.floor_median

    @property
    def met(self) -> bool:
        """Whether the aims were met."""
        near = self.aim is None or self.ratio <= self.aim
        return near and (self.aim_ms is None or self.median <= self.aim_ms)

    @property
    def aims(self) -> str:
        """The aims in words."""
        words = [] if self.aim is None else [f"{self.aim:g}"]
        return ", ".join("≤ " + word for word in [*words, *([f"{self.aim_ms:g} ms"] if self.aim_ms else [])])

    def as_json(self) -> dict[str, Any]:
        """All of it, samples included."""
        derived = {
            "median_ms": self.median,
            "floor_median_ms": self.floor_median,
            "p99_ms": percentile(self.measured_ms, 99),
            "floor_p99_ms": percentile(self.floor_ms, 99),
            "ratio": self.ratio,
            "met": self.met,
        }
        return asdict(self) | derived


def percentile(samples: Sequence[float], rank: int) -> float:
    """The smallest sample that so many per cent do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * rank // 100)]

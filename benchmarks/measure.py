"""Figures: what was measured, the floor beside it, and the aims that it is held to."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Judged(NamedTuple):
    """How an aim was met."""

    words: str
    met: bool


class Aim(Protocol):
    """What a figure should be."""

    def judge(self, figure: "Figure") -> Judged:
        """Say what it is, what it should be, and whether it is."""


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    measure: str
    samples: Sequence[float]
    floor: str = ""
    """What was measured beside it in the same run; empty where the aim is absolute."""
    floor_samples: Sequence[float] = ()
    aims: Sequence[Aim] = ()
    unit: str = "ms"
    note: str = ""

    @property
    def median(self) -> float:
        """Median of what was measured."""
        return statistics.median(self.samples)

    @property
    def floor_median(self) -> float:
        """Median of the floor."""
        return statistics.median(self.floor_samples)

    @property
    def judged(self) -> list[Judged]:
        """How each aim was met."""
        return [aim.judge(self) for aim in self.aims]

    def as_json(self) -> dict[str, Any]:
        """All of it, samples included."""
        floor: dict[str, Any] = {}
        if self.floor:
            floor = {
                "floor": self.floor,
                "floor_median": rounded(self.floor_median),
                "floor_p99": rounded(percentile(self.floor_samples, 99)),
                "floor_samples": [rounded(sample) for sample in self.floor_samples],
            }
        return {
            "measure": self.measure,
            "unit": self.unit,
            "median": rounded(self.median),
            "p99": rounded(percentile(self.samples, 99)),
            "aims": [judged._asdict() for judged in self.judged],
            **({"note": self.note} if self.note else {}),
            **floor,
            "samples": [rounded(sample) for sample in self.samples],
        }


@dataclass(frozen=True)
class Times:
    """At most so many times the floor, by the median or another percentile."""

    limit: float
    rank: int = 50

    def judge(self, figure: Figure) -> Judged:
        """See `Aim`."""
        ratio = percentile(figure.samples, self.rank) / percentile(figure.floor_samples, self.rank)
        return Judged(f"{_name(self.rank)} {ratio:.2f}x, ≤ {self.limit:g}x", ratio <= self.limit)


@dataclass(frozen=True)
class Share:
    """At least so large a share of the floor, for rates."""

    limit: float

    def judge(self, figure: Figure) -> Judged:
        """See `Aim`."""
        share = figure.median / figure.floor_median
        return Judged(f"{share:.0%} of it, ≥ {self.limit:.0%}", share >= self.limit)


@dataclass(frozen=True)
class Over:
    """A median at most so much above that of the floor."""

    limit: float

    def judge(self, figure: Figure) -> Judged:
        """See `Aim`."""
        over = figure.median - figure.floor_median
        return Judged(f"{over:+.0f} {figure.unit}, ≤ {self.limit:g}", over <= self.limit)


@dataclass(frozen=True)
class AtMost:
    """At most this, by the median or another percentile."""

    limit: float
    rank: int = 50

    def judge(self, figure: Figure) -> Judged:
        """See `Aim`."""
        value = percentile(figure.samples, self.rank)
        words = f"{_name(self.rank)} {value:.3g} {figure.unit}, ≤ {self.limit:g}"
        return Judged(words, value <= self.limit)


def _name(rank: int) -> str:
    return {50: "median", 100: "most"}.get(rank, f"p{rank}")


def percentile(samples: Sequence[float], rank: int) -> float:
    """The median, or the smallest sample that so many per cent do not exceed."""
    if rank == 50:
        return statistics.median(samples)
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * rank // 100)]


def rounded(value: float) -> float:
    """A figure to four digits: what is behind them is noise."""
    return float(f"{value:.4g}")

"""What goes wrong, when, and how: a pure function of the seed, so that a run can be had again.

What a fault meets is not: which process comes by a point first, and which engines live, is up to the run.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sluicegate import faults

EVERY = 4.0
"""Seconds from one fault to the next, on the average."""
FROZEN_FOR = (0.5, 0.5, 1.0, 1.0, 3.0, 12.0)
"""Seconds until a stopped process goes on: the longest is longer than the heartbeats of effects."""
JUMPS = (-3_600.0, -5.0, 5.0, 3_600.0)
"""Seconds by which a wall clock jumps."""
WORKERS = ("worker-1", "worker-2")
APIS = ("api-1", "api-2")
TEMPORAL = "temporal"
ENGINE = "engine"


class Kind(StrEnum):
    """What may go wrong."""

    POINT = "point"
    """Whoever reaches a named point first is killed, or stopped for a while."""
    PROCESS = "process"
    """The same at a moment that means nothing."""
    CUT = "connections cut"
    """Every connection to a part is reset after so many bytes more."""
    CLOCK = "clock jump"
    """The wall clock of a part is another for a while."""
    SLOW_DISK = "slow disk"
    """Every fsync of our processes takes a while longer, and Temporal's process is held again and again."""
    FULL_DISK = "full disk"
    """There is no room in the data folder for a while."""


@dataclass(frozen=True)
class Fault:
    """One of them."""

    at: float
    """Seconds since the faults began."""
    kind: Kind
    target: str
    how: str = ""
    """`kill` or `stop`."""
    lasting: float = 0.0
    amount: float = 0.0
    """Bytes, or seconds of a clock; of engines, which one, as a fraction of those that live."""

    def encoded(self) -> dict[str, Any]:
        """The fault as JSON has it."""
        return asdict(self)


def scheduled(seed: int, seconds: float, every: float = EVERY) -> list[Fault]:
    """All faults of a run: every other one at a named point, each point in its turn."""
    dice = random.Random(f"faults/{seed}")
    points = _cycled(dice, faults.POINTS)
    others = _cycled(dice, _OTHERS)
    found, at, number = [], 0.0, 0
    while (at := at + dice.uniform(0.5, 1.5) * every) < seconds:
        found.append(_at_point(dice, at, next(points)) if number % 2 == 0 else next(others)(dice, at))
        number += 1
    return found


def decoded(raw: dict[str, Any]) -> Fault:
    """Read a fault."""
    return Fault(**{**raw, "kind": Kind(raw["kind"])})


def _cycled(dice: random.Random, things: Sequence[Any]) -> Iterator[Any]:
    while True:
        yield from dice.sample(things, len(things))


def _at_point(dice: random.Random, at: float, point: str) -> Fault:
    return Fault(at, Kind.POINT, point, dice.choice(("kill", "kill", "stop")), dice.choice(FROZEN_FOR))


def _process(*targets: str) -> Any:
    def made(dice: random.Random, at: float) -> Fault:
        how, lasting = dice.choice(("kill", "stop")), dice.choice(FROZEN_FOR)
        return Fault(at, Kind.PROCESS, dice.choice(targets), how, lasting, dice.random())

    return made


def _cut(dice: random.Random, at: float) -> Fault:
    return Fault(at, Kind.CUT, dice.choice((*APIS, TEMPORAL)), amount=float(dice.randrange(2_000)))


def _clock(dice: random.Random, at: float) -> Fault:
    target = dice.choice((*WORKERS, *APIS, ENGINE))
    return Fault(at, Kind.CLOCK, target, lasting=dice.uniform(2, 8), amount=dice.choice(JUMPS))


def _slow_disk(dice: random.Random, at: float) -> Fault:
    return Fault(at, Kind.SLOW_DISK, "all", lasting=dice.uniform(2, 6), amount=dice.choice((0.05, 0.3)))


def _full_disk(dice: random.Random, at: float) -> Fault:
    return Fault(at, Kind.FULL_DISK, "data folder", lasting=dice.uniform(1, 6))


_OTHERS = (
    *[_process(*WORKERS)] * 2,
    _process(*APIS),
    _process(TEMPORAL),
    *[_process(ENGINE)] * 2,
    _cut,
    _clock,
    _slow_disk,
    _full_disk,
)

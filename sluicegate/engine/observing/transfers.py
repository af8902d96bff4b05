"""Pushes or pulls of checkpoints, counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Transfers:
    """Of one direction, since the process began."""

    successes: int = 0
    """Of which each has brought another checkpoint than the one before."""
    failures: int = 0
    bytes: int = 0
    seconds: float = 0.0
    speeds: float = 0.0
    """Sum of the bytes per second of each success."""

    @contextmanager
    def measured(self) -> Iterator["Transfer"]:
        """Count one: as a failure where it raises, and not at all where there was nothing to do."""
        transfer, began = Transfer(), time.perf_counter()
        try:
            yield transfer
        except Exception:
            self.failures += 1
            raise
        if transfer.is_new:
            took = time.perf_counter() - began
            self.successes += 1
            self.bytes += transfer.bytes
            self.seconds += took
            self.speeds += transfer.bytes / took


@dataclass
class Transfer:
    """One that is under way."""

    bytes: int = 0
    is_new: bool = False
    """Whether it was of another checkpoint than the one before."""

    def add(self, size: int) -> None:
        """Count what has arrived."""
        self.bytes += size

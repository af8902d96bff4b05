"""I2: at most one live process per pipeline, at any time, whatever crashes or wakes up late."""

from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording

UNLOCKED_FOR = 1.0
"""Seconds after which a process without its lock is one: list of processes and list of locks are read one
after the other."""


def check(recording: Recording) -> Finding:
    """In no sample are there two processes that lead a session under a cookie of the same pipeline, and no
    process lives for a while of which the pipeline's lock is not held."""
    cases, violations = 0, []
    unlocked: dict[tuple[str, int], float] = {}
    for sample in recording.read("samples"):
        without = {}
        for pipeline, live in sample["live"].items():
            cases += 1
            if len(live) > 1:
                violations.append(f"{pipeline}: at {sample['at']:.2f} there are {live}")
            for pid, _, _, held in live:
                if not held:
                    without[pipeline, pid] = unlocked.get((pipeline, pid), sample["at"])
        for (pipeline, pid), since in without.items():
            if sample["at"] - since > UNLOCKED_FOR:
                violations.append(f"{pipeline}: process {pid} lives at {sample['at']:.2f} without its lock")
        unlocked = without
    return Finding("I2", "samples of a pipeline's processes", cases, tuple(violations))

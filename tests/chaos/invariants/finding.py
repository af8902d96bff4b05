"""What a checker has found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The verdict on one invariant."""

    invariant: str
    checked: str
    """What was looked at, in a few words."""
    cases: int
    violations: tuple[str, ...] = ()
    undecided: int = 0
    """Cases of which nothing is known."""

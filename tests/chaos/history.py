"""What clients did and what they were told, a line of JSON for each operation, to be judged at any time.

Times are seconds of this machine's monotonic clock. An operation whose answer never came, or that is on
record only, has no end: it may have taken effect at any time since it began, or never.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ACCEPTED = "accepted"
"""The outcome of what was not refused; a refusal is its error code."""


@dataclass(frozen=True)
class Operation:
    """One lifecycle command or edit, repeated under its request id as often as it took."""

    pipeline: str
    verb: str
    arguments: dict[str, Any]
    request_id: str
    began: float
    ended: float | None = None
    outcome: str | None = None
    """None where it is unknown."""
    client: int = 0
    actor: str = field(default="anonymous")

    @property
    def end(self) -> float:
        """When it was over; never, where nobody knows."""
        return math.inf if self.ended is None or self.outcome is None else self.ended


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history."""
    path.write_text("".join(json.dumps(asdict(operation)) + "\n" for operation in operations))


def read(path: Path) -> list[Operation]:
    """Read a history."""
    return [Operation(**json.loads(line)) for line in path.read_text().splitlines()]

"""The program that a stored state is of, as it is kept in the database itself and in its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stored:
    """A program, as something stored knows it."""

    digest: str
    """Of the plan, see `Plan.digest`."""
    program_version: int
    plan: Mapping[str, Any] | None
    """As JSON; None where an earlier release has stored it."""

    def told(self) -> dict[str, Any]:
        """Return what tells it from others, as `status.json` has it."""
        return {"program_version": self.program_version, "plan_digest": self.digest}

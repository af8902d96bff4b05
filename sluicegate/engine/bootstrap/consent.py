"""Consent: what the user has said about a bootstrap, at the start or by approving it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.engine.deployment import Deployment


@dataclass(frozen=True)
class Consent:
    """Of one deployment; it outlives the process in `status.json`."""

    policy: str
    """allow, reject or await_approval."""
    silent: bool
    concurrent: bool
    approved: bool = False
    """Whether this process was told."""

    @classmethod
    def at_start(cls, deployment: Deployment) -> "Consent":
        """Return what the start said."""
        return cls(deployment.bootstrap_policy, deployment.silent_bootstrap, deployment.concurrent_bootstrap)

    @classmethod
    def by_approval(cls, *, silent: bool, concurrent: bool) -> "Consent":
        """Return what an approval says, instead of what the start said."""
        return cls("allow", silent, concurrent, approved=True)

    def or_remembered(self, status: Mapping[str, Any]) -> "Consent":
        """Return what this very deployment was told before, unless it has been told since."""
        if self.approved:
            return self
        return Consent(
            status.get("bootstrap_policy", self.policy),
            status.get("silent_bootstrap", self.silent),
            status.get("concurrent_bootstrap", self.concurrent),
        )

    def to_status(self) -> dict[str, Any]:
        """Return what `status.json` keeps of it."""
        return {
            "bootstrap_policy": self.policy,
            "silent_bootstrap": self.silent,
            "concurrent_bootstrap": self.concurrent,
        }

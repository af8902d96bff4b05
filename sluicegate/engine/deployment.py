"""What a process was started as."""

from dataclasses import dataclass

from sluicegate.protocol import EngineConfig

NO_CHECKPOINT = "none"
"""Instead of the uuid of a checkpoint: start empty."""


@dataclass(frozen=True)
class Deployment:
    """One deployment of a pipeline."""

    config: EngineConfig
    deployment_id: str
    initial: str
    bootstrap_policy: str
    silent_bootstrap: bool
    concurrent_bootstrap: bool
    checkpoint: str | None = None
    """The checkpoint to start from, or `NO_CHECKPOINT`; None where that is left to `origin`."""

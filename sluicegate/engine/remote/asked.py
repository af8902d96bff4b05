"""Whether a pipeline has a bucket; a module of its own, since a start without one loads nothing else."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

LATEST = "latest"


def given(runtime_config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what is asked for, None where checkpoints stay on this machine."""
    backend = (runtime_config.get("storage") or {}).get("backend") or {}
    if backend.get("name") != "file":
        return None
    found: Mapping[str, Any] | None = (backend.get("config") or {}).get("sync")
    if found is None or found.get("start_from_checkpoint") in (None, LATEST):
        return found
    # As checkpoints are named; a configuration of an earlier release may have it otherwise.
    return {**found, "start_from_checkpoint": str(UUID(found["start_from_checkpoint"]))}

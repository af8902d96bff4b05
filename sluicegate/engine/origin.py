"""What a start begins from: a live database of before, else the newest checkpoint, else nothing.

The same deployment goes on with its own database. Another one takes over the database that the deployment
before it left behind if fault tolerance is on and no checkpoint was asked for, so that what was acknowledged
survives a crash (I8). It is never older than a checkpoint: a suspend removes it once its checkpoint is whole.

A database that is taken over keeps its file, which DuckDB's log beside it must match; the status names the
deployment that made it, and changes in one piece with the deployment that owns it. Where the program is
another one the start is refused before anything is removed, as it is from a checkpoint.
"""

from collections.abc import Mapping
from typing import Any

from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import Listing
from sluicegate.engine.errors import EngineError
from sluicegate.engine.storage import Storage
from sluicegate.protocol import EngineConfig

CHANGED = (
    "the program has changed since its data was stored; clearing the storage starts the pipeline empty "
    "(starting a changed program from stored data comes in a later release)"
)


def changed() -> EngineError:
    """Return the refusal to start one program from the data of another."""
    return EngineError(500, "InitializationError", CHANGED)


def program_of(config: EngineConfig, digest: str) -> dict[str, Any]:
    """Return what tells the program of a database from others."""
    return {"program_version": config.program_version, "plan_digest": digest}


def newest(listing: Listing) -> Manifest | None:
    """Return the newest checkpoint, None where there is none; raises where it is not whole.

    An older one is not taken instead: what was acknowledged since would be gone, and nobody would know.
    """
    return None if listing.newest is None else listing.find(listing.newest)


def maker_of_live(
    storage: Storage, past: Mapping[str, Any], *, deployment_id: str, config: EngineConfig, digest: str
) -> str:
    """Return the deployment whose database this one opens or, where it is its own, may have to make."""
    maker = str(past.get("live") or past["deployment_id"])
    if past["deployment_id"] == deployment_id:
        return maker
    if not _takes_over(config.runtime_config) or not storage.live(maker).exists():
        return deployment_id
    if any(past.get(key) != value for key, value in program_of(config, digest).items()):
        raise changed()
    return maker


def _takes_over(runtime_config: Mapping[str, Any]) -> bool:
    model = _inner(runtime_config, "fault_tolerance").get("model") or "none"
    backend = _inner(_inner(runtime_config, "storage"), "backend")
    asked = _inner(_inner(backend, "config"), "sync").get("start_from_checkpoint")
    return model != "none" and asked is None


def _inner(outer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = outer.get(key)
    return found if isinstance(found, Mapping) else {}

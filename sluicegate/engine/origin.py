"""What a start begins from: a live database of before, else a checkpoint, else nothing.

The same deployment goes on with its own database. Another one takes over the database that the deployment
before it left behind if fault tolerance is on and no checkpoint was asked for by its uuid, so that what was
acknowledged survives a crash (I8). It is never older than a checkpoint here: a suspend removes it once its
checkpoint is whole. So it goes before the `latest`, too.
Where the program is another one, what was left behind becomes a checkpoint first, and the change is
bootstrapped (`bootstrap`).

A database that is taken over keeps its file, which DuckDB's log beside it must match; the status names the
deployment that made it. What is left behind is removed only once the new deployment has a database of its
own, so a start that fails has cost nothing.

**A damaged checkpoint is never passed over.** Where the newest one is damaged the start ends with an error
that names it. An older one may be asked for by its uuid, which is for a human to decide: what came since is
lost.
"""

from collections.abc import Mapping
from typing import Any

from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import CheckpointError, Listing
from sluicegate.engine.deployment import NO_CHECKPOINT, Deployment
from sluicegate.engine.remote.asked import LATEST, given


def is_tolerant(runtime_config: Mapping[str, Any]) -> bool:
    """Tell whether what is acknowledged has to survive a crash."""
    return (_inner(runtime_config, "fault_tolerance").get("model") or "none") != "none"


def takes_over(deployment: Deployment) -> bool:
    """Tell whether a deployment goes on with what the one before it left behind."""
    tolerant = is_tolerant(deployment.config.runtime_config)
    return tolerant and deployment.checkpoint is None and _wanted_of_sync(deployment) in (None, LATEST)


def chosen(deployment: Deployment, listing: Listing) -> Manifest | None:
    """Return the checkpoint to begin from, None to begin with nothing; raises CheckpointError."""
    wanted = deployment.checkpoint
    if wanted == NO_CHECKPOINT:
        return None
    if wanted is not None:
        return listing.find(wanted)
    configured = _wanted_of_sync(deployment)
    if configured not in (None, LATEST):
        return _configured(listing, configured)
    return None if listing.newest is None else found(listing, listing.newest)


def found(listing: Listing, uuid: str) -> Manifest:
    """Return a checkpoint that nobody has chosen; raises CheckpointError with what can be done."""
    try:
        return listing.find(uuid)
    except CheckpointError as error:
        raise explained(error, listing, uuid) from error


def explained(error: CheckpointError, listing: Listing, damaged: str) -> CheckpointError:
    """Add to the error of a damaged checkpoint what can be done."""
    others = [each.uuid for each in listing.manifests if each.uuid != damaged]
    advice = "there is no other; `checkpoint=none` starts the pipeline empty"
    if others:
        advice = f"`checkpoint={others[0]}` starts from another one, without what came since"
    return CheckpointError(f"{error}; {advice}")


def _configured(listing: Listing, uuid: str) -> Manifest:
    """Return the very checkpoint that `sync` names; whoever names one never means to begin with nothing."""
    try:
        return listing.find(uuid)
    except CheckpointError as error:
        raise CheckpointError(f"{error}, which sync.start_from_checkpoint asks for") from error


def _wanted_of_sync(deployment: Deployment) -> str | None:
    wanted: str | None = (given(deployment.config.runtime_config) or {}).get("start_from_checkpoint")
    return wanted


def _inner(outer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = outer.get(key)
    return found if isinstance(found, Mapping) else {}

"""Fetching: what is brought here from a bucket before a start chooses what it begins from (contract §9.5).

A start that asks for a checkpoint (`sync.start_from_checkpoint`) takes the one that is here; if there is none
it pulls, first from `bucket`, then from `read_bucket`. A standby pulls until it is activated. A deployment
that goes on with its own database or with one that was left, and one that was told what to begin with, pull
nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sluicegate.engine import ahead, inheritance, origin
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.remote.asked import LATEST, given
from sluicegate.engine.situation import Situation
from sluicegate.engine.storage import Storage

MARKER = "activated.feldera"
"""In the storage of a standby that was activated."""


class Fetching:
    """See `opening`: its first seam."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def fetch(self, situation: Situation) -> None:
        """Bring what is needed; returns at once where nothing is."""
        asked = given(situation.deployment.config.runtime_config)
        if situation.storage is not None:
            await asyncio.to_thread(ahead.clear, situation.storage.path)
        if situation.desired == "Standby" or await asyncio.to_thread(_takes_over, situation):
            await self._stand_by(situation, asked)
        elif asked is not None and asked.get("start_from_checkpoint") and not situation.deployment.checkpoint:
            await self._pull(situation, str(asked["start_from_checkpoint"]))

    async def _stand_by(self, situation: Situation, asked: Mapping[str, Any] | None) -> None:
        from sluicegate.engine import standby
        from sluicegate.engine.remote.exchange import Exchange

        refusal = standby.refused(situation, asked)
        if refusal is not None or situation.storage is None:
            raise refusal or RuntimeError("a standby without storage is refused")
        if (situation.storage.path / MARKER).exists():
            situation.announce("was activated before, and is therefore paused instead of standing by:")
            situation.wish("Paused")
            return
        situation.stands_by = True
        situation.remember()
        await standby.Standby(situation, situation.storage, Exchange(situation, self._metrics)).run()

    async def _pull(self, situation: Situation, wanted: str) -> None:
        if await asyncio.to_thread(_is_here, situation, wanted):
            return
        from sluicegate.engine.remote.exchange import Exchange
        from sluicegate.engine.remote.failures import RemoteError

        situation.details = {"reason": "downloading a checkpoint"}
        exchange = Exchange(situation, self._metrics)
        found = await exchange.pull(wanted)
        situation.details = {}
        if found is None and exchange.config.fail_if_no_checkpoint:
            raise RemoteError(f"there is no checkpoint to start from: no bucket has '{wanted}'")
        await asyncio.to_thread(situation.list_checkpoints)


def _is_here(situation: Situation, wanted: str) -> bool:
    """Tell whether nothing has to be brought."""
    storage = situation.storage
    if storage is None or _has_database(situation, storage):
        return True
    if origin.takes_over(situation.deployment) and inheritance.is_left(situation, storage):
        return True
    listing = storage.store.listing()
    known = {*listing.damaged, *(each.uuid for each in listing.manifests)}
    return bool(known) if wanted == LATEST else wanted in known


def _takes_over(situation: Situation) -> bool:
    """Tell whether this deployment was activated in a process that ended before it had taken over.

    A restart begins as what the process was told last, so the command line does not say that it stood by.
    """
    storage, wished = situation.storage, situation.desired in ("Running", "Paused")
    if not situation.stands_by or storage is None or not wished:
        return False
    return not (storage.path / MARKER).exists() and not _has_database(situation, storage)


def _has_database(situation: Situation, storage: Storage) -> bool:
    """Tell whether this deployment goes on with its own, which is not one whose opening was cut short."""
    return situation.settled and storage.live(situation.live_of).exists()

"""Retention in a bucket: old checkpoints go, and the segments that none of the others needs.

A checkpoint goes if it is older than `retention_min_age` and so many newer ones are there as
`retention_min_count`; never the newest. Manifests go first, so that none ever names a segment that is gone.
Segments that no manifest names may be those of a push that was cut short, or that is under way elsewhere and
will be refused in the end; they go when they are a day old.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from sluicegate import faults
from sluicegate.engine.checkpoints.manifest import Damaged, Manifest
from sluicegate.engine.remote import layout
from sluicegate.engine.remote.bucket import Bucket, Listed
from sluicegate.engine.remote.config import SyncConfig
from sluicegate.engine.remote.failures import Missing
from sluicegate.engine.remote.parallel import each

FORLORN = timedelta(days=1)
"""How old a segment is that nobody is going to name any more."""


class Retention:
    """What a pipeline keeps in its bucket."""

    def __init__(self, config: SyncConfig) -> None:
        self._count = config.retention_min_count
        self._age = config.retention_min_age
        self._at_once = config.transfers
        self._needs: dict[str, frozenset[str]] = {}
        """The segments of the checkpoints that are there: a manifest never changes, so it is read once."""

    async def apply(self, bucket: Bucket, newest: str, now: datetime) -> None:
        """Remove what is not to be kept, after a push."""
        listed = await bucket.list(layout.CHECKPOINTS)
        there = {uuid: listed[uuid + layout.ENDING] for uuid in layout.uuids(listed)}
        old = self._old(there, newest, now)
        if not old:
            return  # to look for segments of nobody takes reading all manifests
        segments = await bucket.list(layout.SEGMENTS)
        await self._learn(bucket, there)
        await bucket.delete([layout.manifest(uuid) for uuid in old])
        faults.reach(faults.PUSH_MANIFESTS_REMOVED)
        freed = {name for uuid in old for name in self._needs.pop(uuid, ())}
        if there.keys() - set(old) != self._needs.keys():
            return  # one is damaged: what it needs cannot be known
        needed = {name for needs in self._needs.values() for name in needs}
        forlorn = {name for name, each in segments.items() if now - each.modified > FORLORN}
        gone = ((forlorn | freed) - needed) & segments.keys()
        await bucket.delete([layout.segment(name) for name in gone])

    def _old(self, there: dict[str, Listed], newest: str, now: datetime) -> list[str]:
        by_age = sorted(there, reverse=True)
        return [
            uuid
            for uuid in by_age[max(self._count, 1) :]
            if uuid != newest and now - there[uuid].modified > self._age
        ]

    async def _learn(self, bucket: Bucket, there: dict[str, Listed]) -> None:
        """Know what each checkpoint needs, unless it is damaged."""
        self._needs = {uuid: needs for uuid, needs in self._needs.items() if uuid in there}

        async def read(uuid: str) -> None:
            with suppress(Damaged, Missing):
                found = await bucket.read(layout.manifest(uuid))
                self._needs[uuid] = frozenset(Manifest.from_text(found.data).segments)

        await each(read, there.keys() - self._needs.keys(), at_once=self._at_once)

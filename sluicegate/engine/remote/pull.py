"""Pulling: a checkpoint of a bucket onto this machine, which costs what is not here yet.

    which one: asked for, or the newest ─► segments that are missing ─► manifest ─► older ones go

A pull that is cut short leaves no half of anything: a segment is verified before it gets its name, and the
manifest comes last. The next pull goes on from the segments that have arrived.
"""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from sluicegate import faults
from sluicegate.engine.checkpoints import manifest as manifests
from sluicegate.engine.checkpoints.manifest import BLOCK, Manifest
from sluicegate.engine.checkpoints.store import Store
from sluicegate.engine.remote import layout, owner
from sluicegate.engine.remote.asked import LATEST
from sluicegate.engine.remote.bucket import Bucket, Buckets
from sluicegate.engine.remote.failures import Damaged, Missing, RemoteError
from sluicegate.engine.remote.parallel import each

Heard = Callable[[int], None]


@dataclass(frozen=True)
class Pulled:
    """A checkpoint that is here now."""

    manifest: Manifest
    place: str
    """The bucket that it came from."""
    owner: str | None
    """The pipeline that the bucket belongs to."""


class Puller:
    """Pulls checkpoints into one folder."""

    def __init__(self, store: Store, transfers: int) -> None:
        self._store = store
        self._transfers = transfers

    async def pull(
        self, buckets: Buckets, wanted: str, received: Heard, *, following: bool = False
    ) -> Pulled | None:
        """Bring a checkpoint here from the first bucket that has it; None where none has one.

        Who is `following` reads the other's bucket first: what its own has may be of an earlier life of this
        pipeline, from before a failover. `received` hears of bytes as they are here. Raises RemoteError.
        """
        own_first = (buckets.own, buckets.seed)
        for bucket in reversed(own_first) if following else own_first:
            found = None if bucket is None else await self._from(bucket, wanted, received)
            if found is not None:
                return found
        return None

    async def _from(self, bucket: Bucket, wanted: str, received: Heard) -> Pulled | None:
        held = await owner.read(bucket)
        uuid = await self._newest(bucket, held) if wanted == LATEST else wanted
        if uuid is None:
            return None
        pipeline = None if held is None else held.owner.pipeline
        here = await asyncio.to_thread(self._here, uuid)
        if here is not None:
            return Pulled(here, str(bucket.place), pipeline)
        try:
            found = await bucket.read(layout.manifest(uuid))
        except Missing:
            if wanted != LATEST:
                return None
            raise
        manifest = self._read(bucket, uuid, found.data)
        try:
            with self._store.held():
                await self._bring(bucket, manifest, found.data, received)
        except OSError as error:
            raise RemoteError(
                f"checkpoint {uuid} of bucket '{bucket.place}' cannot be written to {self._store.folder}: "
                f"{error.strerror}"
            ) from error
        await asyncio.to_thread(self._store.retain, also=uuid)
        return Pulled(manifest, str(bucket.place), pipeline)

    async def _newest(self, bucket: Bucket, held: owner.Held | None) -> str | None:
        if held is not None and held.owner.newest is not None:
            return held.owner.newest
        # Nothing was ever pushed to its end, or the checkpoints were copied here by hand.
        names = await bucket.list(layout.CHECKPOINTS)
        return max(layout.uuids(names), default=None)

    def _read(self, bucket: Bucket, uuid: str, text: bytes) -> Manifest:
        try:
            manifest = Manifest.from_text(text)
        except manifests.Damaged as error:
            raise Damaged(f"bucket '{bucket.place}': checkpoint {uuid} is damaged: {error}") from error
        if manifest.uuid != uuid:
            raise Damaged(f"bucket '{bucket.place}': checkpoint {uuid} is the manifest of {manifest.uuid}")
        return manifest

    async def _bring(self, bucket: Bucket, manifest: Manifest, text: bytes, received: Heard) -> None:
        """Have a checkpoint here."""
        missing = await asyncio.to_thread(self._store.lacking, manifest)
        await asyncio.to_thread(self._check_room, bucket, manifest, missing)

        async def fetch(name: str) -> None:
            received(await self._fetch(bucket, name))

        await each(fetch, missing, at_once=self._transfers)
        faults.reach(faults.PULL_SEGMENTS_HERE)
        try:
            await asyncio.to_thread(self._store.put, text)
        except manifests.Damaged as error:
            raise Damaged(f"bucket '{bucket.place}': {error}") from error
        received(len(text))
        faults.reach(faults.PULL_MANIFEST_HERE)

    def _here(self, uuid: str) -> Manifest | None:
        """Return a checkpoint that is here and lacks nothing."""
        try:
            here = Manifest.from_text(self._store.text(uuid))
        except (FileNotFoundError, manifests.Damaged):
            return None
        return None if self._store.lacking(here) else here

    async def _fetch(self, bucket: Bucket, name: str) -> int:
        segments = self._store.segments
        part = segments.part(name)
        try:
            size = await bucket.download(layout.segment(name), part)
            await asyncio.to_thread(segments.adopt, part, name)
        except Missing as error:
            raise Damaged(f"bucket '{bucket.place}': segment {name} is missing") from error
        except manifests.Damaged as error:
            raise Damaged(f"bucket '{bucket.place}': {error}") from error
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        faults.reach(faults.PULL_SEGMENT_HERE)
        return size

    def _check_room(self, bucket: Bucket, manifest: Manifest, missing: list[str]) -> None:
        """Raise where the disk is too small, before it is full."""
        needed = BLOCK * sum(1 for place in manifest.blocks if place.segment in set(missing))
        free = shutil.disk_usage(self._store.folder).free
        if needed > free:
            raise RemoteError(
                f"checkpoint {manifest.uuid} of bucket '{bucket.place}' needs {needed} bytes in "
                f"{self._store.folder}, where {free} are free"
            )

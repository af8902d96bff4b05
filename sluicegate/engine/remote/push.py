"""Pushing: a checkpoint of this machine into a bucket, which costs what the bucket does not have yet.

    claim the bucket ─► segments that are missing ─► manifest ─► commit: it is the newest ─► retention

Whatever cuts a push short, what the bucket had stays whole: segments that no manifest names are in nobody's
way, and a manifest counts once its segments are all there. The next push goes on from what has arrived. What
goes wrong after the commit is told, and tried again after the next push: the checkpoint is there.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sluicegate import faults
from sluicegate.engine.checkpoints.manifest import Damaged, Manifest
from sluicegate.engine.checkpoints.store import Store
from sluicegate.engine.remote import layout, owner
from sluicegate.engine.remote.bucket import Bucket, Listed
from sluicegate.engine.remote.config import SyncConfig
from sluicegate.engine.remote.failures import Refused, RemoteError
from sluicegate.engine.remote.owner import Owner
from sluicegate.engine.remote.parallel import each
from sluicegate.engine.remote.retention import Retention


class Pusher:
    """Pushes the checkpoints of one deployment."""

    def __init__(self, me: Owner, store: Store, config: SyncConfig, announce: Callable[[str], None]) -> None:
        """`announce` says in the log what did not work and fails no push."""
        self._announce = announce
        self._me = me
        self._store = store
        self._transfers = config.transfers
        self._retention = Retention(config)

    async def push(self, bucket: Bucket, uuid: str, sent: Callable[[int], None]) -> None:
        """Push a checkpoint; `sent` hears of bytes as they are there. Raises RemoteError."""
        with self._store.held():
            text, manifest = await asyncio.to_thread(self._manifest, uuid)
            held = await owner.claim(bucket, self._me)
            faults.reach(faults.PUSH_CLAIMED)
            there = await bucket.list(layout.SEGMENTS)
            missing = await asyncio.to_thread(self._missing, manifest, there)

            async def send(path: Path) -> None:
                await self._send(bucket, path)
                sent(path.stat().st_size)

            await each(send, missing, at_once=self._transfers)
            faults.reach(faults.PUSH_SEGMENTS_SENT)
        anew = f"{uuid}{layout.ENDING}" not in await bucket.list(layout.CHECKPOINTS)
        await bucket.replace(layout.manifest(uuid), text)
        faults.reach(faults.PUSH_MANIFEST_SENT)
        sent(len(text))
        try:
            await owner.commit(bucket, held, uuid)
        except Refused:
            if anew:
                await bucket.delete([layout.manifest(uuid)])
            raise
        faults.reach(faults.PUSH_COMMITTED)
        try:
            await self._retention.apply(bucket, uuid, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - whatever it is, the checkpoint is there
            self._announce(f"could not remove old checkpoints from bucket '{bucket.place}' ({error})")

    def _manifest(self, uuid: str) -> tuple[bytes, Manifest]:
        try:
            text = self._store.text(uuid)
            return text, Manifest.from_text(text)
        except FileNotFoundError:
            raise RemoteError(
                f"checkpoint {uuid} cannot be pushed: it is gone, or of an earlier release; make another one"
            ) from None
        except Damaged as error:
            raise RemoteError(f"checkpoint {uuid} cannot be pushed: {error}") from error

    def _missing(self, manifest: Manifest, there: dict[str, Listed]) -> list[Path]:
        missing = []
        for name in manifest.segments:
            path = self._store.segments.path(name)
            listed = there.get(name)
            with suppress(FileNotFoundError):  # then it has to be there, or sending it says so
                if listed is not None and listed.size == path.stat().st_size:
                    continue
            missing.append(path)
        return missing

    async def _send(self, bucket: Bucket, path: Path) -> None:
        try:  # what is broken here must not get there under its good name
            await asyncio.to_thread(self._store.segments.verify, path.name)
        except Damaged as error:
            raise RemoteError(f"{path} cannot be pushed: {error}") from error
        await bucket.upload(layout.segment(path.name), path)

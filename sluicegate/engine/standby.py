"""A standby: pulls the newest checkpoint again and again until it is activated, then makes it the state.

    pull ─► put together ahead ─► wait for `pull_interval` or the activation ─┐
      ▲                                                                       │ not activated
      └───────────────────────────────────────────────────────────────────────┤
                                                          activated: final pull ─► marker ─► open

It reads `read_bucket` first: its own bucket may still have what it pushed before it was the standby. A pull
that fails is told and tried again; the final one has to succeed, or the start fails: a standby that
silently began from an older state would lose what the primary has pushed since. The activation ends a wait
at once. The marker says that this storage is nobody's standby any more: what the old primary may push later
is never pulled into it.
"""

import asyncio
import importlib
import json
import os
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sluicegate import faults
from sluicegate.engine.ahead import Ahead, heal
from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import CheckpointError
from sluicegate.engine.errors import EngineError
from sluicegate.engine.fetching import MARKER
from sluicegate.engine.plan import Plan
from sluicegate.engine.remote.asked import LATEST
from sluicegate.engine.remote.failures import RemoteError
from sluicegate.engine.situation import Situation
from sluicegate.engine.storage import Storage

if TYPE_CHECKING:
    from sluicegate.engine.remote.exchange import Exchange
    from sluicegate.engine.remote.pull import Pulled

T = TypeVar("T")


class Standby:
    """One deployment that stands by."""

    def __init__(self, situation: Situation, storage: Storage, exchange: "Exchange") -> None:
        self._situation = situation
        self._storage = storage
        self._exchange = exchange
        self._wanted = exchange.config.start_from_checkpoint or LATEST
        self._ahead = Ahead(storage.path, storage.store)
        self._assembling: asyncio.Task[None] | None = None
        self._said: str | None = None

    async def run(self) -> None:
        """Return once the pipeline is activated and has the newest checkpoint; raises where it cannot."""
        situation = self._situation
        try:
            if situation.desired == "Standby":
                situation.status = "Standby"
                await asyncio.to_thread(_get_ready, situation.plan)
            while situation.desired == "Standby":
                await self._pull()
                await self._wait(self._exchange.config.pull_interval)
            situation.status = "Initializing"
            situation.details = {"reason": "pulling the newest checkpoint before it takes over"}
            faults.reach(faults.ACTIVATE_WISHED)
            await self._pull_last()
        finally:
            await self._assembled()

    async def _pull(self) -> None:
        try:
            found = await self._unless_ending(self._exchange.pull(self._wanted, following=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and tried again
            self._situation.check_going_on()
            self._tell(f"the last pull failed: {error}")
            return
        if found is None:
            self._tell("there is no checkpoint to pull yet")
            return
        self._tell(_described(found, self._situation.deployment.config.name, self._exchange))
        await asyncio.to_thread(self._situation.list_checkpoints)
        if self._assembling is None and self._ahead.uuid != found.manifest.uuid:
            self._assembling = asyncio.create_task(self._assemble(found.manifest))

    async def _assemble(self, manifest: Manifest) -> None:
        try:
            await asyncio.to_thread(self._ahead.follow, manifest)
        except (CheckpointError, OSError) as error:
            self._tell(f"checkpoint {manifest.uuid} cannot be put together: {error}")
            await asyncio.to_thread(heal, self._storage.store, manifest)
        else:
            faults.reach(faults.STANDBY_AHEAD)
            self._situation.announce(f"the database of {manifest.uuid} is put together for")
        finally:
            self._assembling = None

    async def _assembled(self) -> None:
        """Wait until nothing is being put together: a thread cannot be told to end."""
        if self._assembling is not None:
            await asyncio.wait([self._assembling])

    async def _pull_last(self) -> None:
        situation = self._situation
        try:
            found = await self._unless_ending(self._exchange.pull(self._wanted, following=True))
        except RemoteError as error:
            raise RemoteError(
                f"the standby cannot take over, since its final pull failed: {error.message}"
            ) from error
        faults.reach(faults.ACTIVATE_PULLED)
        if found is not None:
            await self._assembled()
            if self._ahead.uuid != found.manifest.uuid:
                await self._put_together(found.manifest)
            situation.ahead = (found.manifest.uuid, self._ahead.path)
        elif self._wanted != LATEST:
            raise RemoteError(f"the standby cannot take over: no bucket has checkpoint {self._wanted}")
        elif self._exchange.config.fail_if_no_checkpoint and not situation.checkpoints:
            raise RemoteError("the standby cannot take over: there is no checkpoint to begin from")
        await asyncio.to_thread(self._mark, found)
        situation.stands_by = False  # kept on the disk with what the opening writes next
        faults.reach(faults.ACTIVATE_MARKED)
        await asyncio.to_thread(situation.list_checkpoints)

    async def _put_together(self, manifest: Manifest) -> None:
        try:
            await asyncio.to_thread(self._ahead.follow, manifest)
        except CheckpointError:  # a block here is not what was pulled: it is brought once more
            await asyncio.to_thread(heal, self._storage.store, manifest)
            await self._unless_ending(self._exchange.pull(manifest.uuid, following=True))
            await asyncio.to_thread(self._ahead.follow, manifest)

    def _mark(self, found: "Pulled | None") -> None:
        marker = self._storage.path / MARKER
        try:
            _write(marker, None if found is None else found.manifest.describe())
        except OSError as error:
            if self._exchange.config.fail_if_no_checkpoint:
                raise RemoteError(f"{marker} cannot be written: {error.strerror}") from error
            self._situation.announce(f"could not write {marker} ({error.strerror})")

    async def _wait(self, seconds: float) -> None:
        """Wait until it is activated, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._situation.desired == "Standby":
                    await self._situation.moved()

    async def _unless_ending(self, work: Awaitable[T]) -> T:
        """Return what comes of work; raises where the process is about to end before that."""
        doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._end())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                ending.result()
            return doing.result()
        finally:
            for task in (doing, ending):
                task.cancel()
            await asyncio.gather(doing, ending, return_exceptions=True)

    async def _end(self) -> None:
        while True:
            await self._situation.moved()

    def _tell(self, reason: str) -> None:
        """Have `/status` say how it goes, and the log once."""
        if self._situation.desired == "Standby":
            self._situation.details = {"reason": reason}
        if reason != self._said:
            self._said = reason
            self._situation.announce(f"stands by ({reason}) as")


def _get_ready(plan: Plan) -> None:
    """Load what opening a database takes, and open one, as processes of the warm pool do."""
    importlib.import_module("sluicegate.engine.preload")
    if plan.input_connectors or plan.output_connectors:
        importlib.import_module("sluicegate.engine.connecting.all")


def _described(found: "Pulled", pipeline: str, exchange: "Exchange") -> str:
    text = f"it holds checkpoint {found.manifest.uuid} of bucket '{found.place}'"
    shared = found.place == str(exchange.config.bucket)
    if shared and found.owner not in (None, pipeline):
        text += f", which belongs to {found.owner}: this pipeline will not be able to push there"
    return text


def _write(marker: Path, content: Any) -> None:
    fresh = marker.with_suffix(".new")
    with fresh.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(marker)


def refused(situation: Situation, asked: Any) -> EngineError | None:
    """Return why a pipeline cannot stand by, None where it can (contract §9.5)."""
    storage = situation.deployment.config.runtime_config.get("storage")
    reason = None
    if situation.storage is None or not storage:
        reason = "it has no storage"
    elif (storage.get("backend") or {}).get("name") != "file":
        reason = "its storage must have the backend 'file'"
    elif asked is None:
        reason = "its storage has no `sync`"
    elif asked.get("start_from_checkpoint") is None:
        reason = "`sync.start_from_checkpoint` must say which checkpoint to pull, 'latest' as a rule"
    if reason is None:
        return None
    return EngineError(500, "InvalidStandby", f"the pipeline cannot stand by: {reason}", {"error": reason})

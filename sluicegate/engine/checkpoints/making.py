"""Making checkpoints while the pipeline runs, one at a time, and telling what became of them.

    asked for ──► possible ──► between steps: outputs have written all,  ──► in the background: ──► whole
       ▲             │         DuckDB folds its log, the head is read        blocks are read
       │          delayed: a transaction is open, say, or somebody reads a snapshot
    by a request, or by the interval of fault tolerance once a step has been taken

Whoever asks gets a number; a checkpoint serves all who asked before it began. The last one is that of a
suspend (`last`): nothing runs beside it, and it is whole before the pipeline is said to be suspended.

DuckDB does not fold its log while anybody reads what was there before an update, and each step updates its
number. So queries and snapshots delay a checkpoint; after `PATIENCE` they are told to end.

While blocks are read nobody else may fold the log, or DuckDB would write over what is read: the writer keeps
from it, and compaction waits.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sluicegate import faults
from sluicegate.engine.checkpoints.manifest import Manifest, draft
from sluicegate.engine.checkpoints.store import Snapshot, Store
from sluicegate.engine.errors import EngineError
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.situation import Situation
from sluicegate.engine.steps import Steps

if TYPE_CHECKING:
    from sluicegate.engine.database import Database
    from sluicegate.engine.writer import Writer

T = TypeVar("T")

AGAIN = 0.25
"""Seconds until a checkpoint that is delayed is tried again, if nothing happens before."""

PATIENCE = 30.0
"""Seconds for which queries and snapshots may delay a checkpoint: most end by themselves before that."""
PARTING = 2.0
"""Seconds that steps are held up while they end, so that no step comes between; it is far less mostly."""
SOON = 0.02
"""Seconds after which it is looked whether they have ended."""
SNAPSHOT = "SnapshotInProgress"
"""The reason of such a delay."""


class NoStorage(Exception):
    """There is nowhere to keep a checkpoint."""

    def __init__(self) -> None:
        super().__init__("the pipeline has no storage to keep a checkpoint in")


_Frozen = tuple["Writer", Snapshot, Manifest]


class _Ended(Exception):
    """The process makes no more checkpoints."""


class Checkpoints:
    """The checkpoints that one process makes."""

    def __init__(
        self, situation: Situation, steps: Steps, metrics: Metrics, check: Callable[[], None]
    ) -> None:
        """Make them between the steps of a pipeline; `check` raises where it is not ready."""
        self._situation = situation
        self._steps = steps
        self._metrics = metrics
        self._check = check
        self._asked = self._served = -1
        self._made: int | None = None
        self._failure: dict[str, Any] | None = None
        self._working: asyncio.Task[None] | None = None
        self._periodic: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._reasons: tuple[list[Any], str] | None = None
        """Why the checkpoint that was asked for is delayed, and since when."""
        self._began: str | None = None
        self._hindered: float | None = None
        """Since when somebody who reads a snapshot delays it, on the clock of the loop."""
        self._steps_kept = 0
        self._going_on = True
        self._patience = _patience(situation.deployment.config.runtime_config)
        self.prepared: Callable[[], Awaitable[dict[str, Any] | None]] = _nothing_to_prepare
        """Has outputs write all that they were told, and returns the states of connectors; None where one has
        not written all in time."""
        self.make_way: Callable[[], None] = lambda: None
        """Tells all who read a snapshot to end."""

    @property
    def permanent(self) -> list[Any] | None:
        """Return why no checkpoint can ever be made, None where one can."""
        # All transports here give offsets that are kept with the rows, so only storage can be lacking.
        return ["StorageRequired"] if self._situation.store is None else None

    @property
    def temporary(self) -> list[Any]:
        """Return why none can be made at the moment."""
        open_ = ["TransactionInProgress"] if self._metrics.transaction.is_open else []
        return [*open_, *sorted(self._situation.delays)]

    def activity(self) -> dict[str, Any] | None:
        """Return what `/stats` tells (contract §5.6)."""
        if self.permanent:
            return None
        if self._began is not None:
            return {"status": "in_progress", "started_at": self._began}
        if self._reasons is not None:
            reasons, since = self._reasons
            return {"status": "delayed", "reasons": reasons, "delayed_since": since}
        return {"status": "idle"}

    def status(self) -> dict[str, Any]:
        """Return the answer of `GET /checkpoint_status` (contract §2.8)."""
        return {"success": self._made, "failure": self._failure}

    def begin(self) -> None:
        """Make one now and then, where that is configured."""
        seconds = _interval(self._situation.deployment.config.runtime_config)
        if self._situation.checkpoints:
            self._steps_kept = self._situation.checkpoints[0].steps
        if seconds is not None and not self.permanent:
            self._periodic = asyncio.create_task(self._make_every(seconds))

    def ask(self) -> int:
        """Have a checkpoint made; returns its number."""
        self._asked += 1
        if self._working is None:
            self._working = asyncio.create_task(self._serve())
        return self._asked

    async def alone(self, work: "Callable[[Writer], T]") -> T:
        """Do work of the writer that changes the file, between steps and while no checkpoint reads it."""
        async with self._reading:
            return await self._steps.alone(work)

    async def end(self) -> None:
        """Make no more, and leave nothing of one that is not whole; the database may be closed afterwards."""
        self._going_on = False
        self._situation.signal()
        if self._periodic is not None:
            self._periodic.cancel()
        if self._working is not None:
            await asyncio.wait([self._working])  # it sees to it soon: a thread cannot be told otherwise

    async def last(self, database: "Database", states: dict[str, Any]) -> None:
        """Make that of a suspend, in which the database is closed; after `end`, within `still`."""
        number = self._asked
        try:
            await asyncio.to_thread(self._make_last, database, states)
        except Exception as error:
            self._fail(number, error)
            raise
        if number >= 0:
            self._made = number

    def _make_last(self, database: "Database", states: dict[str, Any]) -> None:
        situation = self._situation
        storage, store = situation.storage, situation.store
        if storage is None or store is None:
            raise NoStorage
        database.writer.keep_states(states)
        faults.reach(faults.SUSPEND_DRAINED)
        made = self._draft(database.writer)
        database.fold_and_close()
        faults.reach(faults.SUSPEND_FOLDED)
        live = storage.live(situation.live_of)
        store.save(store.begin(live), made)
        faults.reach(faults.SUSPEND_WHOLE)
        self._tidy(store)
        storage.drop_live(situation.live_of)
        faults.reach(faults.SUSPEND_DROPPED)

    async def _make_every(self, seconds: int) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self._metrics.steps != self._steps_kept:
                self.ask()
                await self._served_all()

    async def _served_all(self) -> None:
        if self._working is not None:
            await asyncio.wait([self._working])

    async def _serve(self) -> None:
        try:
            while self._served < self._asked:
                number = self._asked
                try:
                    await self._make()
                except _Ended:
                    return
                except Exception as error:  # noqa: BLE001 - whatever it is, the status must tell it
                    self._fail(number, error)
                else:
                    self._made = number
                self._served = number
        finally:
            self._working = None

    def _fail(self, number: int, error: Exception) -> None:
        self._failure = {
            "sequence_number": max(number, 0),
            "error": str(error) or type(error).__name__,
            "failed_at": datetime.now(UTC).isoformat(),
        }
        self._situation.announce(f"could not make checkpoint {max(number, 0)} of this process ({error})")

    async def _make(self) -> None:
        """Make one as soon as that is possible."""
        store = self._situation.store
        if store is None:
            raise NoStorage
        try:
            while self._going_on:
                async with self._reading:
                    frozen = await self._frozen()
                    if frozen is not None:
                        await self._save_in_background(store, *frozen)
                        return
                with suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN):
                        await self._situation.moved()
        finally:
            self._reasons = self._hindered = None
        raise _Ended

    async def _frozen(self) -> "_Frozen | None":
        """Return a checkpoint as it is to be, and a file that stays as it is; None where it is delayed."""
        async with self._steps.still():
            self._check()
            reasons = self.temporary
            states = None if reasons else await self.prepared()
            if states is not None:
                frozen = await self._freeze_at_last(partial(self._freeze, states))
                if frozen is not None:
                    return frozen
                reasons = [SNAPSHOT]
        self._delay(reasons or ["OutputEndpointBarrier"])
        return None

    async def _freeze_at_last(self, freeze: "Callable[[Writer], _Frozen | None]") -> "_Frozen | None":
        """Freeze, or else begin to wait for those who read a snapshot, or have them end; within `still`."""
        frozen = await self._steps.within(freeze)
        now = asyncio.get_running_loop().time
        if frozen is not None:
            return frozen
        if self._hindered is None:
            self._hindered = now()
        if now() - self._hindered < self._patience:
            return None
        self._situation.announce("ending the queries and snapshots that a checkpoint has waited for")
        self.make_way()
        until = now() + PARTING
        while frozen is None and self._going_on and now() < until:
            await asyncio.sleep(SOON)
            frozen = await self._steps.within(freeze)
        self._hindered = now()
        return frozen

    async def _save_in_background(
        self, store: Store, writer: "Writer", snapshot: Snapshot, made: Manifest
    ) -> None:
        self._reasons, self._began = None, datetime.now(UTC).isoformat()
        try:
            await asyncio.to_thread(self._save, store, snapshot, made)
        finally:
            writer.keeps_file = False
            self._began = None

    def _delay(self, reasons: list[Any]) -> None:
        if self._reasons is None or self._reasons[0] != reasons:
            self._reasons = reasons, datetime.now(UTC).isoformat()

    def _freeze(self, states: dict[str, Any], writer: "Writer") -> "_Frozen | None":
        situation = self._situation
        if situation.storage is None:
            raise NoStorage
        if states != writer.states():
            writer.keep_states(states)
        faults.reach(faults.CHECKPOINT_BEGUN)
        if not writer.try_to_fold():
            return None
        faults.reach(faults.CHECKPOINT_FOLDED)
        snapshot = situation.storage.store.begin(situation.storage.live(situation.live_of))
        writer.keeps_file = True
        return writer, snapshot, self._draft(writer)

    def _draft(self, writer: "Writer") -> Manifest:
        steps, records = writer.progress()
        return draft(self._situation.deployment.config.name, self._situation.served(), steps, records)

    def _save(self, store: Store, snapshot: Snapshot, made: Manifest) -> None:
        if store.save(snapshot, made, lambda: self._going_on) is None:
            raise _Ended
        self._steps_kept = made.steps
        faults.reach(faults.CHECKPOINT_WHOLE)
        self._tidy(store)

    def _tidy(self, store: Store) -> None:
        try:
            store.retain()
        except OSError as error:  # the checkpoint is whole all the same
            self._situation.announce(f"could not remove old checkpoints ({error})")
        self._situation.list_checkpoints()


def check_incarnation(asked: str | None, current: uuid.UUID) -> None:
    """Refuse a question about another process than this."""
    if asked is not None and asked.lower() != str(current):
        message = f"This is incarnation {current} of the pipeline, not {asked}"
        details = {"requested": asked, "expected": str(current)}
        raise EngineError(400, "IncarnationUuidMismatch", message, details)


async def _nothing_to_prepare() -> dict[str, Any] | None:
    return {}


def _patience(runtime_config: Mapping[str, Any]) -> float:
    tweaks = runtime_config.get("dev_tweaks") or {}
    return float(tweaks.get("checkpoint_patience_secs", PATIENCE))


def _interval(runtime_config: Mapping[str, Any]) -> int | None:
    """Return how many seconds are between checkpoints, None where they are made only when asked for."""
    tolerance = runtime_config.get("fault_tolerance") or {}
    if (tolerance.get("model") or "none") == "none":
        return None
    seconds = tolerance.get("checkpoint_interval_secs", 60)
    return None if seconds is None else max(1, int(seconds))

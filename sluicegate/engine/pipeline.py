"""The pipeline inside the process: its phase, what is desired of it, and how one follows from the other.

    Starting ──► Ready ──► Suspended
        │          │
        └──────────┴─────► Failed        (answers /status with the error until the process is killed)

Pausing and resuming change only what is desired of a ready pipeline; its status is that at once.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from sluicegate.engine import errors, origin
from sluicegate.engine.bodies import Bodies
from sluicegate.engine.bootstrap import deciding
from sluicegate.engine.checkpoints.making import Checkpoints
from sluicegate.engine.checkpoints.store import CheckpointError
from sluicegate.engine.clock import Clock
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.errors import EngineError
from sluicegate.engine.fetching import Fetching
from sluicegate.engine.limits import Limits
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.observing.memory import Pressure
from sluicegate.engine.observing.sampling import Sampling
from sluicegate.engine.observing.series import Series
from sluicegate.engine.observing.stats import Account
from sluicegate.engine.opening import Opening
from sluicegate.engine.plan import Plan
from sluicegate.engine.remote.synchronizer import Synchronizer
from sluicegate.engine.situation import NO_BACKFILL, Situation
from sluicegate.engine.steps import Steps
from sluicegate.engine.storage import Storage, StorageError
from sluicegate.engine.streams import Streams
from sluicegate.engine.transactions import Transactions
from sluicegate.engine.workers import Workers
from sluicegate.protocol import RuntimeState

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from sluicegate.engine.bootstrap.concurrent import Backfill, Transition
    from sluicegate.engine.connecting.all import Connectors
    from sluicegate.engine.database import Database


class Phase(Enum):
    """How far the process is."""

    STARTING = "starting"
    READY = "ready"
    SUSPENDED = "suspended"
    FAILED = "failed"
    TERMINATING = "terminating"


class Interruptible(Protocol):
    """A query that can be told to stop."""

    def interrupt(self, reason: str = ...) -> None:
        """Stop, and say why."""


class Pipeline:
    """One deployment: opens the database, steers it and lets it go."""

    def __init__(self, deployment: Deployment, announce: Callable[[str], None]) -> None:
        self.deployment = deployment
        self.phase = Phase.STARTING
        self.clock = Clock(deployment.config.runtime_config)
        self.situation = Situation(
            deployment,
            self.clock,
            deployment.initial.capitalize(),
            announce,
            live_of=deployment.deployment_id,
        )
        self.metrics = Metrics(uuid.uuid4())
        self.queries: set[Interruptible] = set()
        self.streams = Streams()
        self.limits = Limits.of(deployment.config.runtime_config)
        self.bodies = Bodies()
        self.workers = Workers(self.limits.at_once)
        self.situation.heeding.append(self._look)
        self.steps = Steps(self.metrics, self.check_ready, self._panic, self._made_room)
        self.transactions = Transactions(self.steps, self.metrics, self.situation.signal)
        self.announce = announce
        self._database: Database | None = None
        self.failure: EngineError | None = None
        self._begun = False
        self._suspending: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._backfill: Backfill | None = None
        self._backfilling: asyncio.Task[None] | None = None
        self.pressure = Pressure(deployment.config.runtime_config)
        self.series = Series(lambda: self.metrics.records, self._bytes_stored, self.pressure)
        self.checkpoints = Checkpoints(self.situation, self.steps, self.metrics, self.check_ready)
        self.synchronizer = Synchronizer(self.situation, self.metrics)
        self.account = Account(self.metrics, self.series, self.pressure, self.checkpoints)
        self.sampling = Sampling()
        self.steps.after_each(self.series.touch)
        self.connectors: Connectors | None = None
        """None where the program has none: their code takes its time to load."""

    @property
    def plan(self) -> Plan:
        """Return the program that runs."""
        return self.situation.serving

    @property
    def storage(self) -> Storage | None:
        """Return the folder of the pipeline, None where it has none."""
        return self.situation.storage

    @property
    def desired(self) -> str:
        """Return the status that is desired."""
        return self.situation.desired

    @property
    def is_tolerant(self) -> bool:
        """Tell whether what is acknowledged has to survive a crash."""
        return origin.is_tolerant(self.deployment.config.runtime_config)

    def cursor(self) -> "DuckDBPyConnection":
        """Return a connection for one query; raises the error that says why there is none."""
        if self._suspending is not None:
            raise errors.suspended()
        return self._open_database().cursor()

    def _bytes_stored(self) -> int:
        return 0 if self.storage is None else self.storage.bytes_used()

    def _made_room(self, error: Exception) -> bool:
        """End all queries where a step lacked memory: it is undone, may be repeated, and comes first."""
        causes = (error, error.__cause__)
        lacked = any(type(cause).__name__ == "OutOfMemoryException" for cause in causes) and bool(
            self.queries
        )
        for query in tuple(self.queries) if lacked else ():
            query.interrupt("the pipeline needs the memory for its input")
        return lacked

    def _make_way(self) -> None:
        """End all that reads what the database was before, for a checkpoint that has waited for it."""
        for query in tuple(self.queries):
            query.interrupt("it has kept a checkpoint waiting for too long; try again")
        self.streams.cut_snapshots()

    def _open_database(self) -> "Database":
        self.check_ready()
        if self._database is None:
            raise errors.initializing()
        return self._database

    def check_ready(self) -> None:
        """Raise what a request gets that needs a ready pipeline."""
        if self.failure is not None:
            raise self.failure
        if self.phase is Phase.STARTING:
            raise errors.bootstrapping() if self.is_bootstrapping else errors.initializing()
        if self.phase is Phase.SUSPENDED:
            raise errors.suspended()
        if self.phase is Phase.TERMINATING:
            raise errors.terminating()

    @property
    def is_bootstrapping(self) -> bool:
        """Tell whether the views that have changed are being computed while nothing else goes on."""
        return self.phase is Phase.STARTING and self.situation.status == deciding.BOOTSTRAPPING

    def status(self) -> RuntimeState:
        """Return the answer of `GET /status`; raises the error of a failed pipeline."""
        if self.failure is not None:
            raise self.failure
        situation, details = self.situation, {}
        status = {Phase.STARTING: situation.status, Phase.SUSPENDED: "Suspended"}.get(self.phase, self.state)
        if self.phase is Phase.STARTING:
            details = dict(situation.details)
        elif self.phase is Phase.READY and situation.backfill != NO_BACKFILL:
            status = situation.backfill
        stored = None
        if self.storage is not None:
            stored = {"checkpoints": [checkpoint.describe() for checkpoint in situation.checkpoints]}
        return RuntimeState(status, self.desired, details, stored)

    @property
    def state(self) -> str:
        """Return Running or Paused: what a ready pipeline does."""
        return "Running" if self.desired == "Running" else "Paused"

    async def start(self) -> None:
        """Open the database and take up what is desired; a failure becomes the pipeline's state."""
        try:
            database = await Opening(self.situation, Fetching(self.metrics).fetch).run()
            if database is not None:
                await asyncio.to_thread(self._take_over, database)
            if self.phase is Phase.STARTING:
                await self._begin()
        except Exception as error:  # noqa: BLE001 - whatever it is, /status must tell it
            self._fail_to_start(error)

    async def _begin(self) -> None:
        if self._database is not None:
            self.steps.open(self._database.writer)
        if self._database is not None and self.situation.transition is not None:
            self._prepare_backfill(self.situation.transition, self._database)
        self._enter(Phase.SUSPENDED if self._database is None else Phase.READY)
        if self._database is not None and self.connectors is not None:
            await self.connectors.start()
        if self._backfill is not None:
            self._backfilling = asyncio.create_task(self._exchange(self._backfill))
        if self._database is not None:
            self.checkpoints.begin()
            self.synchronizer.begin()
        self._begun = True
        self._suspend_if_wanted()
        self._begin_to_tick()

    def _begin_to_tick(self) -> None:
        if self.plan.reads_now and not self.clock.driven and self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())

    def _prepare_backfill(self, transition: "Transition", database: "Database") -> None:
        """Have it be known before anybody can ask for a checkpoint, or for the status."""
        from sluicegate.engine.bootstrap.concurrent import Backfill

        self._backfill = Backfill(transition, self.situation, self.steps, database)
        self._backfill.begin()

    async def _exchange(self, backfill: "Backfill") -> None:
        """Compute what has changed beside the steps, and serve it from then on."""
        try:
            await backfill.run()
            if self.connectors is not None:
                await self.connectors.exchange(self.plan, backfill.gone)
            self._begin_to_tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, /status must tell it
            if self.phase is Phase.READY:
                self._panic(error)
        else:
            backfill.over()

    async def advance_clock(self, body: bytes) -> int:
        """Set the time of NOW() forth and have the views see it; returns the time."""
        self.check_ready()
        now = self.clock.advance(body, reads_now=self.plan.reads_now)
        await self.steps.tick()
        return now

    async def start_transaction(self) -> int:
        """Begin a transaction; returns its number."""
        self.check_ready()
        if self.desired == "Suspended":
            raise errors.suspended()
        return await self.transactions.start()

    async def _tick(self) -> None:
        """Let views that read the clock follow it, without any input."""
        while self.phase is Phase.READY:
            if self.state == "Running" and self._suspending is None:
                with suppress(EngineError):  # it is being let go
                    await self.steps.tick()
            await asyncio.sleep(self.clock.until_next)

    def resume(self) -> str:
        """Take input."""
        return self._desire("start", "Running")

    def pause(self) -> str:
        """Take no input but what is forced."""
        return self._desire("pause", "Paused")

    def activate(self, wanted: str) -> str:
        """Take input or none, after standing by or not."""
        return self._desire("activate", wanted, "Standby")

    async def approve(self, *, silent: bool, concurrent: bool) -> None:
        """Take an approval of the bootstrap; done once nothing waits for it any more."""
        self.situation.approve(silent=silent, concurrent=concurrent)
        while self.phase is Phase.STARTING and self.situation.status == deciding.AWAITING:
            await self.situation.moved()

    def suspend(self) -> None:
        """Begin to checkpoint and let go of the database."""
        if self.desired == "Standby":
            raise errors.invalid_transition("suspend", self.desired)
        if self.desired != "Suspended":
            self.situation.wish("Suspended")
        if self.failure is not None:
            raise self.failure

    async def running(self) -> None:
        """Wait until input may be taken; raises where that cannot come about."""
        while True:
            self.check_ready()
            if self.desired == "Running":
                return
            if self.desired == "Suspended":
                raise errors.suspended()
            await self.situation.moved()

    async def close(self) -> None:
        """Finish the write in flight, close the database and answer no more."""
        terminating = self.phase
        self.phase = Phase.TERMINATING
        self.situation.ending = True
        self.situation.signal()
        if self._ticking is not None:
            self._ticking.cancel()
        self.series.close()
        self.sampling.close()
        for query in self.queries:
            query.interrupt()
        await self.synchronizer.end()
        await self.checkpoints.end()
        if self._backfill is not None and self._backfilling is not None:
            self._backfill.abandon()
            await asyncio.wait([self._backfilling])
        await self._wind_down(errors.terminating())
        async with self.steps.still():
            if self._database is not None and terminating is Phase.READY and self._suspending is None:
                await asyncio.to_thread(self._database.close)

    def _desire(self, action: str, wanted: str, *also: str) -> str:
        if self.desired not in ("Running", "Paused", *also):
            raise errors.invalid_transition(action, self.desired)
        answer = f"Pipeline transitioning from {self.desired} to {wanted}"
        moved = self.desired != wanted
        self.situation.wish(wanted)
        if self.phase is not Phase.STARTING:
            self.check_ready()
            if moved:
                self.announce(wanted.lower())
        return answer

    def _look(self) -> None:
        """Have all look again who depend on what is desired, on the phase, or on what delays checkpoints."""
        self.steps.signal()
        if self.connectors is not None:
            self.connectors.look()
        self._suspend_if_wanted()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.situation.signal()
        self.announce(self.state.lower() if phase is Phase.READY else phase.value)

    def _fail_to_start(self, error: Exception) -> None:
        if self.phase is Phase.TERMINATING:
            return  # it was told to end while it began
        inner = error if isinstance(error, EngineError) else None
        if inner is None:
            stored = isinstance(error, StorageError | CheckpointError)
            code = "StorageError" if stored else "InitializationError"
            inner = EngineError(500, code, str(error))
        self._fail(errors.initialization_failed(inner))

    def _panic(self, error: Exception) -> EngineError:
        """End a pipeline whose step has failed; return how it says so."""
        failure = error if isinstance(error, EngineError) else errors.worker_panic(error)
        self._fail(failure)
        return failure

    def _fail(self, failure: EngineError) -> None:
        self.failure = failure
        self.streams.end()
        self._enter(Phase.FAILED)

    def _take_over(self, database: "Database") -> None:
        self.checkpoints.make_way = self._make_way
        self._make_connectors(database)
        if self.connectors is not None:
            self.connectors.resume(database.writer.states())
            self.checkpoints.prepared = self.connectors.prepared
        self._database = database

    def _make_connectors(self, database: "Database") -> None:
        plans = (self.plan, self.situation.plan)
        if not any(plan.input_connectors or plan.output_connectors for plan in plans):
            return
        from sluicegate.engine.connecting.all import Connectors

        connectors = Connectors(self.steps, self.metrics, lambda: self.desired == "Running", self.cursor)
        connectors.make(self.plan, self.deployment.config, database.cursor)
        self.connectors = connectors

    async def _wind_down(self, reason: EngineError) -> None:
        """Take no more input, finish the step that runs, and have all who hear of it have it to the end."""
        if self.connectors is not None:
            await self.connectors.stop_reading()
        await self.steps.drain(reason)
        if self.connectors is not None:
            await self.connectors.finish()
        await self.streams.close(reason)

    # Suspending

    def _suspend_if_wanted(self) -> None:
        ready = self._begun and self.phase is Phase.READY and not self.checkpoints.temporary
        if self.desired == "Suspended" and ready and self._suspending is None:
            self.announce("suspending")
            self._suspending = asyncio.create_task(self._suspend())

    async def _suspend(self) -> None:
        for query in tuple(self.queries):  # a checkpoint waits for all snapshots to end
            query.interrupt("the pipeline is being suspended")
        try:
            await self.checkpoints.end()
            await self._wind_down(errors.suspended())
            async with self.steps.still():
                if self._database is None:
                    raise errors.initializing()
                states = {} if self.connectors is None else self.connectors.states()
                await self.checkpoints.last(self._database, states)
        except Exception as error:  # noqa: BLE001 - whatever it is, /status must tell it
            details = {"error": str(error)}
            self._fail(
                EngineError(500, "SuspendError", f"The pipeline cannot be suspended: {error}", details)
            )
        else:
            self._enter(Phase.SUSPENDED)

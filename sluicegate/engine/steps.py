"""Steps: the one writer of a pipeline, and who hears of what it has written.

    put ──► waiting ──► step: one DuckDB transaction ──► deliver to sinks ──► completed
              ▲  all that has come while the step before ran        │
              └────────── room: waits where too much waits ◄────────┘

A step holds the rows, the offsets of the connectors they came from and the number of the step. It takes all
that has come while the one before it ran, so that one commit serves them all. Rows that do not fit their
table are told to whoever sent them and do not concern the others of the step.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sluicegate.engine.arrivals import Arrival, Taken
from sluicegate.engine.batch import Errors
from sluicegate.engine.deliveries import Deliveries, Sink
from sluicegate.engine.metrics import Endpoint, Metrics

if TYPE_CHECKING:
    import pyarrow as pa

    from sluicegate.engine.writer import Outcome, Writer

T = TypeVar("T")

CROWD = 256
"""Arrivals that wait beyond which senders wait with them: each takes memory, however little it brings."""


@dataclass(frozen=True)
class Listening:
    """Where a sink begins: it hears of all steps after this one."""

    step: int
    snapshot: "pa.RecordBatchReader | None"
    """The rows of the relation after that step, if they were asked for; read it in a thread."""


class Steps:
    """The queue before the writer."""

    def __init__(
        self,
        metrics: Metrics,
        check: Callable[[], None],
        fail: Callable[[Exception], Exception],
        made_room: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        """Serve a pipeline: `check` raises where no step is possible, `fail` ends it and returns why.

        `made_room` tells whether a step that failed may come out well if it is repeated.
        """
        self._metrics = metrics
        self._check = check
        self._fail = fail
        self._made_room = made_room
        self._writer: Writer | None = None
        self._waiting: list[tuple[Arrival | None, asyncio.Future[Taken]]] = []
        self._acknowledged: set[asyncio.Future[Taken]] = set()
        self._lock = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._stepping = False
        self._moved = asyncio.Event()
        self._deliveries = Deliveries(metrics)
        self._holds = False
        self.offsets: dict[str, Any] = {}
        self._stepped: Callable[[], None] = lambda: None

    def open(self, writer: "Writer") -> None:
        """Begin with what the database holds."""
        self._writer = writer
        self.offsets = writer.offsets()
        self._metrics.begin(*writer.progress(), writer.begun)

    async def room(self, endpoint: Endpoint) -> None:
        """Wait until not too much of an endpoint waits; raises where the pipeline takes no more."""
        while True:
            self._check()
            if endpoint.has_room:
                return
            await self._moved.wait()

    def check(self) -> None:
        """Raise where nothing more is taken; what is put right after has its step, unless that fails."""
        self._check()

    def put(self, arrival: Arrival) -> "asyncio.Future[Taken]":
        """Have an arrival taken by the next step; what is returned is done once that is committed."""
        self._metrics.buffer(arrival.endpoint, len(arrival.batch), arrival.size)
        future = self._enqueue(arrival)
        if arrival.acknowledged:
            self._acknowledged.add(future)
            future.add_done_callback(self._acknowledged.discard)
        return future

    async def catch_up(self, within: float) -> None:
        """Wait, so many seconds at most, until what has been acknowledged so far is written."""
        if self._acknowledged:
            await asyncio.wait(tuple(self._acknowledged), timeout=within)

    def tick(self) -> "asyncio.Future[Taken]":
        """Have the views that read the clock computed anew."""
        return self._enqueue(None)

    def after_each(self, heard: Callable[[], None]) -> None:
        """Call this after each step."""
        self._stepped = heard

    def signal(self) -> None:
        """Have those look again who wait for room, since the pipeline has moved."""
        self._moved.set()
        self._moved = asyncio.Event()

    @property
    def horizon(self) -> int:
        """Return the number of the step that will hold all that has been put so far."""
        coming = bool(self._waiting) + self._stepping
        if self._holds:
            coming = min(1, coming + self._metrics.held_records)
        return self._metrics.steps + coming

    @property
    def takes_promptly(self) -> bool:
        """Tell whether what is put has its step soon: no transaction holds it, and few wait with it."""
        return not self._holds and len(self._waiting) < CROWD

    @property
    def settled(self) -> bool:
        """Tell whether all that has been put is committed and delivered."""
        busy = self._stepping or self._running is not None
        waiting = self._waiting or busy or self._metrics.held_records
        return not waiting and self._deliveries.settled

    async def hold(self) -> int:
        """Hold what comes for a transaction from now on; returns the number of the transaction."""

        async def begin() -> int:
            number = await asyncio.to_thread(self._ready_writer().begin_transaction)
            self._holds = True
            return number

        return await self._between_steps(begin())

    async def release(self) -> None:
        """Take all that is held as one step, with what has been put so far."""
        async with self._lock:
            await self._take_waiting()
            self._holds, self._stepping = False, True
            try:
                self._check()
                began = time.perf_counter()
                outcome = await self._in_thread(self._open_writer().commit)
            except Exception as error:  # noqa: BLE001 - it is why the pipeline ends
                self._reason(error)
            else:
                self._metrics.release()
                self._arrive(outcome, began)
            finally:
                self._stepping = False
        self.signal()

    async def alone(self, work: "Callable[[Writer], T]") -> T:
        """Do one piece of work between steps, in a thread; it is finished even if nobody waits."""

        async def do() -> T:
            return await asyncio.to_thread(work, self._ready_writer())

        return await self._between_steps(do())

    async def exchange(self, work: "Callable[[Writer], None]", gone: Collection[str]) -> None:
        """Do work between steps after which relations are gone, or others; who listens to them ends."""

        async def do() -> None:
            writer = self._ready_writer()
            await asyncio.to_thread(work, writer)
            self.offsets = await asyncio.to_thread(writer.offsets)
            for relation in gone:
                self._deliveries.end(relation)

        await self._between_steps(do())

    async def drain(self, reason: Exception) -> None:
        """Take what has been put, and deliver it; whoever wants a step after it gets the reason."""

        def refuse() -> None:
            raise reason

        async with self._lock:
            while self._waiting:
                await self._take_waiting()
            self._check = refuse

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Let no step begin; one that runs is waited for."""
        async with self._lock:
            yield

    async def within(self, work: "Callable[[Writer], T]") -> T:
        """Do one piece of work in a thread, within `still`."""
        return await asyncio.to_thread(work, self._ready_writer())

    async def listen(self, relation: str, sink: Sink, *, snapshot: bool = False) -> Listening:
        """Have a sink hear of the changes of a relation, given by its physical name, from now on."""

        async def begin() -> Listening:
            watch = self._ready_writer().watch
            reader = await asyncio.to_thread(watch, relation, snapshot=snapshot)
            self._deliveries.add(relation, sink)
            return Listening(self._metrics.steps, reader)

        return await self._between_steps(begin())

    async def unlisten(self, relation: str, sink: Sink) -> None:
        """Have a sink hear no more; it may be called when the pipeline is no longer ready."""

        async def end() -> None:
            heard = self._deliveries.remove(relation, sink)
            if heard and self._writer is not None and self._writer.is_open:
                await asyncio.to_thread(self._writer.unwatch, relation)

        await self._between_steps(end())

    async def _between_steps(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work after the step of all that has been put, and before the next; it is finished even if nobody
        waits."""

        async def locked() -> T:
            async with self._lock:
                await self._take_waiting()
                return await work

        return await asyncio.shield(asyncio.create_task(locked()))

    def _ready_writer(self) -> "Writer":
        self._check()
        return self._open_writer()

    def _open_writer(self) -> "Writer":
        if self._writer is None:
            raise RuntimeError("the pipeline is ready, but has no writer")
        return self._writer

    def _enqueue(self, arrival: Arrival | None) -> "asyncio.Future[Taken]":
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                async with self._lock:
                    await self._take_waiting()
                await self._deliveries.keep_up()
        finally:
            self._running = None

    async def _take_waiting(self) -> None:
        """Take a step with all that waits, if anything does."""
        taken, self._waiting = self._waiting, []
        if taken:
            self._stepping = True
            try:
                await self._step(taken)
            finally:
                self._stepping = False

    async def _step(self, taken: "list[tuple[Arrival | None, asyncio.Future[Taken]]]") -> None:
        arrivals = [arrival for arrival, _ in taken if arrival is not None]
        try:
            self._check()
            began = time.perf_counter()
            writer = self._open_writer()
            take = writer.hold if self._holds else writer.take
            outcome = await self._in_thread(lambda: take(arrivals))
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait must be told
            self._abandon(arrivals, taken, error)
        else:
            self._count(arrivals, outcome)
            self._arrive(outcome, began)
            answers = iter(outcome.taken)
            nothing = Taken(outcome.step, 0, Errors())
            for arrival, future in taken:
                _settle(future, nothing if arrival is None else next(answers))
        self.signal()

    async def _in_thread(self, write: "Callable[[], Outcome]") -> "Outcome":
        try:
            return await asyncio.to_thread(write)
        except Exception as error:
            if not self._made_room(error):
                raise
            return await asyncio.to_thread(write)

    def _abandon(
        self,
        arrivals: list[Arrival],
        taken: "list[tuple[Arrival | None, asyncio.Future[Taken]]]",
        error: Exception,
    ) -> None:
        for arrival in arrivals:
            self._metrics.buffer(arrival.endpoint, -len(arrival.batch), -arrival.size)
        answer = self._reason(error)
        for _, future in taken:
            _settle(future, answer)

    def _reason(self, error: Exception) -> Exception:
        """Return why nothing more is written; it is the given error if nothing else has been yet."""
        try:
            self._check()
        except Exception as reason:  # noqa: BLE001 - it is the answer
            return reason
        return self._fail(error)

    def _count(self, arrivals: list[Arrival], outcome: "Outcome") -> None:
        for arrival, answer in zip(arrivals, outcome.taken, strict=True):
            self._metrics.buffer(arrival.endpoint, -len(arrival.batch), -arrival.size)
            if isinstance(answer, Taken):
                count = self._metrics.hold if self._holds else self._metrics.take
                count(arrival.endpoint, answer.records, arrival.size, answer.errors)

    def _arrive(self, outcome: "Outcome", began: float) -> None:
        """Tell what has been done since a moment, if that is a step."""
        self.offsets |= outcome.offsets
        self._metrics.steps = outcome.step
        if outcome.stepped:
            self._metrics.measure(time.perf_counter() - began, outcome.views)
            self._stepped()
            self._deliveries.deliver(outcome.step, outcome.changes)


def _settle(future: "asyncio.Future[Taken]", answer: Taken | Exception) -> None:
    """Answer who waits, if anybody still does."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()  # the pipeline tells it too: nobody has to wait for it here
    else:
        future.set_result(answer)

"""Deliveries: who hears of what a step has changed, and when a step has reached all of them."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sluicegate.engine.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa

UNDELIVERED = 16
"""Steps that may wait for their sinks: enough to keep a sink busy, few enough to hold in memory."""


class Sink(Protocol):
    """Who hears of the changes of a relation."""

    @property
    def collects(self) -> bool:
        """Whether it keeps steps until there are more of them: then they hold up no others."""

    def deliver(self, step: int, rows: "pa.Table") -> Awaitable[None] | None:
        """Take the changes of one step; returns what ends when they are delivered, or None if they are.

        Called on the loop after each commit, in order, also where a step changed nothing. `rows` has the
        columns of the relation and `~w`: how often the row came (positive) or went (negative).
        """

    def end(self) -> None:
        """Hear no more, and end once all that was delivered is taken."""


class Deliveries:
    """The sinks of one pipeline, and the steps that have not reached all of them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sinks: dict[str, list[Sink]] = {}
        self._undelivered: deque[tuple[int, int, asyncio.Future[Any]]] = deque()
        self._late: deque[asyncio.Future[Any]] = deque()
        """Of steps that have not reached those who do not collect them."""

    @property
    def settled(self) -> bool:
        """Tell whether all steps are delivered."""
        return not self._undelivered

    def add(self, relation: str, sink: Sink) -> None:
        """Have a sink hear of the changes of a relation."""
        self._sinks.setdefault(relation, []).append(sink)

    def remove(self, relation: str, sink: Sink) -> bool:
        """Have it hear no more; tells whether it still did."""
        heard = sink in self._sinks.get(relation, ())
        if heard:
            self._sinks[relation].remove(sink)
        return heard

    def end(self, relation: str) -> None:
        """Have all sinks of a relation hear no more, and end."""
        for sink in self._sinks.pop(relation, ()):
            sink.end()

    async def keep_up(self) -> None:
        """Wait while too many steps wait for their sinks."""
        began = time.perf_counter()
        while True:
            while self._late and self._late[0].done():
                self._late.popleft()
            if len(self._late) < UNDELIVERED:
                break
            await asyncio.wait([self._late[0]])
        self._metrics.stalled_seconds += time.perf_counter() - began

    def deliver(self, step: int, changes: "Mapping[str, pa.Table]") -> None:
        """Tell the sinks what a step has changed."""
        pending, prompt = [], []
        for relation, rows in changes.items():
            for sink in self._sinks.get(relation, ()):
                delivery = sink.deliver(step, rows)
                if delivery is not None:
                    pending.append(asyncio.ensure_future(delivery))
                    prompt += [] if sink.collects else pending[-1:]
        if prompt:
            self._late.append(asyncio.gather(*prompt))
        done: asyncio.Future[Any] = asyncio.gather(*pending)
        self._undelivered.append((step, self._metrics.records, done))
        if not pending:
            self._complete()
        else:
            done.add_done_callback(lambda _: self._complete())

    def _complete(self) -> None:
        while self._undelivered and self._undelivered[0][2].done():
            step, records, _ = self._undelivered.popleft()
            self._metrics.complete(step, records)

"""One input connector: takes what its source gives into steps, and tries again what may come right."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Batch, Rows
from sluicegate.engine.connecting.wire import Reader
from sluicegate.engine.metrics import Endpoint
from sluicegate.engine.plan import Table
from sluicegate.engine.steps import Steps
from sluicegate.engine.transports.protocol import Chunk, Gate, Source, Unavailable

FIRST_PAUSE = 0.25
"""Seconds before what failed is tried again; twice as many after each further failure."""
LONGEST_PAUSE = 30


@dataclass(frozen=True)
class Input:
    """What a connector is made of."""

    table: Table
    endpoint: Endpoint
    source: Source
    reader: Reader | None
    """None where the source gives rows."""
    one_by_one: bool
    """Whether no step may take two of its chunks, since the rows of a step are limited."""


class InputConnector:
    """A running connector."""

    def __init__(self, parts: Input, steps: Steps, ended: Callable[[], None]) -> None:
        self._parts = parts
        self._steps = steps
        self._ended = ended
        self._offset: Any = None
        self._pause = FIRST_PAUSE
        self._last: asyncio.Future[Any] | None = None
        self.gate = Gate()
        self.endpoint = parts.endpoint

    async def run(self) -> None:
        """Take all input, however often that has to be begun again."""
        self._offset = self._steps.offsets.get(self.endpoint.name)
        while not self.endpoint.end_of_input:
            try:
                await self._take_all()
            except Unavailable as error:
                self.endpoint.unhealthy = str(error)
                self.endpoint.complain_of_transport(self._located(error))
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - whatever it is, the statistics must tell it
                self.endpoint.fatal_error = str(error) or type(error).__name__
                self.endpoint.complain_of_transport(self._located(error))
                return
            else:
                break
        if self._last is not None:
            await asyncio.wait([self._last])
        self.endpoint.end_of_input = True
        self._ended()

    async def _take_all(self) -> None:
        chunks = self._parts.source.chunks(self._offset, self.gate)
        async with contextlib.aclosing(chunks) as given:  # type: ignore[type-var]
            async for chunk in given:
                await self._take(chunk)
                self.endpoint.unhealthy = None
                self._pause = FIRST_PAUSE

    async def _take(self, chunk: Chunk) -> None:
        if chunk.problem is not None:
            self.endpoint.complain_of_transport(f"{chunk.problem} (after {self._offset})")
        await self._steps.room(self.endpoint)
        await self.gate.opens()
        batch = await self._batch(chunk)
        size = chunk.size or (len(chunk.data) if self._parts.reader is not None else 0)
        arrival = Arrival(self._parts.table, batch, self.endpoint, offset=chunk.offset, size=size)
        self._last = self._steps.put(arrival)
        self._offset = chunk.offset
        if self._parts.one_by_one:
            await asyncio.wait([self._last])

    async def _batch(self, chunk: Chunk) -> Batch | Rows:
        if self._parts.reader is None:
            return Rows(chunk.data)
        read = self._parts.reader.read
        batch = await asyncio.to_thread(lambda: read(chunk.data, first=chunk.first))
        for error in batch.errors.kept:
            error["description"] += f" of the records before {chunk.offset}"
        return batch

    def _located(self, error: Exception) -> str:
        """Say where in the input an error came."""
        at = "at the beginning" if self._offset is None else f"after {self._offset}"
        return f"{error or type(error).__name__} ({at})"

"""One output connector: writes the changes of a view, step after step, and says when a step is written."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluicegate.engine.connecting.wire import Writer
from sluicegate.engine.metrics import Metrics, OutputEndpoint
from sluicegate.engine.plan import View
from sluicegate.engine.transports.protocol import Sink

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Buffering:
    """How much is collected before it is written; what is written per step where nothing is asked for."""

    records: int
    seconds: float


@dataclass(frozen=True)
class Output:
    """What a connector is made of."""

    view: View
    endpoint: OutputEndpoint
    sink: Sink
    writer: Writer | None
    """None where the sink takes nothing."""
    buffering: Buffering | None


class OutputConnector:
    """A running connector. After an error it writes no more: what would follow has a gap before it."""

    def __init__(self, parts: Output, metrics: Metrics) -> None:
        self._parts = parts
        self._metrics = metrics
        self._waiting: asyncio.Queue[_Step | asyncio.Future[None] | None] = asyncio.Queue()
        """Steps, who wait for all before them to be written, and at last the end."""
        self._held: list[pa.Table] = []
        self._unwritten: list[_Step] = []
        """Steps that have been taken, whose rows are held."""
        self._due: float | None = None
        self.endpoint = parts.endpoint
        self.view = parts.view

    @property
    def collects(self) -> bool:
        """See `deliveries.Sink`."""
        return self._parts.buffering is not None

    def deliver(self, step: int, rows: "pa.Table") -> asyncio.Future[None]:
        """Queue the changes of a step; see `steps.Sink`."""
        written = asyncio.get_running_loop().create_future()
        queued = _Step(step, self._metrics.records, rows, self.endpoint.paused, written)
        self.endpoint.queued_batches += 1
        self.endpoint.queued_records += rows.num_rows
        self._waiting.put_nowait(queued)
        return queued.written

    async def write_snapshot(self, reader: "pa.RecordBatchReader") -> None:
        """Write the rows that the view had when the connector began to listen; before `run`."""
        from sluicegate.engine.encoding import inserted, rows_of

        try:
            while (rows := await asyncio.to_thread(rows_of, reader)) is not None:
                if self.endpoint.fatal_error is None:
                    await self._write(inserted(rows))
        except Exception as error:  # noqa: BLE001 - whatever it is, the statistics must tell it
            self.endpoint.fail(f"the snapshot cannot be read: {error}", encoding=True)
        finally:
            reader.close()

    async def run(self) -> None:
        """Write what comes until the end, then let go of the sink."""
        loop = asyncio.get_running_loop()
        while True:
            wait = None if self._due is None else max(0.0, self._due - loop.time())
            try:
                async with asyncio.timeout(wait):
                    step = await self._waiting.get()
            except TimeoutError:
                await self._flush()
                continue
            if step is None:
                break
            if isinstance(step, asyncio.Future):
                await self._flush()
                _settle(step)
            else:
                await self._take(step)
        await self._flush()
        await self._parts.sink.close()
        if self._parts.writer is not None:
            self._parts.writer.close()

    def written(self) -> asyncio.Future[None]:
        """Have all be written that has been delivered, also what is collected; returns what is done then."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(written)
        return written

    def end(self) -> None:
        """Have `run` end once all that has been delivered is written."""
        self._waiting.put_nowait(None)

    async def _take(self, step: "_Step") -> None:
        self.endpoint.queued_batches -= 1
        self.endpoint.queued_records -= step.rows.num_rows
        if step.rows.num_rows and not step.discarded:
            self._hold(step.rows)
        self._unwritten.append(step)
        buffering = self._parts.buffering
        if buffering is None or not self._held or self.endpoint.buffered_records >= buffering.records:
            await self._flush()

    def _hold(self, rows: "pa.Table") -> None:
        self._held.append(rows)
        self.endpoint.buffered_batches += 1
        self.endpoint.buffered_records += rows.num_rows
        if self._due is None and self._parts.buffering is not None:
            self._due = asyncio.get_running_loop().time() + self._parts.buffering.seconds

    async def _flush(self) -> None:
        held, self._held, self._due = self._held, [], None
        self.endpoint.buffered_batches = self.endpoint.buffered_records = 0
        for rows in held:
            if self.endpoint.fatal_error is None:
                await self._write(rows)
        written, self._unwritten = self._unwritten, []
        for step in written:
            self.endpoint.steps, self.endpoint.input_records = step.number, step.input_records
            _settle(step.written)

    async def _write(self, rows: "pa.Table") -> None:
        writer = self._parts.writer
        pieces = iter(()) if writer is None else writer.pieces(rows)
        while True:
            try:
                data = await asyncio.to_thread(next, pieces, None)
            except Exception as error:  # noqa: BLE001 - whatever it is, the statistics must tell it
                self.endpoint.fail(f"cannot encode: {error}", encoding=True)
                return
            if data is None:
                break
            try:
                await self._parts.sink.write(data)
            except Exception as error:  # noqa: BLE001 - as above
                self.endpoint.fail(str(error), encoding=False)
                return
            self.endpoint.transmitted_bytes += len(data)
        self.endpoint.transmitted_records += rows.num_rows


def _settle(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


@dataclass
class _Step:
    number: int
    input_records: int
    rows: "pa.Table"
    discarded: bool
    """It came while the connector was paused."""
    written: "asyncio.Future[None]"

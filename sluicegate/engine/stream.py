"""A stream of egress: who listens to a relation, from the changes of steps to chunks of HTTP (contract §5.3).

    deliver ──► waiting ──► encode in a thread ──► send ──► delivered

A chunk is a JSON object and CR LF. Its `sequence_number` leaves out no numbers but those of chunks that were
dropped, and it tells whether it belongs to the `snapshot`. The last chunk of a step, or one without data
where a step changed nothing, has the number of the step in `processed_steps`. Where nothing is sent for a
while, a chunk with nothing else tells that the stream is alive; the first chunk is such a one, since clients
wait for it.

With back-pressure a step is delivered when it has been sent, so a reader that is slow holds up the steps.
Without, what does not fit into a buffer is dropped: the changes of whole steps, counted, told in the
statistics, and visible in the sequence numbers.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluicegate.engine.metrics import Metrics, OutputEndpoint
from sluicegate.engine.steps import Steps
from sluicegate.engine.streams import Streams

if TYPE_CHECKING:
    import pyarrow as pa

    from sluicegate.engine.encoding import Encoder
    from sluicegate.engine.formats.writing import Message

T = TypeVar("T")

HEARTBEAT = 3
"""Seconds of silence after which a sign of life is sent."""
HELD = 16 << 20
"""Bytes that wait for a reader without back-pressure; a step that alone is larger waits alone."""
ROWS = 10_000
"""Rows of a chunk."""


@dataclass(frozen=True)
class Listener:
    """Who listens, and how."""

    relation: str
    """Physical name."""
    endpoint: OutputEndpoint
    text: bool
    """Whether the data of a chunk are text, and not a list."""
    backpressure: bool
    snapshot: bool


@dataclass
class _Step:
    number: int
    input_records: int
    rows: "pa.Table"
    sent: "asyncio.Future[None] | None" = None
    lost: int = 0
    """Chunks that were dropped in its stead."""

    def settle(self) -> None:
        """Count it as delivered."""
        if self.sent is not None and not self.sent.done():
            self.sent.set_result(None)


class Stream(Response):
    """The answer to a listener: it goes on until the client leaves or the stream is ended."""

    def __init__(self, listener: Listener, streams: Streams, steps: Steps, metrics: Metrics) -> None:
        super().__init__(media_type="application/json")
        del self.headers["content-length"]
        self._listener = listener
        self._endpoint = listener.endpoint
        self._streams = streams
        self._steps = steps
        self._metrics = metrics
        self._encoder: Encoder | None = None
        self._snapshot: pa.RecordBatchReader | None = None
        self._began = 0
        self._sequence = 0
        self._waiting: deque[_Step] = deque()
        self._held = 0
        self._stirred = asyncio.Event()
        self._ending = False
        self._sending: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._working: asyncio.Future[Any] | None = None
        self._messages: Generator[Message, None, None] | None = None
        self.ended = asyncio.Event()

    async def open(self, make: "Callable[[], Encoder]") -> None:
        """Begin to listen; raises what is to be answered where that is not possible."""
        self._streams.add(self)
        self._metrics.outputs[self._endpoint.name] = self._endpoint
        try:
            self._encoder = await asyncio.to_thread(make)
            relation, snapshot = self._listener.relation, self._listener.snapshot
            listening = await self._steps.listen(relation, self, snapshot=snapshot)
        except BaseException:
            await self._let_go()
            raise
        self._snapshot, self._began = listening.snapshot, listening.step

    @property
    def collects(self) -> bool:
        """See `deliveries.Sink`: each step is sent at once."""
        return False

    def deliver(self, step: int, rows: "pa.Table") -> "asyncio.Future[None] | None":
        """Queue the changes of a step; see `steps.Sink`."""
        queued = _Step(step, self._metrics.records, rows)
        if self._listener.backpressure:
            queued.sent = asyncio.get_running_loop().create_future()
        elif self._held and self._held + rows.nbytes > HELD:
            self._drop(queued)
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.sent is None and not last.rows.num_rows and not queued.rows.num_rows:
            queued.lost += self._waiting.pop().lost  # what counts of it is how far the steps have come
        self._waiting.append(queued)
        self._held += queued.rows.nbytes
        self._endpoint.queued_batches = len(self._waiting)
        self._endpoint.queued_records += queued.rows.num_rows
        self._stirred.set()
        return queued.sent

    @property
    def sends_snapshot(self) -> bool:
        """Tell whether it reads the snapshot that it begins with."""
        return self._snapshot is not None

    def end(self) -> None:
        """Have it end when all that has been delivered is sent."""
        self._ending = True
        self._stirred.set()

    def cut(self) -> None:
        """Break it off."""
        if self._sending is not None:
            self._sending.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client has gone."""
        self._sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_gone(receive))
        tasks = {self._sending, leaving}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # In a task of its own: a server that ends cancels what still handles requests.
            self._finishing = asyncio.create_task(self._finish(tasks))
            await asyncio.shield(self._finishing)

    async def _finish(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._stop_reading()  # first: our turn may come after a checkpoint that waits for it
        finally:
            try:
                await self._steps.unlisten(self._listener.relation, self)
            finally:
                await self._let_go()

    def _drop(self, step: _Step) -> None:
        records = step.rows.num_rows
        # Not a slice of no rows, which would keep all of them in memory.
        step.rows, step.lost = step.rows.schema.empty_table(), -(-records // ROWS)
        message = f"the reader is too slow: {records} records of step {step.number} were dropped; "
        self._endpoint.lose(f"{message}read faster, or listen with backpressure=true")

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._chunk(send)
        try:
            await self._send_snapshot(send)
            while await self._stir(send):
                await self._send_step(send, self._waiting.popleft())
        except Exception as error:  # noqa: BLE001 - the statistics tell it, and to the client the missing end
            self._endpoint.fail(f"cannot encode: {error}", encoding=True)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stir(self, send: Send) -> bool:
        """Wait for a step; False at the end of the stream."""
        while not self._waiting:
            if self._ending:
                return False
            self._stirred.clear()
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._stirred.wait()
            except TimeoutError:
                await self._chunk(send)
        return True

    async def _send_snapshot(self, send: Send) -> None:
        from sluicegate.engine.encoding import inserted, rows_of

        reader = self._snapshot
        if reader is None:
            return
        while (rows := await self._in_thread(lambda: rows_of(reader))) is not None:
            await self._send_rows(send, inserted(rows), snapshot=True)
        self._close_snapshot()
        await self._chunk(send, snapshot=True, step=self._began)

    async def _send_step(self, send: Send, step: _Step) -> None:
        self._sequence += step.lost
        try:
            if step.rows.num_rows:
                await self._send_rows(send, step.rows, step=step.number)
            elif not self._waiting:
                await self._chunk(send, step=step.number)
            self._held -= step.rows.nbytes
            self._endpoint.queued_batches = len(self._waiting)
            self._endpoint.queued_records -= step.rows.num_rows
            self._endpoint.steps, self._endpoint.input_records = step.number, step.input_records
        finally:
            step.settle()  # also where nobody reads any more

    async def _send_rows(
        self, send: Send, rows: "pa.Table", *, snapshot: bool = False, step: int | None = None
    ) -> None:
        assert self._encoder is not None
        messages = self._messages = self._encoder.messages(rows)
        message = await self._in_thread(lambda: next(messages, None))
        while message is not None:
            following = await self._in_thread(lambda: next(messages, None))
            last = step if following is None else None
            await self._chunk(send, message, snapshot=snapshot, step=last)
            message = following

    async def _chunk(
        self, send: Send, message: "Message | None" = None, *, snapshot: bool = False, step: int | None = None
    ) -> None:
        told: dict[str, Any] = {"sequence_number": self._sequence, "snapshot": snapshot}
        if step is not None:
            told["processed_steps"] = step
        body = json.dumps(told, separators=(",", ":")).encode()
        self._sequence += 1
        if message is not None and message.value is not None:
            body = b"%b,%b}" % (body[:-1], self._data(message.value))
            self._endpoint.transmitted_records += message.records
            self._endpoint.transmitted_bytes += len(message.value)
        await send({"type": "http.response.body", "body": body + b"\r\n", "more_body": True})

    def _data(self, value: bytes) -> bytes:
        if self._listener.text:
            return b'"text_data":' + json.dumps(value.decode(), ensure_ascii=False).encode()
        return b'"json_data":' + value.rstrip()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do work in a thread; if nobody waits any more, it is remembered until it has ended."""
        self._working = asyncio.ensure_future(asyncio.to_thread(work))
        return await asyncio.shield(self._working)

    def _close_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    async def _stop_reading(self) -> None:
        if self._encoder is not None:
            self._encoder.interrupt()
        if self._working is not None:
            await asyncio.wait([self._working])
        if self._messages is not None:
            self._messages.close()
        self._close_snapshot()

    async def _let_go(self) -> None:
        for step in self._waiting:
            step.settle()
        self._waiting.clear()
        try:
            await self._stop_reading()
            if self._encoder is not None:
                self._encoder.close()
        finally:  # whatever goes wrong: the end of the pipeline waits for this
            self._metrics.outputs.pop(self._endpoint.name, None)
            self._streams.remove(self)
            self.ended.set()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

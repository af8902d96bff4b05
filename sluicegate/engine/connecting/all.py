"""All connectors of a pipeline: made when it opens, run while it is ready, steered by name."""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.engine.bootstrap.migration import OWED
from sluicegate.engine.connecting import order
from sluicegate.engine.connecting.inputs import Input, InputConnector
from sluicegate.engine.connecting.outputs import Buffering, Output, OutputConnector
from sluicegate.engine.connecting.wire import Cursors, Writer, reader, writing
from sluicegate.engine.errors import EngineError
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.plan import Plan, Table, View, stream_name
from sluicegate.engine.steps import Steps
from sluicegate.engine.transports import registry
from sluicegate.engine.transports.protocol import BadConfig, Surroundings
from sluicegate.protocol import EngineConfig, compose, secret_variable

if TYPE_CHECKING:
    import pyarrow as pa

FILES = "files"
"""The pipeline's own folder for files, within its storage."""
BYTES_PER_RECORD = 1000
"""Of `max_queued_bytes` where it is not given."""
FLUSH = 1.0
"""Seconds that steps are held up for outputs to write all; then they go on, and it is tried again."""
FOREVER = 100 * 365 * 24 * 3600.0
"""Seconds, where a number of the wire would be longer than a timer can be."""


class Connectors:
    """The connectors of one pipeline."""

    def __init__(
        self, steps: Steps, metrics: Metrics, is_running: Callable[[], bool], cursor: Cursors
    ) -> None:
        self._steps = steps
        self._cursor = self._cursors = cursor
        self._metrics = metrics
        self._is_running = is_running
        self._configs: Mapping[str, Any] = {}
        self._reading: list[asyncio.Task[None]] = []
        self._writing: dict[str, asyncio.Task[None]] = {}
        self.inputs: dict[str, InputConnector] = {}
        self.outputs: dict[str, OutputConnector] = {}
        self._waiting: dict[str, set[str]] = {}
        self._late: set[asyncio.Future[None]] = set()
        """Done when an output that took too long has written what it had been told."""
        self._marks: dict[str, str] = {}
        """Of the outputs that send a snapshot: what stands for their configuration."""
        self._surroundings = Surroundings()

    def make(self, plan: Plan, config: EngineConfig, cursor: Cursors) -> None:
        """Make all connectors, in a thread; raises EngineError where one cannot be made."""
        self._cursors = cursor
        given = compose([dict(plan.input_connectors), dict(plan.output_connectors)], _secret)
        inputs, outputs = given
        order.check(inputs)
        self._surroundings = _surroundings(config)
        tables = {stream_name(table): table for table in plan.tables}
        self._configs = inputs
        for name, endpoint in inputs.items():
            self.inputs[name] = self._input(name, endpoint, tables[endpoint["stream"]], self._surroundings)
            if endpoint["start_after"] is not None:
                self._waiting[name] = order.waits_for(name, inputs)
        for name, endpoint in outputs.items():
            self._make_output(name, endpoint, plan)

    def _make_output(self, name: str, endpoint: Mapping[str, Any], plan: Plan) -> None:
        [view] = [view for view in plan.views if stream_name(view) == endpoint["stream"]]
        if endpoint["send_snapshot"]:
            self._marks[name] = _mark(plan.output_connectors[name])
        self.outputs[name] = self._output(name, endpoint, view, self._surroundings)

    async def start(self) -> None:
        """Begin to run; outputs first, so that they miss nothing."""
        for name in self.outputs:
            await self._begin(name)
        self._reading = [asyncio.create_task(connector.run()) for connector in self.inputs.values()]
        self.look()

    async def exchange(self, plan: Plan, gone: Collection[str]) -> None:
        """Have the outputs be those of another plan; who wrote what is gone has been told to end."""
        ended = [name for name, output in self.outputs.items() if output.view.physical in gone]
        states = {}
        for name in ended:
            await self._writing.pop(name)
            states[name] = self.outputs.pop(name).endpoint.state()
            self._marks.pop(name, None)
            if name not in plan.output_connectors:
                self._metrics.outputs.pop(name, None)  # no others: who listens over HTTP is among them
        for name, endpoint in compose(dict(plan.output_connectors), _secret).items():
            if name not in self.outputs:
                await asyncio.to_thread(self._make_output, name, endpoint, plan)
                if name in states:
                    self.outputs[name].endpoint.resume(states[name])
                await self._begin(name)

    async def _begin(self, name: str) -> None:
        output, mark = self.outputs[name], self._marks.get(name)
        stored = self._steps.offsets.get(name)
        wanted = stored == OWED or (mark is not None and stored != mark)
        listening = await self._steps.listen(output.view.physical, output, snapshot=wanted)
        self._writing[name] = asyncio.create_task(self._write(name, listening.snapshot))

    async def stop_reading(self) -> None:
        """Take no more input."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        self._reading = []

    async def finish(self) -> None:
        """Write what has been delivered, after which nothing more may come, and let go of everything."""
        for output in self.outputs.values():
            output.end()
        await asyncio.gather(*self._writing.values())
        self._writing = {}

    async def _write(self, name: str, snapshot: "pa.RecordBatchReader | None") -> None:
        """Run an output; a snapshot comes first, and is not sent again by a later run of the pipeline."""
        output, mark = self.outputs[name], self._marks.get(name)
        if snapshot is not None:
            await output.write_snapshot(snapshot)
            if output.endpoint.fatal_error is None:
                with suppress(EngineError):  # the pipeline ends: it is sent again
                    await self._steps.alone(lambda writer: writer.mark(name, mark))
        await output.run()

    def states(self) -> dict[str, Any]:
        """Return what each connector goes on with; what no longer waits for others is among it."""
        inputs = {
            name: {
                "paused": connector.endpoint.paused,
                "configured": self._configs[name]["paused"],
                "waits": name in self._waiting,
                # What a transaction holds is read again where it is not committed.
                "ended": connector.endpoint.is_done and not self._metrics.transaction.is_open,
                "records": connector.endpoint.total_records,
                "bytes": connector.endpoint.total_bytes,
            }
            for name, connector in self.inputs.items()
        }
        return inputs | {name: output.endpoint.state() for name, output in self.outputs.items()}

    def resume(self, states: Mapping[str, Any]) -> None:
        """Go on with stored states; before `start`. A pause that was configured anew counts for more."""
        for name, connector in self.inputs.items():
            state = states.get(name)
            if state is None:
                continue
            connector.endpoint.resume(state)
            if state["configured"] == self._configs[name]["paused"] and not state["waits"]:
                connector.endpoint.paused = state["paused"]
                self._waiting.pop(name, None)
        for name, output in self.outputs.items():
            if name in states:
                output.endpoint.resume(states[name])

    async def prepared(self) -> dict[str, Any] | None:
        """Have outputs write all that they were told, while no step begins; return the states after it.

        None where that takes too long.
        """
        asked_now = not self._late
        if asked_now:
            self._late = {output.written() for output in self.outputs.values()}
        if self._late:
            _, self._late = await asyncio.wait(self._late, timeout=FLUSH)
        return None if self._late or not asked_now else self.states()

    async def keep(self) -> None:
        """Store the states, since somebody has changed one."""
        states = self.states()
        await self._steps.alone(lambda writer: writer.keep_states(states))

    def look(self) -> None:
        """Have each connector be active that should be: something it depends on may have changed."""
        for name, connector in self.inputs.items():
            first = self._waiting.get(name)
            if first is not None and all(self.inputs[other].endpoint.is_done for other in first):
                del self._waiting[name]
                connector.endpoint.paused = self._configs[name]["paused"]
            connector.gate.set(active=self._is_running() and not connector.endpoint.paused)

    def steer(self, name: str, *, paused: bool) -> None:
        """Pause or start an input connector."""
        self.inputs[name].endpoint.paused = paused
        self._waiting.pop(name, None)
        self.look()

    def _input(
        self, name: str, endpoint: Mapping[str, Any], table: Table, surroundings: Surroundings
    ) -> InputConnector:
        metrics = self._metrics.connect(name, endpoint["stream"])
        metrics.paused = endpoint["paused"] or endpoint["start_after"] is not None
        metrics.max_queued_records = endpoint["max_queued_records"]
        metrics.max_queued_bytes = endpoint.get("max_queued_bytes") or BYTES_PER_RECORD * max(
            1, metrics.max_queued_records
        )
        most = endpoint.get("max_batch_size") or endpoint.get("max_worker_batch_size")
        transport = registry.INPUTS[endpoint["transport"]["name"]]
        reading = None
        if transport.formats:
            reading = reader(name, endpoint["format"], table, most, self._cursor)
        elif endpoint["format"] is not None:
            raise _superfluous(name, endpoint)
        around = Surroundings(
            table,
            reading.splitter if reading is not None else None,
            surroundings.folders,
            surroundings.networks,
            most,
        )
        source = transport.load()(endpoint["transport"].get("config") or {}, around)
        parts = Input(table, metrics, source, reading, one_by_one=most is not None)
        return InputConnector(parts, self._steps, self.look)

    def _output(
        self, name: str, endpoint: Mapping[str, Any], view: View, surroundings: Surroundings
    ) -> OutputConnector:
        metrics = self._metrics.connect_output(name, endpoint["stream"])
        metrics.paused = endpoint["paused"]
        transport = registry.OUTPUTS[endpoint["transport"]["name"]]
        bytes_of = None
        if transport.formats:
            way = writing(name, endpoint["format"], view, endpoint["transport"]["name"])
            bytes_of = Writer(self._cursors(), view.physical, way)
        buffering = None
        if endpoint["enable_output_buffer"]:
            seconds = min(endpoint["max_output_buffer_time_millis"] / 1000, FOREVER)
            buffering = Buffering(endpoint["max_output_buffer_size_records"], seconds)
        sink = transport.load()(endpoint["transport"].get("config") or {}, surroundings)
        return OutputConnector(Output(view, metrics, sink, bytes_of, buffering), self._metrics)


def _superfluous(name: str, endpoint: Mapping[str, Any]) -> BadConfig:
    transport = endpoint["transport"]["name"]
    message = f"Connector '{name}' has a format, but {transport} brings typed rows: leave the format out"
    return BadConfig(message, "ConfigError.InputFormatNotSupported")


def _surroundings(config: EngineConfig) -> Surroundings:
    own = [Path(config.storage_config["path"]) / FILES] if config.storage_config is not None else []
    folders = [*own, *map(Path, config.connector_folders)]
    return Surroundings(folders=tuple(folders), networks=tuple(config.connector_networks))


def _mark(endpoint: Mapping[str, Any]) -> str:
    """Return what changes with the configuration of a connector; references to secrets stay references."""
    return hashlib.sha256(json.dumps(endpoint, sort_keys=True).encode()).hexdigest()


def _secret(reference: str) -> str:
    found = os.environ.get(secret_variable(reference))
    if found is None:
        raise BadConfig(f"${{{reference}}} in the configuration of a connector is not known to this process")
    return found

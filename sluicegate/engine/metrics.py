"""What the engine counts all the time; `observing` has how it is told."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sluicegate.engine import redaction
from sluicegate.engine.observing.timings import Timings
from sluicegate.engine.observing.transfers import Transfers
from sluicegate.engine.transactionstate import TransactionState

if TYPE_CHECKING:
    from sluicegate.engine.batch import Errors
    from sluicegate.engine.formats.config import InputFormat


@dataclass
class Endpoint:
    """One way into a table: the table and a format, shared by all requests that use them."""

    name: str
    stream: str
    number: int
    total_bytes: int = 0
    total_records: int = 0
    buffered_bytes: int = 0
    buffered_records: int = 0
    max_queued_bytes: int = 256 << 20
    max_queued_records: int = 1_000_000
    num_parse_errors: int = 0
    parse_errors: list[dict[str, Any]] = field(default_factory=list)
    num_transport_errors: int = 0
    transport_errors: list[dict[str, Any]] = field(default_factory=list)
    is_connector: bool = False
    """Whether the program has it, so that the pipeline is complete only once its input has ended."""
    paused: bool = False
    end_of_input: bool = False
    fatal_error: str | None = None
    unhealthy: str | None = None
    """Why the other side cannot be read at present."""

    SHOWN = 100
    """Errors of a kind kept of each endpoint."""

    @property
    def is_done(self) -> bool:
        """Tell whether all of the input has been taken by a step."""
        return self.end_of_input and not self.buffered_records

    @property
    def has_room(self) -> bool:
        """Tell whether more may wait: what is over the limits is at most one arrival."""
        records, size = self.buffered_records, self.buffered_bytes
        return records < self.max_queued_records and size < self.max_queued_bytes

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with the counters of an earlier process, and with the end of the input if it was reached."""
        self.total_records, self.total_bytes = state["records"], state["bytes"]
        self.end_of_input = state["ended"]

    def complain(self, errors: "Errors") -> None:
        """Keep the newest parse errors, count all."""
        for index, error in enumerate(errors.in_order(), start=self.num_parse_errors):
            self.parse_errors.append(_error(index, error["description"]))
        self.num_parse_errors += errors.count
        del self.parse_errors[: -self.SHOWN]

    def complain_of_transport(self, message: str) -> None:
        """Keep the newest errors of the transport, count all."""
        self.transport_errors.append(_error(self.num_transport_errors, message))
        self.num_transport_errors += 1
        del self.transport_errors[: -self.SHOWN]

    def describe(self, *, with_errors: bool) -> dict[str, Any]:
        """Return the endpoint as /stats lists it."""
        described: dict[str, Any] = {
            "endpoint_name": self.name,
            "config": {"stream": self.stream},
            "metrics": {
                "total_bytes": self.total_bytes + self.buffered_bytes,
                "total_records": self.total_records + self.buffered_records,
                "buffered_records": self.buffered_records,
                "buffered_bytes": self.buffered_bytes,
                "num_transport_errors": self.num_transport_errors,
                "num_parse_errors": self.num_parse_errors,
                "end_of_input": self.end_of_input,
            },
            "fatal_error": self.fatal_error,
            "health": self._health(),
            "paused": self.paused,
            "barrier": False,
            "completed_frontier": None,
        }
        if with_errors:
            errors = {"parse_errors": self.parse_errors, "transport_errors": self.transport_errors}
            described |= {key: list(kept) for key, kept in errors.items()}
        return described

    def _health(self) -> dict[str, Any] | None:
        if not self.is_connector:
            return None
        trouble = self.fatal_error or self.unhealthy
        return {"status": "Unhealthy" if trouble else "Healthy", "description": trouble}


@dataclass
class OutputEndpoint:
    """One way out of a view."""

    name: str
    stream: str
    transmitted_records: int = 0
    transmitted_bytes: int = 0
    queued_records: int = 0
    queued_batches: int = 0
    buffered_records: int = 0
    buffered_batches: int = 0
    steps: int = 0
    """The last step that has been written."""
    input_records: int = 0
    """Input records of all steps that have been written."""
    num_encode_errors: int = 0
    num_transport_errors: int = 0
    encode_errors: list[dict[str, Any]] = field(default_factory=list)
    transport_errors: list[dict[str, Any]] = field(default_factory=list)
    fatal_error: str | None = None
    paused: bool = False
    """Whether what comes is thrown away."""

    KEPT = ("transmitted_records", "transmitted_bytes", "steps", "input_records", "paused")
    """What outlives the process."""

    def state(self) -> dict[str, Any]:
        """Return what the next process goes on with."""
        return {key: getattr(self, key) for key in self.KEPT}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier process has left."""
        for key in self.KEPT:
            setattr(self, key, state[key])

    def lose(self, message: str) -> None:
        """Count something that was not sent, after which it goes on."""
        self.transport_errors.append(_error(self.num_transport_errors, message))
        self.num_transport_errors += 1
        del self.transport_errors[: -Endpoint.SHOWN]

    def fail(self, message: str, *, encoding: bool) -> None:
        """Count an error, after which nothing more is written."""
        self.fatal_error = message
        if encoding:
            self.encode_errors.append(_error(self.num_encode_errors, message))
            self.num_encode_errors += 1
        else:
            self.lose(message)

    def describe(self, *, with_errors: bool) -> dict[str, Any]:
        """Return the endpoint as /stats lists it."""
        health = {"status": "Unhealthy" if self.fatal_error else "Healthy", "description": self.fatal_error}
        described: dict[str, Any] = {
            "endpoint_name": self.name,
            "config": {"stream": self.stream},
            "metrics": {
                "transmitted_records": self.transmitted_records,
                "transmitted_bytes": self.transmitted_bytes,
                "queued_records": self.queued_records,
                "queued_batches": self.queued_batches,
                "buffered_records": self.buffered_records,
                "buffered_batches": self.buffered_batches,
                "num_encode_errors": self.num_encode_errors,
                "num_transport_errors": self.num_transport_errors,
                "total_processed_input_records": self.input_records,
                "total_processed_steps": self.steps,
                "memory": 0,
            },
            "fatal_error": self.fatal_error,
            "health": health,
            "paused": self.paused,
        }
        if with_errors:
            errors = {"encode_errors": self.encode_errors, "transport_errors": self.transport_errors}
            described |= {key: list(kept) for key, kept in errors.items()}
        return described


def _error(index: int, message: str) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "index": index,
        "tag": None,
        "message": redaction.own().text(message),
    }


class Metrics:
    """The counters of one process."""

    def __init__(self, incarnation: UUID) -> None:
        self.incarnation = incarnation
        self.endpoints: dict[str, Endpoint] = {}
        self.outputs: dict[str, OutputEndpoint] = {}
        self.steps = 0
        self.completed_steps = 0
        self.records = 0
        self.completed_records = 0
        self.input_bytes = 0
        self.buffered_records = 0
        self.buffered_bytes = 0
        self.held_records = 0
        """Records that a transaction holds until its commit."""
        self.held_bytes = 0
        self.transaction = TransactionState()
        self.pushes = Transfers()
        self.pulls = Transfers()
        self.step_times = Timings()
        self.view_times: dict[str, Timings] = {}
        """Of the views that steps have maintained, by name."""
        self.stalled_seconds = 0.0
        """In which no step began, since outputs had not taken what they were told."""
        self.started = time.time()
        self.begun = int(self.started)
        """When the state began that this process goes on with, in seconds since the epoch."""
        self._clock = time.monotonic()

    def endpoint(self, stream: str, reading: "InputFormat") -> Endpoint:
        """Return the endpoint of a table and a format, which is made when first used."""
        mark = hashlib.sha256(repr(reading).encode()).hexdigest()[:16]
        name = f"{stream}.api-ingress-{mark}"
        if name not in self.endpoints:
            self.endpoints[name] = Endpoint(name, stream, number=len(self.endpoints))
        return self.endpoints[name]

    def connect(self, name: str, stream: str) -> Endpoint:
        """Return the endpoint of an input connector."""
        self.endpoints[name] = Endpoint(name, stream, number=len(self.endpoints), is_connector=True)
        return self.endpoints[name]

    def connect_output(self, name: str, stream: str) -> OutputEndpoint:
        """Return the endpoint of an output connector."""
        self.outputs[name] = OutputEndpoint(name, stream)
        return self.outputs[name]

    def begin(self, steps: int, records: int, begun: int) -> None:
        """Go on from what the database holds."""
        self.begun = begun
        self.steps = self.completed_steps = steps
        self.records = self.completed_records = records

    def buffer(self, endpoint: Endpoint | None, records: int, size: int) -> None:
        """Count what waits to be taken by a step; negative numbers, what waits no more."""
        self.buffered_records += records
        self.buffered_bytes += size
        if endpoint is not None:
            endpoint.buffered_records += records
            endpoint.buffered_bytes += size

    def take(self, endpoint: Endpoint | None, records: int, size: int, errors: "Errors") -> None:
        """Count what a step has taken of an arrival, and what it could not take."""
        self.records += records
        self.input_bytes += size
        if endpoint is not None:
            endpoint.total_records += records
            endpoint.total_bytes += size
            endpoint.complain(errors)

    def hold(self, endpoint: Endpoint | None, records: int, size: int, errors: "Errors") -> None:
        """Count what a transaction holds of an arrival."""
        self.take(endpoint, records, size, errors)
        self.records -= records
        self.input_bytes -= size
        self.held_records += records
        self.held_bytes += size

    def release(self) -> None:
        """Count what a transaction has held as taken."""
        self.records += self.held_records
        self.input_bytes += self.held_bytes
        self.held_records = self.held_bytes = 0

    def measure(self, seconds: float, views: Mapping[str, float]) -> None:
        """Count how long a step took, and each view in it."""
        self.step_times.add(seconds)
        for view, spent in views.items():
            self.view_times.setdefault(view, Timings()).add(spent)

    def complete(self, steps: int, records: int) -> None:
        """Count what has been delivered to all who listen."""
        self.completed_steps = steps
        self.completed_records = records

    @property
    def uptime(self) -> float:
        """Return for how many seconds the process has run."""
        return time.monotonic() - self._clock

    @property
    def num_errors(self) -> int:
        """Return how many errors all endpoints have had."""
        read = (each.num_parse_errors + each.num_transport_errors for each in self.endpoints.values())
        written = (each.num_encode_errors + each.num_transport_errors for each in self.outputs.values())
        return sum(read) + sum(written)

    @property
    def is_complete(self) -> bool:
        """Tell whether all inputs have ended, and all that they brought is processed and delivered."""
        ended = all(each.is_done for each in self.endpoints.values() if each.is_connector)
        waiting = self.buffered_records + self.held_records
        return ended and waiting == 0 and self.completed_steps == self.steps

"""What the engine counts, and how `/stats` and `/metrics` tell it."""

import hashlib
import resource
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sluicegate.engine.records import Format


@dataclass
class Endpoint:
    """One way into a table: the table and a format, shared by all requests that use them."""

    name: str
    stream: str
    number: int
    completions: int = 0
    total_bytes: int = 0
    total_records: int = 0
    num_parse_errors: int = 0
    parse_errors: list[dict[str, Any]] = field(default_factory=list)

    SHOWN = 100
    """Parse errors kept of each endpoint."""

    def complain(self, errors: list[dict[str, Any]]) -> None:
        """Keep the newest parse errors, count all."""
        stamp = datetime.now(UTC).isoformat()
        for index, error in enumerate(errors, start=self.num_parse_errors):
            entry = {"timestamp": stamp, "index": index, "tag": None, "message": error["description"]}
            self.parse_errors.append(entry)
        self.num_parse_errors += len(errors)
        del self.parse_errors[: -self.SHOWN]

    def describe(self, *, with_errors: bool) -> dict[str, Any]:
        """Return the endpoint as /stats lists it."""
        described: dict[str, Any] = {
            "endpoint_name": self.name,
            "config": {"stream": self.stream},
            "metrics": {
                "total_bytes": self.total_bytes,
                "total_records": self.total_records,
                "buffered_records": 0,
                "buffered_bytes": 0,
                "num_transport_errors": 0,
                "num_parse_errors": self.num_parse_errors,
                "end_of_input": False,
            },
            "fatal_error": None,
            "health": None,
            "paused": False,
            "barrier": False,
            "completed_frontier": None,
        }
        if with_errors:
            described |= {"parse_errors": list(self.parse_errors), "transport_errors": []}
        return described


class Metrics:
    """The counters of one process."""

    def __init__(self, incarnation: UUID) -> None:
        self.incarnation = incarnation
        self.endpoints: dict[str, Endpoint] = {}
        self.steps = 0
        self.records = 0
        self.input_bytes = 0
        self.buffered_records = 0
        self.buffered_bytes = 0
        self.storage_bytes = 0
        self._started = time.time()
        self._clock = time.monotonic()

    def endpoint(self, stream: str, reading: Format) -> Endpoint:
        """Return the endpoint of a table and a format, which is made when first used."""
        mark = hashlib.sha256(repr(reading).encode()).hexdigest()[:16]
        name = f"{stream}.api-ingress-{mark}"
        if name not in self.endpoints:
            self.endpoints[name] = Endpoint(name, stream, number=len(self.endpoints))
        return self.endpoints[name]

    def step(self, records: int) -> None:
        """Count a step that processed some records."""
        if records:
            self.steps += 1
            self.records += records

    @property
    def num_errors(self) -> int:
        """Return how many records could not be read."""
        return sum(endpoint.num_parse_errors for endpoint in self.endpoints.values())

    def stats(self, state: str, *, with_errors: bool, has_storage: bool) -> dict[str, Any]:
        """Return the body of /stats."""
        lacking = None if has_storage else ["StorageRequired"]
        inputs = [endpoint.describe(with_errors=with_errors) for endpoint in self.endpoints.values()]
        return {
            "global_metrics": {"state": state, **_CONSTANT, **self._measured()},
            "suspend_error": {"Permanent": lacking} if lacking else None,
            "inputs": inputs,
            "outputs": [],
            "checkpoint_activity": {"status": "idle"} if has_storage else None,
            "permanent_checkpoint_errors": lacking,
        }

    def prometheus(self) -> str:
        """Return the counters as Prometheus reads them."""
        lines = []
        for name, kind, value in (
            ("records_processed_total", "counter", self.records),
            ("records_input_total", "counter", self.records),
            ("input_errors_total", "counter", self.num_errors),
            ("steps_total", "counter", self.steps),
            ("process_resident_memory_bytes", "gauge", rss_bytes()),
            ("storage_bytes", "gauge", self.storage_bytes),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"

    def _measured(self) -> dict[str, Any]:
        uptime = int((time.monotonic() - self._clock) * 1000)
        return {
            "rss_bytes": rss_bytes(),
            "cpu_msecs": int(time.process_time() * 1000),
            "uptime_msecs": uptime,
            "start_time": int(self._started),
            "initial_start_time": int(self._started),
            "incarnation_uuid": str(self.incarnation),
            "storage_bytes": self.storage_bytes,
            "storage_mb_secs": 0,
            "runtime_elapsed_msecs": uptime,
            "buffered_input_records": self.buffered_records,
            "buffered_input_bytes": self.buffered_bytes,
            "total_input_records": self.records + self.buffered_records,
            "total_input_bytes": self.input_bytes,
            "total_processed_records": self.records,
            "total_processed_bytes": self.input_bytes,
            "total_completed_records": self.records,
            "output_stall_msecs": 0,
            "total_initiated_steps": self.steps,
            "total_completed_steps": self.steps,
            "pipeline_complete": self.buffered_records == 0,
        }


_CONSTANT: dict[str, Any] = {
    "bootstrap_in_progress": False,
    "transaction_status": "NoTransaction",
    "transaction_id": 0,
    "transaction_msecs": None,
    "transaction_records": None,
    "commit_progress": None,
    "transaction_initiators": {
        "transaction_id": None,
        "initiated_by_api": None,
        "initiated_by_connectors": {},
    },
    "concurrent_bootstrap_phase": "Inactive",
    "concurrent_bootstrap_progress": None,
    "memory_pressure": "low",
    "memory_pressure_epoch": 0,
}


def rss_bytes() -> int:
    """Return how much memory the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

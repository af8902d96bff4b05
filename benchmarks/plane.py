"""A control plane to measure: `sluicegate dev` on free ports in a temporary folder, and pipelines on it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
from temporalio.client import Client

from benchmarks.anatomy import Call, Milestone, anatomy
from benchmarks.measure import Figure
from benchmarks.wire import Wire
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

READY_WITHIN = 60.0
SETTLED_WITHIN = 1800.0
LOOK_EVERY = 0.01
PARTS = ("temporal", "worker", "api")
STUB = Path(__file__).with_name("stub.py")
PROGRAM = """
CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW summary AS SELECT COUNT(*) AS how_many FROM numbers;
"""


@dataclass
class Plane:
    """A control plane that runs."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def described(self) -> dict[str, Any]:
        """Its `dev.json`."""
        return dict(json.loads((self.home / "dev.json").read_text()))

    @property
    def temporal_address(self) -> str:
        """Where Temporal answers."""
        return str(self.described["temporal_address"])

    @property
    def url(self) -> str:
        """Where its API answers."""
        return str(self.described["api_url"])

    async def client(self) -> Client:
        """A client of its Temporal server."""
        return await Client.connect(self.temporal_address, plugins=[temporal.PLUGIN])

    def wire(self) -> Wire:
        """A caller of its API."""
        return Wire(self.url)

    def part(self, name: str) -> psutil.Process:
        """The process of `temporal`, `worker` or `api`."""
        return psutil.Process(self.described["children"][name])

    def spent_by(self, name: str) -> float:
        """The processor time in seconds that a part has taken so far."""
        return sum(self.part(name).cpu_times()[:2])

    def spent(self) -> dict[str, float]:
        """The processor time in seconds that each part has taken so far, and the pipelines that are there."""
        taken = {name: self.spent_by(name) for name in PARTS} | {"pipelines": 0.0}
        for process in pipelines_of(self.home):
            with suppress(psutil.NoSuchProcess):
                taken["pipelines"] += sum(process.cpu_times()[:2])
        return taken

    def run(self) -> None:
        """Start it, for the first time or again, and wait until it is ready."""
        ports = {f"SLUICEGATE_{part}_PORT": "0" for part in ("API", "TEMPORAL", "TEMPORAL_UI")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.operate.dev"],
            env={**os.environ, **ports, **self.settings, "SLUICEGATE_HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(FileNotFoundError):
                if self.described["ready"]:
                    return
            time.sleep(0.02)
        raise RuntimeError("the control plane did not come up; run `sluicegate dev` to see why")

    def kill(self) -> None:
        """Kill all of it at once, as a power cut would."""
        running = [self.process.pid] if self.process else []
        for pid in (*running, *self.described["children"].values()):
            os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
        (self.home / "dev.json").unlink()  # it says that it is ready

    def end(self) -> None:
        """End it, kindly, and whatever pipelines it has left."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        for process in pipelines_of(self.home):
            with suppress(psutil.NoSuchProcess):
                process.kill()


class ProcessorTime:
    """Who takes the processors during what is measured."""

    def __init__(self, plane: Plane) -> None:
        """Look at all parts of a control plane, and at its pipelines."""
        self._plane = plane
        self._before: dict[str, float] = {}
        self._taken: dict[str, list[float]] = {part: [] for part in (*PARTS, "pipelines")}

    def begin(self) -> None:
        """Count from now on."""
        self._before = self._plane.spent()

    def end(self, calls: int) -> None:
        """Count until now, by each of so many calls."""
        for part, seconds in self._plane.spent().items():
            self._taken[part].append((seconds - self._before[part]) * 1e3 / calls)

    def figures(self, whole: str) -> list[Figure]:
        """A figure for each."""
        return [
            Figure(f"{whole}, of it: processor time of {part}", took) for part, took in self._taken.items()
        ]


def pipelines_of(home: Path) -> list[psutil.Process]:
    """The processes of pipelines of a data folder."""
    folder = str(home / "pipelines")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if folder in " ".join(process.info["cmdline"] or [])
    ]


@contextmanager
def control_plane(**settings: str) -> Iterator[Plane]:
    """Run a control plane with a file database for the length of the block."""
    with TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        plane = Plane(Path(folder), settings)
        try:
            plane.run()
            yield plane
        finally:
            plane.end()


@contextmanager
def stub_plane() -> Iterator[Plane]:
    """Run one whose pipelines are stubs, which cost no more than a process does."""
    with control_plane(
        SLUICEGATE_RUNTIME_COMMAND=f"{sys.executable} -I -S {STUB}", SLUICEGATE_USER_PER_PIPELINE="false"
    ) as plane:
        yield plane


class Pipeline:
    """A compiled pipeline to measure."""

    def __init__(self, plane: Plane) -> None:
        """Create it and wait until it is compiled."""
        self.name = f"bench-{uuid4().hex[:8]}"
        self._plane = plane
        self._wire = plane.wire()
        create(self._wire, self.name)
        self.wait("program_status", "Success")

    def post(self, verb: str) -> None:
        """Call a verb that must be accepted."""
        self._wire.ask("POST", f"/v0/pipelines/{self.name}/{verb}")

    def shown(self) -> bytes:
        """Look at it."""
        return self._wire.ask("GET", f"/v0/pipelines/{self.name}?selector=status")

    def wait(self, key: str, value: str) -> None:
        """Wait for a status; the looks are spaced so that they do not compete with what they wait for."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if json.loads(self.shown())[key] == value:
                return
            time.sleep(LOOK_EVERY)
        raise RuntimeError(f"{self.name} never had {key} {value}")

    def anatomy(self, way: Sequence[Milestone], whole: str, calls: Sequence[Call]) -> list[Figure]:
        """Divide calls by what its workflow noted of them, see `benchmarks.anatomy`."""

        async def divided() -> list[Figure]:
            workflow_id = temporal.pipeline_workflow_id(DEFAULT_TENANT, self.name)
            return await anatomy(await self._plane.client(), workflow_id, way, whole, calls)

        return asyncio.run(divided())

    def remove(self) -> None:
        """Stop, clear and delete it."""
        self.post("stop?force=true")
        self.wait("deployment_status", "Stopped")
        self.post("clear")
        self.wait("storage_status", "Cleared")
        self._wire.ask("DELETE", f"/v0/pipelines/{self.name}")


def each(do: Callable[[str], object], names: Iterable[str], at_once: int = 16) -> None:
    """Do something for many names, so many at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(do, names))


def create(api: Wire, name: str, program: str = PROGRAM) -> None:
    """Create a pipeline."""
    api.insist("POST", "/v0/pipelines", {"name": name, "program_code": program}, **{"Idempotency-Key": name})


def statuses(api: Wire) -> list[dict[str, Any]]:
    """List all pipelines."""
    return list(api.read("/v0/pipelines?selector=status"))


def settled(api: Wire, key: str, value: str, names: set[str]) -> None:
    """Wait until all of the pipelines named show a value."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while (began := time.monotonic()) < deadline:
        there = {shown["name"] for shown in statuses(api) if shown[key] == value}
        if names <= there:
            return
        # To list thousands is work for the server, which is not to take up what is measured.
        time.sleep(min(max(0.3, 4 * (time.monotonic() - began)), 10.0))
    raise RuntimeError(f"{len(names - there)} pipelines never had {key} {value}")


def reached(api: Wire, key: str, value: str, names: Iterable[str]) -> None:
    """Wait until all of the pipelines named show a value, at whichever is not there yet: noticed at once, and
    less work for the server than lists of all. Raises RuntimeError where one ended with an error."""
    began = time.monotonic()
    deadline = began + SETTLED_WITHIN
    for name in names:
        while (shown := api.read(f"/v0/pipelines/{name}?selector=status"))[key] != value:
            if shown["deployment_error"] or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not come to {key} {value}: {shown['deployment_error']}")
            time.sleep(max(5 * LOOK_EVERY, (time.monotonic() - began) / 100))


def command(api: Wire, name: str, verb: str) -> None:
    """Give a command that must be accepted."""
    api.insist("POST", f"/v0/pipelines/{name}/{verb}")

"""The whole control plane as processes of its own, as a user starts it, in a temporary folder."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal
from tests.e2e.patient import Patient

SOURCE = Path(__file__).parents[2]
PROGRAM = """
CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, word VARCHAR) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW summary AS SELECT COUNT(*) AS how_many, SUM(n) AS total FROM numbers;
"""

Eventually = Callable[..., Awaitable[Any]]


def engines(home: Path, pipeline_id: str = "") -> list[psutil.Process]:
    """The pipelines' processes of a data folder, or those of one pipeline."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        ours = any(str(home) in word for word in words) and any(pipeline_id in word for word in words)
        if "sluicegate.engine" in words and ours:
            found.append(process)
    return found


def end_engines(home: Path) -> None:
    """End what pipelines' processes a data folder has."""
    for engine in engines(home):
        engine.kill()


class ControlPlane:
    """One running `sluicegate dev`."""

    def __init__(self, home: Path) -> None:
        """Know it by its data folder."""
        self.home = home

    @property
    def described(self) -> dict[str, Any]:
        """What it says of itself."""
        return dict(json.loads((self.home / "dev.json").read_text()))

    @property
    def url(self) -> str:
        """Where its API is."""
        return str(self.described["api_url"])

    def kill(self, part: str) -> int:
        """Kill one of its processes as a power cut would; returns the pid that it had."""
        pid = int(self.described["children"][part])
        os.kill(pid, signal.SIGKILL)
        return pid

    def engines(self, pipeline_id: str = "") -> list[psutil.Process]:
        """The pipelines' processes of this data folder, or those of one pipeline."""
        return engines(self.home, pipeline_id)

    def engine(self, pipeline_id: str) -> psutil.Process:
        """The one process of a pipeline."""
        [process] = self.engines(pipeline_id)
        return process


class Pipeline:
    """One pipeline, over HTTP."""

    def __init__(self, api: httpx.AsyncClient, name: str, eventually: Eventually) -> None:
        """Name it."""
        self.api = api
        self.name = name
        self.path = f"/v0/pipelines/{name}"
        self._eventually = eventually

    async def create(self, program: str = PROGRAM, **more: Any) -> dict[str, Any]:
        """Create it."""
        body = {"name": self.name, "program_code": program, **more}
        answer = await self.api.post("/v0/pipelines", json=body, headers={"Idempotency-Key": self.name})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def post(self, verb: str, **parameters: Any) -> httpx.Response:
        """Call a verb."""
        return await self.api.post(f"{self.path}/{verb}", params=parameters)

    async def get(self, selector: str = "status") -> dict[str, Any]:
        """Look at it."""
        answer = await self.api.get(self.path, params={"selector": selector})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def reaches(self, status: str, within: float = 30) -> dict[str, Any]:
        """Wait for a deployment status; an error that ends it is shown at once."""

        async def there() -> dict[str, Any] | None:
            seen = await self.get()
            return seen if seen["deployment_status"] == status else None

        return dict(await self._eventually(there, within))

    async def started(self) -> dict[str, Any]:
        """Start it and wait until it runs."""
        assert (await self.post("start")).status_code == 202
        return await self.reaches("Running")

    async def remove(self) -> None:
        """Stop, clear and delete it, whatever state it is in."""
        await self.post("stop", force="true")
        await self.reaches("Stopped")
        await self.post("clear")

        async def deleted() -> bool:
            return (await self.api.delete(self.path)).status_code in (200, 404)

        await self._eventually(deleted)


def environment(home: Path) -> dict[str, str]:
    """Settings of a control plane on free ports."""
    ports = {f"SLUICEGATE_{name}_PORT": "0" for name in ("API", "TEMPORAL", "TEMPORAL_UI")}
    return {**os.environ, **ports, "SLUICEGATE_HOME": str(home)}


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, kindly first."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Module:
    """One of our processes, `python -m …`, which may be ended and run again under the same settings."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        """Run it."""
        self._command = [sys.executable, "-m", name]
        self._environment = environment
        self._log = log
        self.run()

    def run(self) -> None:
        """Run it, for the first time or again."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, cwd=SOURCE, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it, kindly first."""
        end(self.process)


class FrontEnd(Module):
    """One `python -m api`."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        """Run it on a free port, which stays its own."""
        with socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        super().__init__("api", {**environment, "SLUICEGATE_API_PORT": str(port)}, log)


@dataclass(frozen=True)
class TwoFrontEnds:
    """Two front ends and a worker of one Temporal server."""

    client: Client
    front_ends: list[FrontEnd]
    apis: list[httpx.AsyncClient]
    home: Path


@asynccontextmanager
async def two_front_ends(
    server: WorkflowEnvironment, home: Path, eventually: Eventually, **settings: str
) -> AsyncIterator[TwoFrontEnds]:
    """Run them; on the way out everything that they left is ended."""
    address = server.client.service_client.config.target_host
    environment = {**os.environ, "SLUICEGATE_HOME": str(home), "TEMPORAL_ADDRESS": address, **settings}
    async with AsyncExitStack() as parts:
        parts.callback(end_engines, home)
        worker = Module("worker", environment, home.with_suffix(".worker"))
        parts.callback(worker.end)
        front_ends, apis = [], []
        for number in range(2):
            front_ends.append(FrontEnd(environment, home.with_suffix(f".api{number}")))
            parts.callback(front_ends[-1].end)
            client = httpx.AsyncClient(base_url=front_ends[-1].url, timeout=60, transport=Patient())
            apis.append(await parts.enter_async_context(client))

        async def healthy() -> bool:
            return all([(await api.get("/v0/cluster_healthz")).status_code == 200 for api in apis])

        await eventually(healthy, 60)
        yield TwoFrontEnds(server.client, front_ends, apis, home)


@pytest.fixture(scope="module")
async def stock(
    tmp_path_factory: pytest.TempPathFactory, eventually: Eventually
) -> AsyncIterator[TwoFrontEnds]:
    """Two front ends and a worker on a Temporal server with stock flags."""
    home = tmp_path_factory.mktemp("stock") / "home"
    async with (
        await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
            plugins=[temporal.PLUGIN],
            dev_server_log_level="error",
            dev_server_database_filename=str(home.with_suffix(".db")),
        ) as server,
        two_front_ends(server, home, eventually) as running,
    ):
        yield running


@pytest.fixture(scope="module")
async def tuned(
    temporal_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually
) -> AsyncIterator[TwoFrontEnds]:
    """Two front ends and a worker on a server with our flags that suggests a new history after 40 events."""
    home = tmp_path_factory.mktemp("tuned") / "home"
    async with two_front_ends(temporal_server, home, eventually) as running:
        yield running


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """`sluicegate dev`, ready; on the way out everything it left is ended."""
    home = tmp_path_factory.mktemp("sluicegate")
    with (home / "dev.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.operate.dev"],
            env=environment(home),
            cwd=SOURCE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    plane = ControlPlane(home)
    try:
        asyncio.run(_ready(plane, process))
        yield plane
    finally:
        end(process)
        end_engines(home)


async def _ready(plane: ControlPlane, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(50):
        while True:
            assert process.poll() is None, (plane.home / "dev.out").read_text()
            with suppress(FileNotFoundError):
                if plane.described["ready"]:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its API that waits as long as it takes."""
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=60, transport=Patient()) as client:
        yield client


@pytest.fixture
async def pipeline(api: httpx.AsyncClient, eventually: Eventually) -> AsyncIterator[Pipeline]:
    """A pipeline that exists for the length of a test."""
    made = Pipeline(api, f"p-{uuid4().hex[:8]}", eventually)
    await made.create()
    yield made
    await made.remove()


@pytest.fixture
def pipeline_type() -> type[Pipeline]:
    """See `Pipeline`."""
    return Pipeline


@pytest.fixture
def engines_of() -> Callable[..., list[psutil.Process]]:
    """See `engines`."""
    return engines


@pytest.fixture
def engine_environment() -> Callable[[Path], dict[str, str]]:
    """See `environment`."""
    return environment


@pytest.fixture
def plane_of() -> Callable[..., ControlPlane]:
    """The control plane of a data folder and a process, once it is ready."""

    def ready(home: Path, process: subprocess.Popen[bytes]) -> ControlPlane:
        plane = ControlPlane(home)
        asyncio.run(_ready(plane, process))
        return plane

    return ready


@pytest.fixture
def end_process() -> Callable[[subprocess.Popen[bytes]], None]:
    """See `end`."""
    return end

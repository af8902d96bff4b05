"""The whole control plane as processes of its own, as a user starts it, in a temporary folder."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

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
        answer = await self.api.post(
            "/v0/pipelines", json={"name": self.name, "program_code": program, **more}
        )
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


@pytest.fixture(scope="session")
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
        for engine in plane.engines():
            engine.kill()


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
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=60) as client:
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

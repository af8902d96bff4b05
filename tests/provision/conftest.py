"""Pipelines made of a stub program; whatever a test started is ended when it is over."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.lifecycle.effects import Deployment
from sluicegate.lifecycle.status import Initial
from sluicegate.lifecycle.values import Packed
from sluicegate.provision import Provisioner
from sluicegate.provision.pool import Pool, PoolSettings
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from tests.provision.workers import COMMAND, FOREIGN

BOUND = 20.0
PATIENCE = 45.0
"""Seconds for what gets ready at a low priority."""

DeploymentMaker = Callable[..., Deployment]
Processes = Callable[[str], list[int]]
Until = Callable[..., Awaitable[Any]]


async def _until(condition: Callable[[], Any], *, within: float = BOUND) -> Any:
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


@pytest.fixture
def until() -> Until:
    """Wait for a condition (a function or coroutine function) and return its first true value."""
    return _until


@pytest.fixture
def deployment_of() -> DeploymentMaker:
    """Make deployments of one pipeline, or of several."""
    pipeline_id = str(uuid4())

    def make(
        generation: int = 1, *, pipeline: str = pipeline_id, mode: str = "", **config: Any
    ) -> Deployment:
        return Deployment(
            pipeline_id=pipeline,
            generation=generation,
            workflow_id=f"pipeline/tenant/{pipeline}",
            name="example",
            deployment_id=str(uuid4()),
            program_version=1,
            initial=Initial.RUNNING,
            runtime_config={"storage": {}, "env": {"STUB_MODE": mode}} | config,
            plan=Packed.of_json({"steps": []}),
            deadline=datetime.now(UTC) + timedelta(minutes=1),
        )

    return make


def _processes(pipeline_id: str) -> list[int]:
    """Find every process with a pipeline's id in its environment or command line (shims too)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                told = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
                here = os.readlink(f"/proc/{name}/cwd")
                if pipeline_id.encode() in told or pipeline_id in here:
                    found.append(int(name))
    return found


@pytest.fixture
def processes_of() -> Processes:
    """List the processes of a pipeline, in whichever way they can be recognised."""
    return _processes


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The folder of a host; processes started in it are gone afterwards."""
    path = tmp_path / "home"
    yield path
    pipelines = path / "pipelines"
    deadline = time.monotonic() + BOUND
    while left := [pid for name in _names(pipelines) for pid in _processes(name)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """A warm pool for the stub, full, and filled again as soon as it is used."""
    made = Pool(PoolSettings(COMMAND, quiet=0.0))
    keeping = asyncio.create_task(made.keep())
    await _until(lambda: made.ready == 2, within=PATIENCE)
    yield made
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


@pytest.fixture
def cold(home: Path) -> ProcessProvisioner:
    """A process provisioner that runs the stub, in place of what launches it."""
    return ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(grace=1.0))


@pytest.fixture
def foreign(home: Path) -> ProcessProvisioner:
    """The same with a program that could be any: what launches it replaces itself by it."""
    return ProcessProvisioner(home, "host-1", FOREIGN, ProcessSettings(grace=1.0))


@pytest.fixture
def warm(home: Path, pool: Pool) -> ProcessProvisioner:
    """The same with a warm pool."""
    return ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(grace=1.0, pool=pool))


@pytest.fixture(params=["foreign", "warm"])
def process(request: pytest.FixtureRequest) -> ProcessProvisioner:
    """The process provisioner in the two ways that differ most; see `cold` for the one between."""
    found: ProcessProvisioner = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["foreign", "cold", "warm"])
def provisioner(request: pytest.FixtureRequest) -> Provisioner:
    """Every provisioner in turn."""
    found: Provisioner = request.getfixturevalue(request.param)
    return found

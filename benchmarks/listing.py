"""What a list of two thousand pipelines costs, beside the bare list RPC that it is made from, and how soon
one process of the API shows what another has created."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client

from api.listing import FRESH_FOR
from benchmarks.measure import AtMost, Figure, Times
from benchmarks.plane import READY_WITHIN, Plane, create, each, settled, statuses
from benchmarks.wire import Wire
from sluicegate import temporal

FEW, MANY = 300, 2_000
SAMPLES = 15
WARM_UP = 2
NEW = 20
QUERY = "WorkflowType = 'Pipeline' AND ExecutionStatus = 'Running'"


def measure(plane: Plane) -> list[Figure]:
    """List them all: past the moment for which a list is kept, in turn with the bare call; again at once;
    and after each of a few creations, here and through another process."""
    names = [f"listed-{number:04}" for number in range(MANY)]
    api = plane.wire()
    with asyncio.Runner() as runner:
        each(lambda name: create(api, name, ""), names[:FEW])
        settled(api, "program_status", "Success", set(names[:FEW]))
        elsewhere = _seen_elsewhere(plane, api)
        each(lambda name: create(api, name, ""), names[FEW:])
        settled(api, "program_status", "Success", set(names))
        client = runner.run(Client.connect(plane.temporal_address, plugins=[temporal.PLUGIN]))
        cold: list[float] = []
        again: list[float] = []
        bare: list[float] = []
        for number in range(WARM_UP + SAMPLES):
            time.sleep(FRESH_FOR)
            began = time.perf_counter()
            _listed(api)
            listed = time.perf_counter()
            _listed(api)
            repeated = time.perf_counter()
            runner.run(_list(client))
            ended = time.perf_counter()
            if number >= WARM_UP:
                cold.append((listed - began) * 1e3)
                again.append((repeated - listed) * 1e3)
                bare.append((ended - repeated) * 1e3)
    return [
        Figure(f"list of {MANY}, selector=status", cold, "bare list RPC", bare, [Times(1.3)]),
        Figure(f"list of {MANY}, again within a second", again, aims=[AtMost(60)]),
        Figure(f"created beside {FEW}, until another process lists it", elsewhere, aims=[AtMost(1_000, 100)]),
    ]


def _seen_elsewhere(plane: Plane, api: Wire) -> list[float]:
    """Milliseconds from the answer to a creation until the list of another process has it; the process that
    created it must list it at once."""
    found = []
    with _another(plane) as other:
        for number in range(NEW):
            name = f"new-{number}"
            create(api, name, "")
            created = time.perf_counter()
            if name not in {shown["name"] for shown in statuses(api)}:
                raise RuntimeError(f"{name} was not listed by the process that created it")
            while name not in {shown["name"] for shown in statuses(other)}:
                time.sleep(0.01)
            found.append((time.perf_counter() - created) * 1e3)
            api.ask("DELETE", f"/v0/pipelines/{name}")
    return found


@contextmanager
def _another(plane: Plane) -> Iterator[Wire]:
    """Another process of the API."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": plane.temporal_address,
        "SLUICEGATE_HOME": str(plane.home),
        "SLUICEGATE_API_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stdout=subprocess.DEVNULL)
    try:
        other = Wire(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(other) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield other
        other.close()
    finally:
        process.terminate()
        process.wait()


def _answers(other: Wire) -> bool:
    try:
        return other.once("GET", "/healthz").status == 200
    except OSError:
        return False


def _listed(wire: Wire) -> None:
    """Have the list; that it is whole can be told from how often a key is in it."""
    found = wire.ask("GET", "/v0/pipelines?selector=status").count(b'"deployment_status":')
    if found != MANY:
        raise RuntimeError(f"{found} of {MANY} pipelines were listed")


async def _list(client: Client) -> None:
    found, token = 0, b""
    while found < MANY:
        request = ListWorkflowExecutionsRequest(
            namespace=client.namespace, query=QUERY, page_size=1000, next_page_token=token
        )
        answer = await client.workflow_service.list_workflow_executions(request)
        found, token = found + len(answer.executions), answer.next_page_token
        if not token and found < MANY:
            raise RuntimeError(f"{found} of {MANY} workflows were listed")

"""What a list of three hundred pipelines costs, beside the bare list RPC that it is made from."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client

from api.listing import FRESH_FOR
from benchmarks.measure import Figure
from sluicegate import temporal

MANY = 300
AT_ONCE = 8
SAMPLES = 30
WARM_UP = 3
QUERY = "WorkflowType = 'Pipeline' AND ExecutionStatus = 'Running'"


def measure(described: dict[str, Any], api: httpx.Client) -> Figure:
    """List them all, each time past the moment for which a list is kept, in turn with the bare call."""
    names = [f"listed-{number:03}" for number in range(MANY)]
    with ThreadPoolExecutor(AT_ONCE) as pool, asyncio.Runner() as runner:
        list(pool.map(lambda name: _create(api, name), names))
        client = runner.run(Client.connect(described["temporal_address"], plugins=[temporal.PLUGIN]))
        measured, bare = [], []
        for number in range(WARM_UP + SAMPLES):
            time.sleep(FRESH_FOR)
            started = time.perf_counter()
            found = api.get("/v0/pipelines", params={"selector": "status"}).json()
            listed = time.perf_counter()
            runner.run(_list(client))
            ended = time.perf_counter()
            if len(found) != MANY:
                raise RuntimeError(f"{len(found)} of {MANY} pipelines were listed")
            if number >= WARM_UP:
                measured.append((listed - started) * 1e3)
                bare.append((ended - listed) * 1e3)
        list(pool.map(lambda name: api.delete(f"/v0/pipelines/{name}").raise_for_status(), names))
    return Figure(f"list of {MANY}, selector=status", "bare list RPC", measured, bare, aim=3.0)


def _create(api: httpx.Client, name: str) -> None:
    answer = api.post("/v0/pipelines", json={"name": name, "program_code": ""})
    answer.raise_for_status()
    compiled = {"wait_for": "compiled", "timeout": "2m", "selector": "status"}
    api.get(f"/v0/pipelines/{name}", params=compiled, timeout=130).raise_for_status()


async def _list(client: Client) -> None:
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=QUERY, page_size=1000)
    answer = await client.workflow_service.list_workflow_executions(request)
    if len(answer.executions) < MANY:
        raise RuntimeError(f"{len(answer.executions)} of {MANY} workflows were listed")

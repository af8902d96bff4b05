"""What it costs to have a start admitted: `POST /start` beside the bare signal RPC of the same server."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client

from benchmarks.measure import Figure
from benchmarks.plane import Pipeline
from sluicegate import temporal

SAMPLES = 300
WARM_UP = 20


def measure(described: dict[str, Any], api: httpx.Client) -> Figure:
    """Start a running pipeline again and again, in turn with bare signals to a workflow nobody works on."""
    pipeline = Pipeline(api)
    pipeline.post("start")
    pipeline.wait("deployment_status", "Running")
    with asyncio.Runner() as runner:
        floor = runner.run(_Floor.at(described["temporal_address"]))
        measured, bare = [], []
        for number in range(WARM_UP + SAMPLES):
            started = time.perf_counter()
            pipeline.post("start")
            admitted = time.perf_counter()
            runner.run(floor.signal())
            signalled = time.perf_counter()
            if number >= WARM_UP:
                measured.append((admitted - started) * 1e3)
                bare.append((signalled - admitted) * 1e3)
        runner.run(floor.end())
    pipeline.remove()
    return Figure("admission of POST /start", "bare signal RPC", measured, bare, aim=6.0)


class _Floor:
    def __init__(self, client: Client, workflow_id: str) -> None:
        self._client = client
        self._workflow_id = workflow_id

    @classmethod
    async def at(cls, address: str) -> "_Floor":
        client = await Client.connect(address, plugins=[temporal.PLUGIN])
        workflow_id = f"floor-{uuid4()}"
        await client.start_workflow("Nobody", id=workflow_id, task_queue="nobody")
        return cls(client, workflow_id)

    async def signal(self) -> None:
        request = SignalWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=self._workflow_id),
            signal_name="start",
            request_id=str(uuid4()),
        )
        await self._client.workflow_service.signal_workflow_execution(request)

    async def end(self) -> None:
        await self._client.get_workflow_handle(self._workflow_id).terminate()

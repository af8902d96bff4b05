"""How long after a transition its watcher has it, beside the bare describe RPC that notices it."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client

from benchmarks.measure import Figure
from benchmarks.plane import Pipeline
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

SAMPLES = 60
WITHIN = 250.0
"""Milliseconds that a transition may take to its watcher."""


def measure(described: dict[str, Any], api: httpx.Client) -> Figure:
    """Cause a transition, wait for it on the stream, look up the pipeline by a bare call."""
    pipeline = Pipeline(api)
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
    measured, bare = [], []
    with asyncio.Runner() as runner, api.stream("GET", f"/v0/pipelines/{pipeline.name}/watch") as stream:
        client = runner.run(Client.connect(described["temporal_address"], plugins=[temporal.PLUGIN]))
        lines = (line for line in stream.iter_lines() if line.startswith("data: "))
        next(lines)
        for _ in range(SAMPLES):
            pipeline.post("dismiss_error")
            event = json.loads(next(lines).removeprefix("data: "))
            seen = datetime.now(UTC)
            recorded = datetime.fromisoformat(event["recorded_at"])
            measured.append((seen - recorded).total_seconds() * 1e3)
            started = time.perf_counter()
            runner.run(_describe(client, workflow))
            bare.append((time.perf_counter() - started) * 1e3)
    pipeline.remove()
    return Figure("transition until its watcher has it", "bare describe RPC", measured, bare, aim_ms=WITHIN)


async def _describe(client: Client, workflow: str) -> None:
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow)
    )
    await client.workflow_service.describe_workflow_execution(request)

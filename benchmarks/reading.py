"""What a look at one pipeline costs, also while it is being commanded, beside the bare describe RPC."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client

from benchmarks.measure import Figure, Times
from benchmarks.plane import Pipeline, Plane
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

SAMPLES = 300
WARM_UP = 20


def measure(plane: Plane) -> list[Figure]:
    """Look at a pipeline in turn with bare calls: left alone first, then told to start all the time."""
    with asyncio.Runner() as runner:
        client = runner.run(plane.client())
        pipeline, commanding = Pipeline(plane), plane.wire()
        pipeline.post("start")
        pipeline.wait("deployment_status", "Running")
        quiet = _looks(runner, client, pipeline)
        over = threading.Event()

        def command() -> None:
            while not over.is_set():
                commanding.ask("POST", f"/v0/pipelines/{pipeline.name}/start")

        with ThreadPoolExecutor(1) as beside:
            commands = beside.submit(command)
            try:
                busy = _looks(runner, client, pipeline)
            finally:
                over.set()
            commands.result()
        pipeline.remove()
    return [
        Figure("GET status", quiet[0], "bare describe RPC", quiet[1], [Times(2.0)]),
        Figure("GET status while it is commanded", busy[0], "bare describe RPC", busy[1], [Times(2.0)]),
    ]


def _looks(runner: asyncio.Runner, client: Client, pipeline: Pipeline) -> tuple[list[float], list[float]]:
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
    measured, bare = [], []
    for number in range(WARM_UP + SAMPLES):
        started = time.perf_counter()
        pipeline.shown()
        shown = time.perf_counter()
        runner.run(describe(client, workflow))
        described = time.perf_counter()
        if number >= WARM_UP:
            measured.append((shown - started) * 1e3)
            bare.append((described - shown) * 1e3)
    return measured, bare


async def describe(client: Client, workflow: str) -> None:
    """The bare call."""
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow)
    )
    await client.workflow_service.describe_workflow_execution(request)

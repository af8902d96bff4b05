"""The probes and the supervisor of a host, against a real Temporal server."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sluicegate import temporal
from sluicegate.operate import parts, polling

Eventually = Callable[..., Awaitable[Any]]


@activity.defn
async def nothing() -> None:
    """Do nothing."""


async def test_a_worker_is_ready_when_it_has_polled(
    temporal_server: WorkflowEnvironment, eventually: Eventually
) -> None:
    client = temporal_server.client

    assert await polling.pollers(client, "activity", "probe") == set()
    async with Worker(client, task_queue="probe", activities=[nothing], identity="7@there"):
        assert await eventually(lambda: polling.pollers(client, "activity", "probe")) == {"7@there"}
        assert await polling.pollers(client, "workflow", "probe") == set()


async def test_histories_are_kept_for_as_long_as_promised(temporal_server: WorkflowEnvironment) -> None:
    client = temporal_server.client
    for _ in range(2):
        await parts.keep_history(client)
        namespace = DescribeNamespaceRequest(namespace=client.namespace)
        found = await client.workflow_service.describe_namespace(namespace)
        assert found.config.workflow_execution_retention_ttl.ToTimedelta() == temporal.RETENTION


async def test_a_host_outlives_its_worker(temporal_server: WorkflowEnvironment, tmp_path: Path) -> None:
    address = temporal_server.client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sluicegate.operate.host",
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": address,
            "SLUICEGATE_HOME": str(tmp_path),
            "SLUICEGATE_WORKER_ROLES": "effects",
        },
    )

    async def said(text: str) -> None:
        assert process.stderr
        while text not in (line := (await process.stderr.readline()).decode()):
            assert line, f"ended before it said: {text}"

    try:
        await said("host is ready")
        [worker] = psutil.Process(process.pid).children()
        worker.kill()
        await said("worker is back")
        [another] = psutil.Process(process.pid).children()
        assert another.pid != worker.pid
        process.terminate()
        assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
            await process.wait()

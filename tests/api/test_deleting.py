"""A delete is answered, and its name is free, however many calls for the pipeline arrive meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal
from tests.api.conftest import Opened, Pipeline
from tests.chaos.proxy import Proxy
from tests.conftest import serving_temporal

AT_ONCE = 3
LAG = 0.05
"""Seconds to and from the workers: in each of their tasks a message arrives."""
NO_TENANT = "00000000-0000-0000-0000-000000000000"


@asynccontextmanager
async def stormed(handle: WorkflowHandle[Any, Any]) -> AsyncIterator[None]:
    """Send signals without a pause, some at a time, for as long as the block runs."""
    over = asyncio.Event()

    async def storm() -> None:
        while not over.is_set():
            try:
                await handle.signal("pause")
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return
                raise

    async with asyncio.TaskGroup() as storms:
        for _ in range(AT_ONCE):
            storms.create_task(storm())
        try:
            yield
        finally:
            over.set()


@pytest.fixture(scope="module")
async def our_server(private_home: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A server with our flags: as it comes it throws a task away in which a hundred messages arrive."""
    async with serving_temporal() as environment:
        yield environment


@pytest.fixture
async def slow_workers(our_server: WorkflowEnvironment, api_working_with: Opened) -> AsyncIterator[None]:
    """Workers that are far away."""
    host, _, port = our_server.client.service_client.config.target_host.partition(":")
    async with Proxy(int(port), LAG) as proxy:
        client = await Client.connect(f"{host}:{proxy.port}", plugins=[temporal.PLUGIN])
        async with api_working_with(client):
            yield


@pytest.fixture
async def http(our_server: WorkflowEnvironment, api_open: Opened) -> AsyncIterator[httpx.AsyncClient]:
    """The application."""
    async with api_open(our_server.client) as http:
        yield http


@pytest.mark.timeout(150)
@pytest.mark.usefixtures("slow_workers")
@pytest.mark.parametrize("has_run", [True, False])
async def test_a_delete_comes_to_an_end_among_calls_that_do_not(
    http: httpx.AsyncClient,
    our_server: WorkflowEnvironment,
    eventually: Callable[..., Awaitable[Any]],
    has_run: bool,
) -> None:
    subject = Pipeline(http, eventually)
    old = await subject.create()
    if has_run:
        await subject.running()
        await subject.post("stop", force="true")
        await subject.reaches("Stopped")
        await subject.post("clear")
        await subject.reaches("Cleared", "storage_status")
    workflow = temporal.pipeline_workflow_id(NO_TENANT, subject.name)

    async def deleted() -> bool:
        answer = await http.delete(subject.path, headers={"Idempotency-Key": "d"})
        assert (answer.status_code, answer.content) == (200, b""), answer.text
        return True

    async with stormed(our_server.client.get_workflow_handle(workflow)):
        await eventually(deleted, 60)
        assert (await subject.create())["id"] != old["id"]

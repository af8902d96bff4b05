"""Pipelines that a worker has no room for in memory: each is read again when it is told something."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sluicegate import temporal
from sluicegate.lifecycle import commands
from tests.workflows.conftest import Create
from worker import WORKFLOWS


@pytest.fixture(scope="module")
async def decider(temporal_server: WorkflowEnvironment) -> AsyncIterator[None]:
    """A worker that holds one of them."""
    async with Worker(
        temporal_server.client,
        task_queue=temporal.PIPELINES,
        workflows=WORKFLOWS,
        max_cached_workflows=1,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    ):
        yield


async def test_they_obey_and_their_processes_live_on(create: Create, eventually: Any) -> None:
    subjects = [await create(f"p{number}") for number in range(3)]
    for verb_name, reached in (("start", "Running"), ("pause", "Paused"), ("resume", "Running")):
        for subject in subjects:  # each takes the place of the one before
            verb = commands.VERBS[verb_name]()
            message = commands.message(verb_name, verb, request_id=verb_name, actor="tester")
            await subject.handle.signal(verb_name, message)

            async def there(subject: Any = subject, reached: str = reached) -> bool:
                return bool((await subject.memo())["status"]["deployment_status"] == reached)

            await eventually(there)
    for subject in subjects:
        assert subject.script.provisioned == 1
        codes = {receipt["id"]: receipt["code"] for receipt in (await subject.memo())["receipts"]}
        assert {codes[verb_name] for verb_name in ("start", "pause", "resume")} == {None}

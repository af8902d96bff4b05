"""Pipelines that a worker has no room for in memory: each is read again when it is told something."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sluicegate import temporal
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


async def test_they_obey_and_their_effects_go_on(create: Create, eventually: Any) -> None:
    subjects = [await create(f"p{number}") for number in range(3)]
    for verb_name, reached in (("start", "Running"), ("pause", "Paused"), ("resume", "Running")):
        for subject in subjects:
            assert (await subject.tell(verb_name))["code"] is None
        for subject in subjects:

            async def there(subject: Any = subject, reached: str = reached) -> bool:
                return bool((await subject.memo())["status"]["deployment_status"] == reached)

            await eventually(there)
    for subject in subjects:
        assert (subject.script.provisioned, subject.script.watches) == (1, 1)
        seen = [event["deployment_runtime_status"] for event in await subject.events()]
        assert [status for status in reversed(seen) if status][-3:] == ["Running", "Paused", "Running"]

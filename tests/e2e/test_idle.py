"""A pipeline that runs and does nothing costs Temporal nothing."""

import asyncio
import os
from typing import Any

import pytest
from temporalio.client import Client

from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

IDLE_FOR = float(os.environ.get("IDLE_SECONDS", "300"))


@pytest.mark.slow
@pytest.mark.timeout(IDLE_FOR + 120)
async def test_an_idle_running_pipeline_adds_no_history_event(
    pipeline: Any, control_plane: Any, eventually: Any
) -> None:
    await pipeline.started()
    client = await Client.connect(control_plane.described["temporal_address"], plugins=[temporal.PLUGIN])
    handle = client.get_workflow_handle(temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name))

    async def watched() -> bool:
        """The watch has been taken up, and nothing else is under way."""
        description = await handle.describe()
        pending = description.raw_description.pending_activities
        return len(pending) == 1 and bool(pending[0].last_started_time.seconds)

    await eventually(watched)
    before = await handle.describe()
    await asyncio.sleep(IDLE_FOR)
    after = await handle.describe()
    assert (after.run_id, after.history_length) == (before.run_id, before.history_length)
    assert (await pipeline.get())["deployment_status"] == "Running"

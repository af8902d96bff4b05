"""The workflow that removes what a deleted pipeline left on its hosts, until nothing remains (I6)."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities import beat
from activities.deploy import Deployments
from sluicegate import temporal
from sluicegate.lifecycle.effects import Addressed, Remains

UNTIL_DONE = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))


@workflow.defn(name="Cleanup")
class CleanupWorkflow:
    """One deleted pipeline."""

    @workflow.run
    async def run(self, remains: Remains) -> None:
        """Remove it from every host; one that is away is waited for, and keeps no other waiting."""
        await asyncio.gather(*(_remove(remains, host_id) for host_id in remains.hosts))


async def _remove(remains: Remains, host_id: str) -> None:
    await workflow.execute_activity_method(
        Deployments.remove,
        Addressed(pipeline_id=remains.pipeline_id, generation=remains.generation),
        task_queue=temporal.host_queue(temporal.EFFECTS, host_id),
        start_to_close_timeout=timedelta(hours=1),
        heartbeat_timeout=beat.BEAT_TIMEOUT,
        retry_policy=UNTIL_DONE,
        summary=f"remove {remains.name} from host {host_id}",
    )

"""The workflow that removes what a deleted pipeline left on its hosts, until nothing remains (I6)."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities import beat
from activities.deploy import Deployments
from activities.schedules import Schedules
from sluicegate import temporal
from sluicegate.lifecycle.effects import Addressed, Remains, ScheduleBook

UNTIL_DONE = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

PLACED_WITHIN = timedelta(minutes=1)
"""What an effect that puts schedules in place may take."""


@workflow.defn(name="Cleanup")
class CleanupWorkflow:
    """One deleted pipeline."""

    @workflow.run
    async def run(self, remains: Remains) -> None:
        """Remove it from every host; one that is away is waited for, and keeps no other waiting."""
        removing = [_remove(remains, host_id) for host_id in remains.hosts]
        await asyncio.gather(*removing, _unschedule(remains))


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


async def _unschedule(remains: Remains) -> None:
    """Remove its schedules, and once more when an effect that was late has had its time."""
    if not remains.schedules:
        return
    await _remove_schedules(remains)
    await workflow.sleep(PLACED_WITHIN)
    await _remove_schedules(remains)


async def _remove_schedules(remains: Remains) -> None:
    await workflow.execute_activity_method(
        Schedules.place,
        ScheduleBook(pipeline_id=remains.pipeline_id, workflow_id="", gone=remains.schedules),
        task_queue=temporal.EFFECTS,
        start_to_close_timeout=PLACED_WITHIN,
        retry_policy=UNTIL_DONE,
        summary=f"remove the schedules of {remains.name}",
    )

"""Schedules: keeps the Temporal Schedules of a pipeline as its record says."""

from datetime import timedelta

from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from sluicegate import temporal
from sluicegate.lifecycle import policies
from sluicegate.lifecycle.effects import ScheduleBook, ScheduledVerb

CATCH_UP = timedelta(hours=1)
"""What was due while Temporal was away is done late if by no more than this; a nightly stop that comes at
noon would surprise."""

NOT_TAKEN = "schedule_not_taken"


class Schedules:
    """The schedules of all pipelines; holds the Temporal client."""

    def __init__(self, client: Client) -> None:
        """Keep them through the given client."""
        self._client = client

    @activity.defn(name="place_schedules")
    async def place(self, book: ScheduleBook) -> None:
        """Make, change and remove schedules until they are as they should be. Idempotent; an older revision
        changes nothing of a newer one. One that Temporal refuses holds up no other; it is told at the end."""
        problems = []
        for name in (*book.gone, *book.schedules):
            try:
                if name in book.schedules:
                    await self._put(book, name, book.schedules[name])
                else:
                    await self._remove(temporal.schedule_id(book.pipeline_id, name))
            except RPCError as error:
                if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                    raise
                problems.append(f"{name}: {error.message}")
        if problems:
            raise ApplicationError("; ".join(problems), type=NOT_TAKEN)

    async def _remove(self, schedule_id: str) -> None:
        try:
            await self._client.get_schedule_handle(schedule_id).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _put(self, book: ScheduleBook, name: str, schedule: policies.Schedule) -> None:
        schedule_id = temporal.schedule_id(book.pipeline_id, name)
        wanted = _wanted(book, name, schedule)
        try:
            await self._client.create_schedule(schedule_id, wanted)
        except ScheduleAlreadyRunningError:
            await self._client.get_schedule_handle(schedule_id).update(
                lambda found: ScheduleUpdate(wanted) if _older(found, book.revision) else None
            )


def _wanted(book: ScheduleBook, name: str, schedule: policies.Schedule) -> Schedule:
    verb = ScheduledVerb(
        pipeline_id=book.pipeline_id,
        workflow_id=book.workflow_id,
        schedule=name,
        revision=schedule.revision,
    )
    action = ScheduleActionStartWorkflow(
        "Scheduled",
        verb,
        id=f"scheduled/{book.pipeline_id}/{name}",
        task_queue=temporal.PIPELINES,
        static_summary=f"{schedule.verb} by schedule {name}",
    )
    return Schedule(
        action=action,
        spec=ScheduleSpec(cron_expressions=[schedule.cron], time_zone_name=schedule.timezone),
        # One that could not be told yet will be: another on top of it would say the same.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(paused=schedule.paused, note=f"revision {book.revision:09d}"),
    )


def _older(found: ScheduleUpdateInput, revision: int) -> bool:
    """Whether what is in place was put there by an older revision, or by this one."""
    note = found.description.schedule.state.note or ""
    known = note.removeprefix("revision ")
    return not known.isdigit() or int(known) <= revision

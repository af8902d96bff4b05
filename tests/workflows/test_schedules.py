"""Schedules of pipelines on a real server: put in place, due, moved, removed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from activities.schedules import Schedules
from sluicegate import temporal
from sluicegate.lifecycle.effects import ScheduleBook
from sluicegate.lifecycle.policies import Schedule

Eventually = Callable[..., Awaitable[Any]]
NEVER = "0 0 1 1 *"


def handle(subject: Any, name: str) -> ScheduleHandle:
    """The schedule in Temporal."""
    found: ScheduleHandle = subject.client.get_schedule_handle(temporal.schedule_id(subject.id, name))
    return found


async def exists(subject: Any, name: str) -> bool:
    """Whether Temporal has it."""
    try:
        await handle(subject, name).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def placed(subject: Any, eventually: Eventually) -> dict[str, Any]:
    """Wait until Temporal has what the record says."""

    async def there() -> Any:
        kept = await subject.handle.query("kept", result_type=dict)
        return kept if kept["in_place"] else None

    return dict(await eventually(there))


def soon() -> str:
    """Every minute, at a second that is about to come."""
    return f"{(datetime.now(UTC) + timedelta(seconds=4)).second} * * * * * *"


async def test_a_schedule_that_is_due_starts_the_pipeline(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.edit(
        schedules={"soon": Schedule(verb="start", cron=soon(), arguments={"initial": "Paused"})}
    )
    await placed(subject, eventually)

    async def begun() -> bool:
        return bool(await subject.status() == "Paused")

    await eventually(begun)
    events = await subject.events()
    assert "schedule:soon" in {event["actor"] for event in events}


async def test_schedules_follow_the_record(create: Any, eventually: Eventually) -> None:
    subject = await create()
    yearly = Schedule(verb="stop", cron=NEVER, timezone="Europe/Vienna")
    await subject.edit(schedules={"a": yearly, "b": yearly})
    await placed(subject, eventually)
    spec = (await handle(subject, "a").describe()).schedule.spec
    assert spec.time_zone_name == "Europe/Vienna"
    await subject.edit(schedules={"a": yearly.model_copy(update={"paused": True}), "b": None})
    await placed(subject, eventually)
    assert (await handle(subject, "a").describe()).schedule.state.paused
    assert not await exists(subject, "b")


async def test_an_older_placement_changes_nothing(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.edit(schedules={"a": Schedule(verb="stop", cron=NEVER)})
    await subject.edit(schedules={"a": Schedule(verb="start", cron=NEVER)})
    await placed(subject, eventually)
    book = ScheduleBook(
        pipeline_id=subject.id,
        workflow_id="elsewhere",
        revision=1,
        schedules={"a": Schedule(verb="stop", cron="@daily", revision=1)},
    )
    await Schedules(subject.client).place(book)
    action = (await handle(subject, "a").describe()).schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    [argument] = action.args
    [verb] = await subject.client.data_converter.decode([argument])
    assert (verb["workflow_id"], verb["revision"]) == (subject.handle.id, 2)


async def test_one_that_temporal_refuses_holds_up_no_other(create: Any, eventually: Eventually) -> None:
    subject = await create()
    bad = Schedule(verb="stop", cron=NEVER, timezone="Nowhere/Atlantis")
    good = Schedule(verb="start", cron=NEVER)
    await subject.edit(schedules={"a": bad, "b": good})

    async def told() -> Any:
        return (await subject.handle.query("kept", result_type=dict))["problem"]

    problem = await eventually(told)
    assert "a: " in problem
    assert "Atlantis" in problem
    assert await exists(subject, "b")
    assert (await subject.memo())["at_rest"]
    await subject.edit(schedules={"a": None})
    await placed(subject, eventually)


async def test_after_a_rename_it_drives_the_pipeline_still(create: Any, eventually: Eventually) -> None:
    subject = await create("before")
    await subject.edit(schedules={"a": Schedule(verb="start", cron=NEVER)})
    await placed(subject, eventually)
    await subject.edit(name="after")
    subject.handle = subject.client.get_workflow_handle(f"pipeline/{subject.tenant_id}/after")
    await placed(subject, eventually)
    await handle(subject, "a").trigger()

    async def begun() -> bool:
        return bool(await subject.status() == "Running")

    await eventually(begun)


async def test_a_schedule_that_is_left_over_never_drives_another_pipeline(
    create: Any, eventually: Eventually
) -> None:
    subject = await create("name")
    await subject.edit(schedules={"a": Schedule(verb="start", cron=NEVER)})
    await placed(subject, eventually)
    await subject.delete()
    another = await create("name")
    left = ScheduleBook(
        pipeline_id=subject.id,
        workflow_id=subject.handle.id,
        revision=9,
        schedules={"left": Schedule(verb="start", cron=NEVER, revision=1)},
    )
    await Schedules(subject.client).place(left)
    await another.edit(schedules={"left": Schedule(verb="start", cron=NEVER)})
    await handle(subject, "left").trigger()

    async def refused() -> bool:
        receipts = (await another.memo())["receipts"]
        return any(receipt["code"] == "AnotherPipeline" for receipt in receipts)

    await eventually(refused)
    assert await another.status() == "Stopped"
    await handle(subject, "left").delete()


async def test_nothing_remains_of_a_deleted_pipeline(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.edit(schedules={"a": Schedule(verb="start", cron=NEVER)})
    await placed(subject, eventually)
    await subject.delete()

    async def gone() -> bool:
        return not await exists(subject, "a")

    await eventually(gone)


async def test_a_time_for_a_pipeline_that_is_gone_is_over_at_once(
    temporal_server: Any, decider: None
) -> None:
    client: Client = temporal_server.client
    due = {"pipeline_id": "p", "workflow_id": "pipeline/none/none", "schedule": "a", "revision": 1}
    async with asyncio.timeout(20):
        told = await client.execute_workflow(
            "Scheduled", due, id="scheduled/none", task_queue=temporal.PIPELINES, result_type=str
        )
    assert told == "there is no such pipeline any more"

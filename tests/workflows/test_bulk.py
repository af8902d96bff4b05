"""Bulk operations as workflows: the limit, told once, over many histories; old histories replay."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Replayer

from sluicegate import temporal
from sluicegate.lifecycle.bulk import Bulk
from tests.workflows.test_messages import ARGUMENTS
from tests.workflows.test_replay import load
from workflows.bulk import BulkWorkflow

Eventually = Callable[..., Awaitable[Any]]
Handle = WorkflowHandle[BulkWorkflow, None]
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/bulk/*.json"))


def operation(subjects: list[Any], at_once: int, verb: str = "start") -> Bulk:
    """An operation on pipelines under test."""
    return Bulk.new(
        datetime.now(UTC),
        [(subject.handle.id.rpartition("/")[2], subject.id) for subject in subjects],
        id=str(uuid4()),
        tenant_id=subjects[0].tenant_id,
        actor="tester",
        verb=verb,
        tag="t",
        at_once=at_once,
        arguments={},
    )


async def start(client: Client, bulk: Bulk) -> Handle:
    """Start its workflow."""
    return await client.start_workflow(
        BulkWorkflow.run,
        bulk.encoded(),
        id=temporal.bulk_workflow_id(bulk.tenant_id, bulk.id),
        task_queue=temporal.PIPELINES,
    )


async def begin(client: Client, subjects: list[Any], at_once: int) -> Handle:
    """Start an operation that starts pipelines."""
    return await start(client, operation(subjects, at_once))


async def ended(handle: Handle) -> dict[str, Any]:
    """Wait for its end and ask how it went."""
    await handle.result()
    shown: dict[str, Any] = await handle.query("progress", result_type=dict)
    return shown


async def runs(client: Client, handle: Handle) -> list[list[Any]]:
    """The events of all its histories, each of which replays."""
    replayer = Replayer(workflows=[BulkWorkflow], plugins=[temporal.PLUGIN])
    found, run_id = [], handle.first_execution_run_id
    while run_id:
        history = await client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
        await replayer.replay_workflow(history)
        found.append(list(history.events))
        renewed = history.events[-1].workflow_execution_continued_as_new_event_attributes
        run_id = renewed.new_execution_run_id
    return found


def most_at_once(events: list[Any]) -> tuple[int, int]:
    """How many pipelines were told, and how many of them were under way together at most."""
    told = under_way = most = 0
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
            told, under_way = told + 1, under_way + 1
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            under_way -= 1
        most = max(most, under_way)
    return told, most


async def test_thirty_pipelines_four_at_a_time_over_many_histories(create: Any) -> None:
    subjects = await asyncio.gather(*(create(f"p{number}") for number in range(30)))
    handle = await begin(subjects[0].client, subjects, at_once=4)
    shown = await ended(handle)
    assert shown["counts"]["done"] == 30
    histories = await runs(subjects[0].client, handle)
    assert len(histories) > 2
    assert most_at_once([event for events in histories for event in events]) == (30, 4)
    assert [subject.script.provisioned for subject in subjects] == [1] * 30
    assert sum(map(len, histories)) < 30 * 20


async def test_the_limit_holds_in_what_the_pipelines_went_through(create: Any) -> None:
    subjects = await asyncio.gather(*(create(f"p{number}") for number in range(9)))
    await ended(await begin(subjects[0].client, subjects, at_once=3))
    steps = []
    for subject in subjects:
        journal = await subject.events()
        ours = [one for one in journal if one["request_id"] and one["request_id"].startswith("bulk-")]
        times = sorted(one["recorded_at"] for one in ours)
        steps += [(times[0], 1), (times[-1], -1)]
    under_way = [sum(step for at, step in steps if at <= time) for time, _ in steps]
    assert max(under_way) <= 3


async def test_who_does_not_come_to_rest_holds_its_place(
    create: Any, script: Any, eventually: Eventually
) -> None:
    slow = script(provision_gate=asyncio.Event())
    subjects = [await create("a", script=slow), await create("b"), await create("c")]
    handle = await begin(subjects[0].client, subjects, at_once=1)

    async def provisioning() -> bool:
        return bool(slow.provisioned)

    await eventually(provisioning)
    await handle.signal("cancel")
    assert (await handle.query("progress", result_type=dict))["state"] == "cancelling"
    slow.provision_gate.set()
    shown = await ended(handle)
    assert (shown["state"], shown["counts"]["done"], shown["counts"]["dropped"]) == ("cancelled", 1, 2)
    assert [subject.script.provisioned for subject in subjects] == [1, 0, 0]


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_whatever_is_sent_to_it_cancels_and_wedges_nothing(create: Any, arguments: list[Any]) -> None:
    handle = await begin((subject := await create()).client, [subject], at_once=1)
    await handle.signal("cancel", args=arguments)
    assert (await ended(handle))["state"] in ("cancelled", "finished")


# Recorded histories


def test_all_scenarios_are_recorded() -> None:
    assert {path.stem for path in HISTORIES} == {"finished", "continued", "cancelled"}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    replayer = Replayer(workflows=[BulkWorkflow], plugins=[temporal.PLUGIN])
    await replayer.replay_workflow(load(path))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
async def test_a_recorded_state_decodes_and_loses_nothing(path: Path) -> None:
    started = load(path).events[0].workflow_execution_started_event_attributes
    [encoded] = await temporal.PLUGIN.data_converter.decode(started.input.payloads, [dict])  # type: ignore[union-attr]
    assert Bulk.decoded(encoded).encoded() == encoded

"""No message wedges a pipeline, none is lost, and none has two effects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from sluicegate.lifecycle.commands import VERBS, Stop, message
from sluicegate.temporal import MEMO, PLUGIN, PROGRAM_STATUS

Eventually = Callable[..., Awaitable[Any]]

SIGNALS = [*VERBS, "observed", "readopt", "hand_over", "no_such_signal"]
ARGUMENTS: dict[str, list[Any]] = {
    "none": [],
    "null": [None],
    "text": ["hello"],
    "number": [17],
    "list": [[1, 2, 3]],
    "wrong keys": [{"x": 1}],
    "wrong types": [{"request_id": 5, "actor": [], "arguments": "force"}],
    "wrong arguments": [{"request_id": "wrong", "arguments": {"no": "such"}}],
    "two": [{"request_id": "two"}, {"more": True}],
    "two of nothing": [None, None],
    "bytes": [b"\x00\xff"],
    "not JSON": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{not json"))],
    "unknown encoding": [RawValue(Payload(metadata={"encoding": b"klingon"}, data=b"qapla"))],
}


@pytest.mark.parametrize("given", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_no_payload_wedges_a_pipeline(create: Any, given: list[Any]) -> None:
    subject = await create()
    for signal in SIGNALS:
        await subject.handle.signal(signal, args=given)
    await subject.tell("stop", force=True)
    assert (await subject.ask())["status"]["name"] == "p"


async def test_a_message_not_understood_gets_a_receipt_that_says_so(create: Any) -> None:
    subject = await create()
    receipt = await subject.handle.signal("stop", {"request_id": "odd", "arguments": {"force": "maybe"}})
    [receipt] = (await subject.ask("odd"))["receipts"]
    assert receipt["code"] == "MessageNotUnderstood"
    assert "force" in receipt["info"]["reason"]


async def test_a_bare_signal_is_carried_out(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.handle.signal("start")

    async def runs() -> bool:
        return bool(await subject.status() == "Running")

    await eventually(runs)


async def test_one_request_id_has_one_effect(create: Any, eventually: Eventually) -> None:
    subject = await create()

    async def compiled() -> bool:
        return bool((await subject.ask())["status"]["program_status"] == "Success")

    await eventually(compiled)
    first = await subject.tell("stop", request_id="same", force=True)
    again = await subject.tell("stop", request_id="same", force=True)
    assert again == first
    causes = [event["request_id"] for event in await subject.events()]
    assert causes.count("same") == 1


async def test_a_storm_loses_no_signal_over_many_histories(create: Any, eventually: Eventually) -> None:
    subject = await create()
    first_run = (await subject.handle.describe()).run_id
    ids = [str(uuid4()) for _ in range(1200)]

    async def send(request_id: str) -> None:
        stop = message("stop", Stop(force=True), request_id=request_id, actor="storm")
        await subject.handle.signal("stop", stop)

    for start in range(0, len(ids), 100):
        await asyncio.gather(*(send(request_id) for request_id in ids[start : start + 100]))
        await subject.status()
    receipts = (await subject.ask(*ids))["receipts"]
    assert {receipt["id"] for receipt in receipts} == set(ids)
    assert all(receipt["code"] is None for receipt in receipts)
    assert (await subject.handle.describe()).run_id != first_run


async def test_a_pipeline_keeps_running_through_new_histories(running: Any, eventually: Eventually) -> None:
    first_run = (await running.handle.describe()).run_id
    generation = set(running.script.live)
    for _ in range(60):
        await running.tell("start")

    async def renewed_and_watched() -> bool:
        description = await running.handle.describe()
        return bool(description.run_id != first_run and running.script.watches > 1)

    await eventually(renewed_and_watched)
    assert await running.status() == "Running"
    assert running.script.live == generation
    assert running.script.provisioned == 1
    await running.tell("pause")

    async def paused() -> bool:
        return bool(await running.status() == "Paused")

    await eventually(paused)


async def test_a_new_history_shows_from_its_first_moment_what_the_old_one_showed(create: Any) -> None:
    subject = await create()
    first_run = (await subject.handle.describe()).run_id
    while (await subject.handle.describe()).run_id == first_run:
        await subject.tell("start")
        await subject.tell("stop", force=True)
    [begun, *_] = (await subject.handle.fetch_history()).events
    started = begun.workflow_execution_started_event_attributes
    [memo] = await PLUGIN.data_converter.decode([started.memo.fields[MEMO]])  # type: ignore[union-attr]
    assert memo["revision"] > 2
    name = started.search_attributes.indexed_fields[PROGRAM_STATUS.name].data
    assert name == b'"Success"'

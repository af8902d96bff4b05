"""Two workflows on a real server: a standby takes over from a primary that is lost (see `promotion`)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.worker import Replayer, Worker

from activities import calls
from sluicegate import temporal
from sluicegate.lifecycle import limits
from sluicegate.lifecycle.effects import Addressed, Failure, Host
from sluicegate.lifecycle.record import Bootstrap
from sluicegate.lifecycle.status import (
    Initial,
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)
from sluicegate.lifecycle.values import Packed
from worker import WORKFLOWS

Eventually = Callable[..., Awaitable[Any]]
DEPLOYED_ELSEWHERE = {
    "program_status": ProgramStatus.SUCCESS,
    "storage_status": StorageStatus.IN_USE,
    "resources_status": ResourcesStatus.PROVISIONED,
    "resources_desired": ResourcesDesired.PROVISIONED,
    "runtime_status": RuntimeStatus.RUNNING,
    "runtime_desired": RuntimeDesired.RUNNING,
    "deployment_id": "d",
    "deployment_initial": Initial.RUNNING,
    "bootstrap": Bootstrap(),
    "generation": 1,
    "location": "127.0.0.1:9",
    "host": Host(host_id="gone", logs_address="127.0.0.1:9"),
}
"""A pipeline that runs on a host that nobody answers for."""
DIED = Failure(message="It was ended by signal 9.", error_code="RunnerCheckError")


def configured(primary: str) -> dict[str, Any]:
    """The configuration of a standby."""
    sync = {"bucket": "own", "read_bucket": "b", "promote_on_failure": primary}
    return {"storage": {"backend": {"name": "file", "config": {"sync": sync}}}}


@pytest.fixture
def reaches(eventually: Eventually) -> Callable[[Any, str], Awaitable[None]]:
    """Wait for a deployment status."""

    async def wait(subject: Any, status: str) -> None:
        async def there() -> bool:
            return bool(await subject.status() == status)

        await eventually(there)

    return wait


@pytest.fixture
async def pair(create: Any, eventually: Eventually, reaches: Any) -> tuple[Any, Any]:
    """A primary that runs and knows its standby."""
    primary = await create(name="a")
    await primary.tell("start")
    await reaches(primary, "Running")
    standby = await create(name="b", runtime_config=configured("a"))
    await standby.tell("start", initial="Standby")
    await reaches(standby, "Standby")

    async def known() -> bool:
        return (await _record(primary))["understudy"] is not None

    await eventually(known)
    return primary, standby


async def _record(subject: Any) -> dict[str, Any]:
    packed = await subject.handle.query("state", result_type=Packed)
    return dict(packed.json_value["pipeline"])


async def test_a_primary_that_dies_is_followed_by_its_standby(pair: Any, reaches: Any) -> None:
    primary, standby = pair
    primary.script.say(RuntimeStatus.UNAVAILABLE, RuntimeDesired.UNAVAILABLE, fatal=DIED)
    await reaches(standby, "Running")
    assert await primary.status() == "Stopped"
    assert primary.script.live == set()
    [told] = standby.script.steered
    assert (told.desired, told.initial) == ("Running", "Standby")
    caused = [event for event in await standby.events() if (event["request_id"] or "").startswith("promote/")]
    assert {event["actor"] for event in caused} == {"promote_on_failure"}
    assert caused[0]["deployment_runtime_status"] == "Running"
    assert (await _record(primary))["understudy"] is None
    for subject in pair:
        await subject.status()  # a history of one event is never done being replayed
        history = await subject.handle.fetch_history()
        await Replayer(workflows=WORKFLOWS, plugins=[temporal.plugin()]).replay_workflow(history)


async def test_a_primary_that_is_stopped_is_not(pair: Any, reaches: Any) -> None:
    primary, standby = pair
    await primary.tell("stop", force=True)
    await reaches(primary, "Stopped")
    assert await standby.status() == "Standby"
    assert standby.script.steered == []


async def test_one_whose_host_is_gone_is_followed_and_ended_when_the_host_is_back(
    create: Any, eventually: Eventually, reaches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "UNANSWERED_AFTER", timedelta(seconds=1))
    monkeypatch.setattr(limits, "LOST_AFTER", timedelta(seconds=1))
    standby = await create(name="b", runtime_config=configured("a"))
    await standby.tell("start", initial="Standby")
    await reaches(standby, "Standby")
    primary = await create(name="a", altered=DEPLOYED_ELSEWHERE)
    assert (await primary.tell("guard", name="b", standby_id=standby.id))["code"] is None
    await reaches(standby, "Running")
    assert await primary.status() == "Stopping"
    error = (await primary.ask())["status"]["deployment_error"]
    assert (error["error_code"], error["details"]["standby"]) == ("PrimaryOutOfReach", "b")
    ended: list[int] = []

    @activity.defn(name="deprovision")
    async def deprovision(deployment: Addressed) -> None:
        ended.append(deployment.generation)

    queue = temporal.host_queue(temporal.EFFECTS, "gone")
    async with Worker(primary.client, task_queue=queue, activities=[deprovision]):
        await reaches(primary, "Stopped")
    assert ended == [1]
    assert await standby.status() == "Running"


async def test_a_standby_that_is_gone_is_told_in_vain(
    pair: Any, eventually: Eventually, reaches: Any
) -> None:
    primary, standby = pair
    await standby.tell("stop", force=True)
    await reaches(standby, "Stopped")
    await standby.tell("clear")

    async def cleared() -> bool:
        return bool((await standby.ask())["status"]["storage_status"] == "Cleared")

    await eventually(cleared)
    await standby.delete()
    primary.script.say(RuntimeStatus.UNAVAILABLE, RuntimeDesired.UNAVAILABLE, fatal=DIED)
    await reaches(primary, "Stopped")

    async def forgotten() -> bool:
        return (await _record(primary))["understudy"] is None

    await eventually(forgotten)
    await primary.tell("start")
    await reaches(primary, "Running")


async def test_a_primary_that_is_not_there_is_asked_for_again(
    create: Any, eventually: Eventually, reaches: Any
) -> None:
    standby = await create(name="b", runtime_config=configured("a"))
    await standby.tell("start", initial="Standby")

    async def asked() -> bool:
        retry = (await _record(standby))["retries"].get("guard")
        return retry is not None and retry["attempts"] == 1

    await eventually(asked)
    shown = (await standby.descriptor())["deployment_resources_status_details"]
    assert "failed" in shown["reason"]
    assert shown["next_retry_at"]
    assert await standby.status() == "Standby"

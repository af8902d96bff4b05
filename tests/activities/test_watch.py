"""Watching: a signal for every change, none without one, and an end that says how the process ended."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities import watch as watching
from activities.watch import Watches
from sluicegate.lifecycle import restarts
from sluicegate.lifecycle.effects import Observation, WatchRequest
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.provision import Exit
from sluicegate.runtime_client import Unreachable
from tests.chaos import shim

SOURCE = Path(__file__).parents[2]
Eventually = Callable[..., Awaitable[Any]]
STARTED = ActivityEnvironment.default_info().started_time
"""When Temporal says that the watch began, decades before this host does: only Temporal's clock counts."""


def request(baseline: Observation, *, age: float = 0, epoch: int = 1, again: bool = False) -> WatchRequest:
    """A watch of a deployment that became Provisioned so many seconds ago."""
    return WatchRequest(
        pipeline_id="p",
        generation=2,
        workflow_id="w",
        epoch=epoch,
        location="127.0.0.1:1",
        deployment_id="d",
        baseline=baseline,
        provisioned_at=STARTED - timedelta(seconds=age),
        again=again,
    )


def looked(runtime: Any, times: int) -> Callable[[], Awaitable[bool]]:
    """Whether the process has been looked at so many times."""

    async def enough() -> bool:
        return bool(runtime.looks >= times)

    return enough


@pytest.fixture
async def watches(client: Any, provisioner: Any, runtime: Any) -> Watches:
    """The watches of a worker in memory."""
    return Watches(client, provisioner, runtime)


@pytest.fixture
async def begin(watches: Watches) -> AsyncIterator[Callable[[WatchRequest], asyncio.Task[Observation]]]:
    """Begin watches that end with the test."""
    begun: list[asyncio.Task[Observation]] = []

    def start(wanted: WatchRequest) -> asyncio.Task[Observation]:
        begun.append(asyncio.create_task(ActivityEnvironment().run(watches.watch, wanted)))
        return begun[-1]

    yield start
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


def test_only_a_process_that_changes_or_was_steered_is_looked_at_often(seen: Any) -> None:
    def first_pause(status: RuntimeStatus) -> float:
        given = request(seen(status))
        watch = watching._Watch(request=given, known=given.baseline, now=lambda: given.provisioned_at)
        return watch.pause(1)

    assert first_pause(RuntimeStatus.RUNNING) == watching.IDLE_EVERY
    assert first_pause(RuntimeStatus.INITIALIZING) == watching.BUSY_EVERY


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((RuntimeStatus.RUNNING, RuntimeDesired.PAUSED), id="that says what it was told"),
        pytest.param((RuntimeStatus.RUNNING, RuntimeDesired.RUNNING), id="that does not know yet"),
    ],
)
async def test_a_process_is_looked_at_often_until_it_has_followed(
    begin: Any,
    watches: Watches,
    runtime: Any,
    seen: Any,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[RuntimeStatus, RuntimeDesired],
) -> None:
    monkeypatch.setattr(watching, "BUSY_FOR", 3600.0)
    monkeypatch.setattr(watching, "IDLE_EVERY", 3600.0)
    runtime.says = [seen(*before)]
    begin(request(seen(*before)))

    async def looked_at_seldom() -> bool:
        return watches._watches["p"].pause(1) == watching.IDLE_EVERY

    await eventually(looked(runtime, 1))
    watches.poke("p", RuntimeDesired.PAUSED)
    await eventually(looked(runtime, 5))
    assert not await looked_at_seldom()
    runtime.says = [seen(RuntimeStatus.PAUSED, RuntimeDesired.PAUSED)]
    await eventually(looked_at_seldom)


async def test_what_could_not_be_told_keeps_it_looked_at_often(
    begin: Any,
    watches: Watches,
    runtime: Any,
    client: Any,
    seen: Any,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "BUSY_FOR", 3600.0)
    monkeypatch.setattr(watching, "IDLE_EVERY", 3600.0)
    paused = seen(RuntimeStatus.PAUSED, RuntimeDesired.PAUSED)
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    begin(request(seen(RuntimeStatus.RUNNING)))
    await eventually(looked(runtime, 1))
    runtime.says, client.fail = [paused], RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    watches.poke("p", RuntimeDesired.PAUSED)
    await client.signalled.wait()
    assert [news.sequence for news in client.signals] == [2]


async def test_a_watch_has_heartbeats(
    watches: Watches, runtime: Any, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BEAT_EVERY", timedelta(milliseconds=1))
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    beaten = asyncio.Event()
    activity = ActivityEnvironment()
    activity.on_heartbeat = lambda *details: beaten.set()
    following = asyncio.create_task(activity.run(watches.watch, request(seen(RuntimeStatus.RUNNING))))
    await beaten.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_process_that_hangs_up_is_looked_at_at_once(
    begin: Any, runtime: Any, seen: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE_EVERY", 3600.0)
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    begin(request(seen(RuntimeStatus.RUNNING)))

    await eventually(looked(runtime, 1))
    for times in (2, 3):
        runtime.hung_up()
        await eventually(looked(runtime, times))


async def test_what_is_known_is_no_news(
    begin: Any, runtime: Any, client: Any, seen: Any, eventually: Eventually
) -> None:
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    begin(request(seen(RuntimeStatus.RUNNING)))
    await eventually(looked(runtime, 5))
    assert client.signals == []


async def test_a_watch_after_one_that_failed_says_once_that_it_is_there(
    begin: Any, runtime: Any, client: Any, seen: Any, eventually: Eventually
) -> None:
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    begin(request(seen(RuntimeStatus.RUNNING), again=True))
    await client.signalled.wait()
    looks = runtime.looks
    await eventually(looked(runtime, looks + 5))
    assert [news.observation for news in client.signals] == [seen(RuntimeStatus.RUNNING)]


async def test_a_change_is_signalled_once_and_fenced(
    begin: Any, watches: Watches, runtime: Any, client: Any, seen: Any
) -> None:
    paused = seen(RuntimeStatus.PAUSED, RuntimeDesired.PAUSED)
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    begin(request(seen(RuntimeStatus.RUNNING), epoch=7))
    runtime.says = [paused]
    watches.poke("p", RuntimeDesired.PAUSED)
    await client.signalled.wait()
    [news] = client.signals
    assert (news.generation, news.epoch, news.sequence, news.observation) == (2, 7, 1, paused)


async def test_details_alone_are_told_every_few_seconds_only(
    begin: Any,
    runtime: Any,
    client: Any,
    seen: Any,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "IDLE_EVERY", watching.BUSY_EVERY)

    def counting(errors: int) -> Observation:
        details = {"connector_stats": {"num_errors": errors}}
        observation: Observation = seen(RuntimeStatus.RUNNING, details=details)
        return observation

    runtime.says = [counting(number) for number in range(12)]
    begin(request(counting(0)))
    await eventually(looked(runtime, 12))
    assert len(client.signals) == 1


async def test_a_signal_that_could_not_be_sent_is_sent_later(
    begin: Any, runtime: Any, client: Any, seen: Any
) -> None:
    client.fail = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    runtime.says = [seen(RuntimeStatus.PAUSED, RuntimeDesired.PAUSED)]
    begin(request(seen(RuntimeStatus.RUNNING)))
    await client.signalled.wait()
    assert [news.sequence for news in client.signals] == [2]


async def test_a_watch_whose_workflow_is_gone_ends(begin: Any, runtime: Any, client: Any, seen: Any) -> None:
    client.fail = RPCError("gone", RPCStatusCode.NOT_FOUND, b"")
    runtime.says = [seen(RuntimeStatus.PAUSED, RuntimeDesired.PAUSED)]
    with pytest.raises(RPCError):
        await begin(request(seen(RuntimeStatus.RUNNING)))


async def test_the_end_of_a_process_says_how(
    begin: Any, runtime: Any, provisioner: Any, client: Any, seen: Any
) -> None:
    runtime.says = [Unreachable("refused")]
    provisioner.ended = Exit(signal="SIGKILL", log_tail=("the last line",))
    last = await begin(request(seen(RuntimeStatus.RUNNING)))
    assert last.fatal is not None
    assert last.fatal.error_code == "RunnerCheckError"
    assert "SIGKILL" in last.fatal.message
    assert "the last line" in last.fatal.message
    assert client.signals == []


async def test_a_deployment_that_was_stopped_unknown_to_its_record_is_not_restarted(
    begin: Any, runtime: Any, provisioner: Any, seen: Any
) -> None:
    runtime.says = [Unreachable("refused")]
    provisioner.ended = Exit(stopped=True)
    last = await begin(request(seen(RuntimeStatus.RUNNING)))
    assert last.fatal is not None
    assert last.fatal.error_code == "DeploymentOutdated"
    assert "since the backup was made" in last.fatal.message
    assert not restarts.may_help(last.fatal)


@pytest.mark.parametrize(
    ("known", "age", "status"),
    [
        pytest.param(RuntimeStatus.INITIALIZING, 0, RuntimeStatus.INITIALIZING, id="in grace"),
        pytest.param(RuntimeStatus.INITIALIZING, 60, RuntimeStatus.UNAVAILABLE, id="after grace"),
        pytest.param(RuntimeStatus.RUNNING, 0, RuntimeStatus.UNAVAILABLE, id="once it has run"),
    ],
)
async def test_silence_of_a_process_that_lives(
    begin: Any, runtime: Any, client: Any, seen: Any, known: RuntimeStatus, age: float, status: RuntimeStatus
) -> None:
    runtime.says = [Unreachable("silence")]
    begin(request(seen(known), age=age))
    await client.signalled.wait()
    assert client.signals[0].observation.runtime_status is status
    assert "silence" in client.signals[0].observation.details["reason"]


async def test_a_newer_watch_of_the_same_pipeline_ends_the_older(begin: Any, runtime: Any, seen: Any) -> None:
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    older = begin(request(seen(RuntimeStatus.RUNNING)))
    await asyncio.sleep(0)
    begin(request(seen(RuntimeStatus.RUNNING), epoch=2))
    assert (await older).fatal is None


def test_a_watch_that_is_lost_is_noticed() -> None:
    assert watching.BEAT_EVERY * 3 < watching.BEAT_TIMEOUT


SET_BACK = """
import struct, sys, time
from datetime import UTC, datetime
from types import SimpleNamespace

from activities import watch as watching

known = SimpleNamespace(runtime_status=None)
watch = watching._Watch(request=None, known=known, now=lambda: datetime.now(UTC))
watch.busy_until = time.monotonic() + 0.05
before = time.time()
with open(sys.argv[1], "r+b") as control:
    control.write(struct.pack("=q", -3600 * 10**9))
assert time.time() < before - 3000
time.sleep(0.1)
print(watch.pause(1) == watching.IDLE_EVERY)
"""


def test_a_host_whose_clock_is_set_back_looks_no_more_often(tmp_path: Path) -> None:
    library = shim.built(tmp_path)
    if library is None:
        pytest.skip("turning a clock takes a C compiler")
    control = tmp_path / "control"
    environment = {**os.environ, **shim.Control(control).environment(library)}
    command = [sys.executable, "-c", SET_BACK, str(control)]
    assert subprocess.check_output(command, env=environment, cwd=SOURCE, text=True) == "True\n"

"""Deploying as an effect: what is waited for, what is given up, and what is left to the next attempt."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import deploy
from activities.deploy import (
    CHECK_EVERY,
    LOOK_EVERY,
    REFUSED,
    REJECTED,
    TIMED_OUT,
    Deployments,
    pause,
)
from sluicegate.lifecycle.effects import (
    Addressed,
    ApproveRequest,
    Deployment,
    Failure,
    Host,
    Provisioned,
    SteerRequest,
)
from sluicegate.lifecycle.status import Initial, RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Packed
from sluicegate.provision import Exit, ProvisionRejected, Superseded
from sluicegate.runtime_client import Busy, Refused, Unreachable

HOST = Host(host_id="here", logs_address="127.0.0.1:2")
ADDRESS = Addressed(pipeline_id="p", generation=4)
STARTED = ActivityEnvironment.default_info().started_time
"""When Temporal says that the effect began, decades before this host does: only Temporal's clock counts."""


def deployment(within: float = 60) -> Deployment:
    """A deployment that has so many seconds."""
    return Deployment(
        pipeline_id="p",
        generation=4,
        workflow_id="w",
        name="p",
        deployment_id="d",
        program_version=1,
        initial=Initial.RUNNING,
        runtime_config={},
        plan=Packed.of_json({}),
        deadline=STARTED + timedelta(seconds=within),
    )


@pytest.fixture
def deployments(provisioner: Any, runtime: Any) -> Deployments:
    """The effects of a host in memory."""
    return Deployments(provisioner, runtime, HOST)


async def provision(deployments: Deployments, given: Deployment) -> Provisioned:
    """Provision as a worker does."""
    found: Provisioned = await ActivityEnvironment().run(deployments.provision, given)
    return found


def test_looks_are_the_further_apart_the_longer_a_start_takes() -> None:
    assert [pause(taken, 1) for taken in (0.0, 0.1, 1.0, 2.0, 3600.0)] == [
        LOOK_EVERY,
        LOOK_EVERY,
        0.02,
        0.04,
        CHECK_EVERY,
    ]


def test_looks_are_the_further_apart_the_more_start() -> None:
    assert [pause(0.0, starting) for starting in (1, 8, 100)] == [LOOK_EVERY, 8 * LOOK_EVERY, CHECK_EVERY]


async def test_a_start_that_is_over_keeps_no_other_from_being_looked_at_often(
    deployments: Deployments, provisioner: Any, runtime: Any, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many: list[int] = []

    def paused(taken: float, starting: int) -> float:
        many.append(starting)
        return 0.0

    monkeypatch.setattr(deploy, "pause", paused)
    for _ in range(2):
        runtime.says = [Unreachable("not yet"), seen(RuntimeStatus.RUNNING)]
        await provision(deployments, deployment())
    assert many == [1, 1]


async def test_a_process_that_initialises_quickly_is_shown_as_what_it_became(
    deployments: Deployments, provisioner: Any, runtime: Any, seen: Any
) -> None:
    runtime.says = [Unreachable("not yet"), seen(RuntimeStatus.INITIALIZING), seen(RuntimeStatus.RUNNING)]
    found = await provision(deployments, deployment())
    assert found.observation.runtime_status is RuntimeStatus.RUNNING
    assert found.location == "127.0.0.1:1"
    assert provisioner.calls == ["provision 4 token of d"]


async def test_one_that_takes_longer_is_shown_as_initialising(
    deployments: Deployments, runtime: Any, seen: Any
) -> None:
    runtime.says = [seen(RuntimeStatus.INITIALIZING)]
    found = await provision(deployments, deployment())
    assert found.observation.runtime_status is RuntimeStatus.INITIALIZING


@pytest.mark.parametrize("refusal", [ProvisionRejected("no such program"), Superseded("fenced")])
async def test_what_can_never_start_is_given_up(
    deployments: Deployments, provisioner: Any, refusal: Exception
) -> None:
    provisioner.refuse = refusal
    with pytest.raises(ApplicationError, match=str(refusal)) as given_up:
        await provision(deployments, deployment())
    assert (given_up.value.type, given_up.value.non_retryable) == (REJECTED, True)


async def test_a_process_that_ends_before_it_answers_says_how(
    deployments: Deployments, provisioner: Any
) -> None:
    provisioner.ended = Exit(exit_code=3, log_tail=("cannot open the database",))
    with pytest.raises(ApplicationError, match="exit code 3") as given_up:
        await provision(deployments, deployment())
    assert given_up.value.type == REJECTED
    assert "cannot open the database" in str(given_up.value)


async def test_a_process_that_never_answers_runs_out_of_time(
    deployments: Deployments, provisioner: Any, runtime: Any
) -> None:
    runtime.says = [Unreachable("silence")]
    with pytest.raises(ApplicationError) as given_up:
        await provision(deployments, deployment(within=0.2))
    assert given_up.value.type == TIMED_OUT


async def test_a_host_whose_clock_is_far_ahead_starts_what_has_time_left(
    deployments: Deployments, provisioner: Any, runtime: Any, seen: Any
) -> None:
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    assert deployment().deadline < datetime.now(UTC)
    await provision(deployments, deployment())
    assert provisioner.calls == ["provision 4 token of d"]


async def test_after_the_deadline_only_a_process_that_is_there_counts(
    deployments: Deployments, provisioner: Any, runtime: Any, seen: Any
) -> None:
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    assert (await provision(deployments, deployment(within=-5))).location == "127.0.0.1:1"
    provisioner.located = None
    with pytest.raises(ApplicationError) as given_up:
        await provision(deployments, deployment(within=-5))
    assert given_up.value.type == TIMED_OUT
    assert provisioner.calls == []


async def test_a_process_that_was_never_begun_runs_out_of_time(
    deployments: Deployments, provisioner: Any
) -> None:
    provisioner.located, provisioner.ended = None, Exit(traceless=True)
    with pytest.raises(ApplicationError) as given_up:
        await provision(deployments, deployment(within=-5))
    assert given_up.value.type == TIMED_OUT


async def test_waiting_for_a_turn_takes_none_of_its_time(provisioner: Any, runtime: Any, seen: Any) -> None:
    deployments = Deployments(provisioner, runtime, HOST, provisions_at_once=1)
    runtime.says = [Unreachable("silence")]
    first = asyncio.create_task(provision(deployments, deployment(within=0.5)))
    second = asyncio.create_task(provision(deployments, deployment(within=0.3)))
    with pytest.raises(ApplicationError):
        await first
    runtime.says = [seen(RuntimeStatus.RUNNING)]
    assert (await second).observation.runtime_status is RuntimeStatus.RUNNING
    assert provisioner.calls == ["provision 4 token of d"] * 2


async def test_what_takes_no_time_has_no_heartbeat(deployments: Deployments, runtime: Any, seen: Any) -> None:
    runtime.says = [Unreachable("not yet"), seen(RuntimeStatus.RUNNING)]
    beats: list[tuple[Any, ...]] = []
    effect = ActivityEnvironment()
    effect.on_heartbeat = lambda *details: beats.append(details)
    await effect.run(deployments.provision, deployment())
    assert beats == []


@pytest.mark.parametrize(
    ("desired", "call"),
    [
        (RuntimeDesired.RUNNING, "GET /start"),
        (RuntimeDesired.PAUSED, "GET /pause"),
        (RuntimeDesired.SUSPENDED, "POST /suspend"),
    ],
)
async def test_steering_is_one_call_of_the_process(
    provisioner: Any, runtime: Any, desired: RuntimeDesired, call: str
) -> None:
    poked: list[tuple[str, RuntimeDesired | None]] = []
    deployments = Deployments(provisioner, runtime, HOST, poke=lambda *words: poked.append(words))
    request = SteerRequest(pipeline_id="p", generation=4, location="x", deployment_id="d", desired=desired)
    await ActivityEnvironment().run(deployments.steer, request)
    assert (runtime.told, poked) == ([call], [("p", desired)])


@pytest.mark.parametrize(
    ("desired", "call"),
    [
        (RuntimeDesired.RUNNING, "POST /activate?initial=running"),
        (RuntimeDesired.PAUSED, "POST /activate?initial=paused"),
        (RuntimeDesired.SUSPENDED, "POST /suspend"),
    ],
)
async def test_what_began_in_standby_is_activated(
    deployments: Deployments, runtime: Any, desired: RuntimeDesired, call: str
) -> None:
    request = SteerRequest(
        pipeline_id="p",
        generation=4,
        location="x",
        deployment_id="d",
        desired=desired,
        initial=Initial.STANDBY,
    )
    await ActivityEnvironment().run(deployments.steer, request)
    assert runtime.told == [call]


async def test_an_approval_carries_its_flags(provisioner: Any, runtime: Any) -> None:
    poked: list[tuple[str, RuntimeDesired | None]] = []
    deployments = Deployments(provisioner, runtime, HOST, poke=lambda *words: poked.append(words))
    request = ApproveRequest(
        pipeline_id="p",
        generation=4,
        location="x",
        deployment_id="d",
        silent_bootstrap=True,
        concurrent_bootstrap=False,
    )
    await ActivityEnvironment().run(deployments.approve, request)
    assert runtime.told == ["POST /approve?silent_bootstrap=true&concurrent_bootstrap=false"]
    assert poked == [("p", None)]
    runtime.refuse = Refused(400, Failure(message="no", error_code="InvalidTransition"))
    with pytest.raises(ApplicationError) as refused:
        await ActivityEnvironment().run(deployments.approve, request)
    assert refused.value.type == REFUSED


@pytest.mark.parametrize(
    ("problem", "final"),
    [
        (Refused(400, Failure(message="not from Suspended", error_code="InvalidTransition")), True),
        (Busy("initialising"), False),
        (Unreachable("gone"), False),
    ],
)
async def test_only_a_no_is_final(
    deployments: Deployments, runtime: Any, problem: Exception, final: bool
) -> None:
    runtime.refuse = problem
    request = SteerRequest(
        pipeline_id="p", generation=4, location="x", deployment_id="d", desired=RuntimeDesired.PAUSED
    )
    with pytest.raises(ApplicationError if final else type(problem)) as failed:
        await ActivityEnvironment().run(deployments.steer, request)
    if isinstance(failed.value, ApplicationError):
        assert failed.value.type == REFUSED


async def test_ending_and_removing(deployments: Deployments, provisioner: Any) -> None:
    for effect in (deployments.deprovision, deployments.clear_storage, deployments.remove):
        await ActivityEnvironment().run(effect, ADDRESS)
    assert provisioner.calls == ["deprovision 4", "clear_storage", "deprovision 4", "remove"]
    assert await ActivityEnvironment().run(deployments.bind, ADDRESS) == HOST

"""Standby and its end, and bootstraps that wait for approval (contract §1.7, §2.4, §2.5)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate import errors
from sluicegate.lifecycle import admission, refusals, transitions
from sluicegate.lifecycle.commands import Activate, Approve
from sluicegate.lifecycle.record import Bootstrap
from sluicegate.lifecycle.status import (
    BootstrapPolicy,
    Initial,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
)

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

SYNC = {"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}
PROVISIONED = ResourcesStatus.PROVISIONED


@pytest.fixture
def standby(make_world: Any, make_pipeline: Any) -> "World":
    """A pipeline in standby."""
    world: World = make_world(make_pipeline(runtime_config=SYNC))
    world.cooperate()
    assert world.send("start", initial="Standby") is None
    world.cooperate()
    assert world.p.deployment_status == "Standby"
    return world


@pytest.fixture
def awaiting(world: "World") -> "World":
    """A pipeline whose process waits for approval."""
    world.cooperate()
    assert world.send("start", initial="Paused", bootstrap_policy="await_approval") is None
    while world.process is None:
        world.turn()
        for action in [a for a in world.in_flight if a.effect != "watch"]:
            world.succeed(action)
    world.process.asks = True
    world.cooperate()
    assert world.p.deployment_status == "AwaitingApproval"
    return world


@pytest.mark.parametrize("initial", ["running", "paused"])
def test_an_activation_ends_the_standby(standby: "World", initial: str) -> None:
    before = len(standby.state.journal.events) - 1
    assert standby.send("activate", initial=initial) is None
    standby.cooperate()
    reached = initial.title()
    assert (standby.p.deployment_status, standby.p.deployment_desired_status) == (reached, reached)
    assert standby.p.deployment_initial is Initial.STANDBY
    shown = [row[2:4] for row in standby.tuples(before)]
    assert shown == [("Standby", "Standby"), ("Standby", reached), (reached, reached)]


def test_once_activated_it_is_steered_like_any_other(standby: "World") -> None:
    standby.send("activate")
    standby.cooperate()
    assert standby.send("pause") is None
    standby.cooperate()
    assert standby.p.deployment_status == "Paused"
    assert standby.send("start", initial="Standby") is None, "the same start again is no change"
    assert standby.send("start", initial="Running") == "InitialImmutableUnlessStopped"


def test_a_process_that_goes_on_after_its_standby_is_not_told_to_return(standby: "World") -> None:
    assert standby.process is not None
    standby.process.desired, standby.process.status = RuntimeDesired.RUNNING, RuntimeStatus.RUNNING
    standby.cooperate()
    assert standby.p.told is RuntimeDesired.RUNNING
    assert standby.send("pause") is None


@pytest.mark.parametrize("word", ["standby", "Running", "", "x" * 500])
def test_an_activation_to_anything_else(word: str, deployed: Any, at: datetime) -> None:
    with pytest.raises(refusals.InvalidActivateStatus) as refused:
        admission.admit(deployed(PROVISIONED), Activate(initial=word), at)
    assert refused.value.shown_details == word[:64]
    with pytest.raises(errors.PipelineInteractionNotDeployed):
        admission.admit(deployed(ResourcesStatus.STOPPED), Activate(initial=word), at)


def test_an_approval_lets_the_process_go_on(awaiting: "World") -> None:
    before = len(awaiting.state.journal.events) - 1
    assert awaiting.send("approve", silent_bootstrap=True) is None
    awaiting.turn()
    [told] = [action for action in awaiting.in_flight if action.effect == "approve"]
    assert Bootstrap.model_validate_json(told.argument) == Bootstrap(
        policy=BootstrapPolicy.ALLOW, silent=True
    )
    awaiting.cooperate()
    assert awaiting.p.deployment_status == "Paused"
    assert [row[2:4] for row in awaiting.tuples(before)] == [
        ("AwaitingApproval", "Paused"),
        ("Paused", "Paused"),
    ]


def test_what_the_start_said_is_shown_also_after_an_approval(awaiting: "World") -> None:
    awaiting.send("approve", concurrent_bootstrap=True)
    awaiting.cooperate()
    assert awaiting.p.bootstrap == Bootstrap(policy=BootstrapPolicy.AWAIT_APPROVAL)
    assert awaiting.send("start", initial="Paused") is None
    awaiting.send("stop", force=True)
    awaiting.cooperate()
    assert (awaiting.p.approved, awaiting.p.approval_told) == (None, None)


def test_an_approval_comes_before_the_question(deployed: Any, at: datetime) -> None:
    for status in ("Initializing", "Running", "Paused", "Standby", "Replaying"):
        p = deployed(PROVISIONED, runtime_status=RuntimeStatus(status))
        admitted = admission.admit(p, Approve(), at)
        assert admitted.answer == "Bootstrap approved"
        assert admitted.pipeline.approved == Bootstrap(policy=BootstrapPolicy.ALLOW)


def test_a_later_approval_replaces_the_flags_of_an_earlier_one(awaiting: "World") -> None:
    awaiting.send("approve", silent_bootstrap=True)
    awaiting.turn()
    awaiting.send("approve", concurrent_bootstrap=True)
    awaiting.turn()
    [told] = [action for action in awaiting.in_flight if action.effect == "approve"]
    assert '"concurrent":true' in told.argument
    assert '"silent":false' in told.argument


def test_an_approval_cannot_be_both_silent_and_concurrent(deployed: Any, at: datetime) -> None:
    for status in ResourcesStatus:
        with pytest.raises(refusals.InvalidBootstrapConfig):
            admission.admit(deployed(status), Approve(silent_bootstrap=True, concurrent_bootstrap=True), at)


def test_what_waits_for_approval_stops(awaiting: "World") -> None:
    gentle = awaiting.clone()
    assert gentle.send("stop") is None
    gentle.cooperate()
    assert gentle.p.fully_stopped
    assert gentle.p.deployment_error is not None, "nobody approved, so there was nothing to checkpoint"
    assert awaiting.send("stop", force=True) is None
    awaiting.cooperate()
    assert (awaiting.p.fully_stopped, awaiting.p.deployment_error) == (True, None)


def test_pause_and_resume_wait_with_it(awaiting: "World") -> None:
    assert awaiting.send("resume") is None
    awaiting.cooperate()
    assert (awaiting.p.deployment_status, awaiting.p.deployment_desired_status) == (
        "AwaitingApproval",
        "Running",
    )
    awaiting.send("approve")
    awaiting.cooperate()
    assert awaiting.p.deployment_status == "Running"


def test_an_approval_that_was_called_off_changes_nothing(deployed: Any) -> None:
    stopping = deployed(ResourcesStatus.STOPPING)
    assert transitions.approval_told(stopping, Bootstrap()) == stopping

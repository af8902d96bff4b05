"""A standby takes over from a primary that is lost, and from no other; the primary is fenced first."""

from datetime import timedelta
from typing import Any

import pytest

from sluicegate import config
from sluicegate.lifecycle import explanation, limits, promotion, reconcile, transitions
from sluicegate.lifecycle.effects import Observation
from sluicegate.lifecycle.policies import RestartPolicy
from sluicegate.lifecycle.reconcile import Effect
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import rfc3339
from tests.lifecycle.conftest import World, new_pipeline

SYNC = {"bucket": "own", "read_bucket": "primary", "start_from_checkpoint": "latest"}
AWAY = Observation(
    runtime_status=RuntimeStatus.UNAVAILABLE, runtime_desired_status=RuntimeDesired.UNAVAILABLE
)


def effects(world: World) -> set[Effect]:
    """What should be in flight."""
    return {action.effect for action in reconcile.actions(world.p, world.now)}


def standing(**sync: Any) -> World:
    """A pipeline in standby for `p`."""
    settings = {**SYNC, "promote_on_failure": "p", **sync}
    storage = {"backend": {"name": "file", "config": {"sync": settings}}}
    world = World(new_pipeline(runtime_config={"storage": storage}).but(name="s"))
    world.send("start", initial="Standby")
    return world


@pytest.fixture
def standby() -> World:
    """A pipeline in standby, which its primary knows."""
    world = standing()
    world.cooperate()
    assert world.p.deployment_status == "Standby"
    return world


@pytest.fixture
def primary(world: World) -> World:
    """A pipeline that runs, for which one stands by."""
    world.cooperate()
    world.send("start")
    world.cooperate()
    assert world.send("guard", name="s", standby_id="1") is None
    return world


def lose(world: World) -> None:
    """Let its process die, and all that follows happen, but for what is told to the standby."""
    assert world.process is not None
    world.process.alive = False
    world.turn()
    [watch] = [action for action in world.in_flight if action.effect is Effect.WATCH]
    world.succeed(watch)


def bury(world: World) -> None:
    """Let its host make sure that the process is gone."""
    world.turn()
    [end] = [action for action in world.in_flight if action.effect is Effect.DEPROVISION]
    world.succeed(end)
    world.turn()


# The standby


def test_the_primary_is_told_once_that_somebody_stands_by() -> None:
    world = standing()
    for effect in (Effect.COMPILE, Effect.BIND, Effect.PROVISION):
        world.turn()
        [due] = world.in_flight
        assert due.effect is effect
        world.succeed(due)
    world.turn()
    assert Effect.GUARD not in effects(world), "it does not stand by yet"
    assert world.process is not None
    world.process.proceed()
    world.watch()
    world.deliver()
    world.turn()
    [guard] = [action for action in world.in_flight if action.effect is Effect.GUARD]
    assert guard.argument == "p"
    world.succeed(guard)
    world.cooperate()
    assert (world.p.guards, effects(world)) == (world.p.generation, {Effect.WATCH})


@pytest.mark.parametrize("sync", [{"promote_on_failure": None}, {"promote_on_failure": ""}])
def test_who_names_no_primary_tells_nobody(sync: dict[str, Any]) -> None:
    world = standing(**sync)
    world.cooperate()
    assert world.p.guards == 0
    assert world.send("promote", primary="p", reason="r") == "NotInStandby"


def test_a_primary_that_is_not_there_yet_is_asked_for_seldom(standby: World) -> None:
    p = standby.p.but(guards=0)
    waits = []
    for _ in range(6):
        p = promotion.not_told(p, "there is none", standby.now)
        waits.append(p.retries["guard"].not_before - standby.now)
    assert waits == [timedelta(minutes=m) for m in (1, 2, 4, 8, 10, 10)]
    assert reconcile.settled(p, standby.now)
    assert Effect.GUARD not in {a.effect for a in reconcile.actions(p, standby.now)}


def test_a_primary_from_a_backup_is_told_again(standby: World) -> None:
    restored = transitions.restored(standby.p)
    assert Effect.GUARD in {action.effect for action in reconcile.actions(restored, standby.now)}


def test_a_standby_is_activated_as_if_it_had_been_told_to(standby: World) -> None:
    events = len(standby.state.journal.events)
    assert standby.send("promote", request_id="r", primary="p", reason="it died") is None
    standby.cooperate()
    assert standby.p.deployment_status == "Running"
    assert standby.p.promoted == ""
    details = standby.p.resources_status_details
    assert details is not None
    assert (details["cause"], details["reason"]) == ("promotion", "It has taken over from p: it died")
    new = standby.state.journal.events[events:]
    assert {event.request_id for event in new} == {"r"}
    assert standby.send("promote", primary="p", reason="again") == "NotInStandby"


def test_a_standby_that_is_out_of_reach_takes_over_when_it_is_back(standby: World) -> None:
    standby.state = standby.state.noting(transitions.observed(standby.p, AWAY, standby.now), standby.now)
    assert standby.send("promote", primary="p", reason="it died") is None
    standby.turn()
    assert Effect.STEER not in effects(standby)
    assert standby.process is not None
    standby.process.answers = False
    standby.cooperate()
    assert standby.p.deployment_status == "Running"


def test_a_standby_that_is_being_started_takes_over_when_it_is() -> None:
    world = standing()
    while world.p.deployment_status != "Provisioning":
        world.turn()
        world.succeed(min(world.in_flight, key=str))
        world.turn()
    assert world.send("promote", primary="p", reason="it died") is None
    world.cooperate()
    assert world.p.deployment_status == "Running"


@pytest.mark.parametrize(("verb", "arguments"), [("stop", {"force": True}), ("activate", {})])
def test_what_stands_by_no_more_takes_nothing_over(
    standby: World, verb: str, arguments: dict[str, Any]
) -> None:
    standby.send(verb, **arguments)
    standby.cooperate()
    shown = standby.p.deployment_status
    assert standby.send("promote", primary="p", reason="it died") == "NotInStandby"
    standby.cooperate()
    assert standby.p.deployment_status == shown


def test_the_loss_of_another_is_none_of_its_business(standby: World) -> None:
    assert standby.send("promote", primary="q", reason="it died") == "NotInStandby"


def test_a_stop_calls_off_what_was_not_told_yet(standby: World) -> None:
    standby.send("promote", primary="p", reason="it died")
    standby.send("stop", force=True)
    standby.cooperate()
    assert (standby.p.deployment_status, standby.p.promoted) == ("Stopped", "")


# The primary


def test_a_primary_that_died_is_buried_before_anybody_takes_over(primary: World) -> None:
    lose(primary)
    assert primary.p.deployment_status == "Stopping"
    assert Effect.PROMOTE not in effects(primary)
    bury(primary)
    [told] = [action for action in primary.in_flight if action.effect is Effect.PROMOTE]
    assert (primary.p.deployment_status, told.argument) == ("Stopped", "s")
    successor = promotion.successor(primary.p)
    assert successor is not None
    assert "ended by signal 9" in successor.lost
    primary.succeed(told)
    primary.turn()
    assert (primary.p.understudy, effects(primary)) == (None, set())


@pytest.mark.parametrize("force", [False, True])
def test_a_primary_that_is_stopped_is_not_lost(primary: World, force: bool) -> None:
    primary.send("stop", force=force)
    if not force:
        lose(primary)  # its checkpoint fails
    primary.cooperate()
    assert primary.p.fully_stopped
    assert promotion.successor(primary.p) is None


def test_a_primary_that_never_worked_is_not_lost(primary: World) -> None:
    primary.send("stop", force=True)
    primary.cooperate()
    primary.send("start")
    primary.turn()
    primary.fail(min(primary.in_flight, key=str), "refused")
    primary.cooperate()
    assert primary.p.deployment_error is not None
    assert promotion.successor(primary.p) is None


def test_a_restart_comes_first_and_giving_up_is_a_loss(primary: World) -> None:
    primary.edit(restart_policy=RestartPolicy(policy="on_failure", max_attempts=1))
    lose(primary)
    bury(primary)
    assert promotion.successor(primary.p) is None
    wake_at = reconcile.wake_at(primary.p, primary.now)
    assert wake_at is not None
    primary.now = wake_at
    primary.turn()
    assert primary.p.deployment_status == "Provisioning"
    primary.fail(min(primary.in_flight, key=str), "refused")
    bury(primary)
    assert promotion.successor(primary.p) is not None


def test_one_that_is_out_of_reach_is_ended_and_barred(primary: World) -> None:
    primary.edit(restart_policy=RestartPolicy(policy="on_failure"))
    primary.state = primary.state.noting(transitions.observed(primary.p, AWAY, primary.now), primary.now)
    began = primary.now
    assert reconcile.wake_at(primary.p, primary.now) == began + limits.LOST_AFTER
    shown = explanation.details(primary.p)
    assert shown is not None
    assert shown["deadline"] == rfc3339(began + limits.LOST_AFTER)
    primary.now = began + limits.LOST_AFTER - timedelta(seconds=1)
    primary.turn()
    assert primary.p.deployment_status == "Unavailable"
    primary.now = began + limits.LOST_AFTER
    primary.turn()
    p = primary.p
    assert (p.deployment_status, p.deployment_desired_status) == ("Stopping", "Stopped")
    assert p.deployment_error is not None
    assert p.deployment_error.error_code == "PrimaryOutOfReach"
    assert promotion.successor(p) is None
    failed = transitions.failed(p, "deprovision", "nobody has taken it", primary.now)
    barred = promotion.barred(failed)
    assert promotion.successor(barred) is not None
    assert barred.deployment_status == "Stopping", "the host ends the process as soon as it answers"
    assert promotion.barred(promotion.handed_over(barred)) == promotion.handed_over(barred)


def test_one_that_failed_on_a_host_that_is_gone_is_not_restarted(primary: World) -> None:
    primary.edit(restart_policy=RestartPolicy(policy="on_failure"))
    lose(primary)
    assert primary.p.restarts.next is not None
    barred = promotion.barred(primary.p)
    assert barred.restarts.next is None
    assert promotion.successor(barred) is not None


def test_who_has_nobody_standing_by_is_waited_for(world: World) -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.state = world.state.noting(transitions.observed(world.p, AWAY, world.now), world.now)
    assert promotion.lost_at(world.p) is None
    assert reconcile.wake_at(world.p, world.now) is None
    assert promotion.barred(world.p) == world.p


def test_a_start_forgets_the_loss_before(primary: World) -> None:
    lose(primary)
    bury(primary)
    assert promotion.successor(primary.p) is not None
    primary.send("start")
    assert promotion.successor(primary.p) is None
    primary.cooperate()
    lose(primary)
    bury(primary)
    assert promotion.successor(primary.p) is not None


def test_the_newest_that_stands_by_counts(primary: World) -> None:
    primary.send("guard", name="t", standby_id="2")
    assert primary.p.understudy is not None
    assert (primary.p.understudy.name, primary.p.understudy.worked) == ("t", primary.p.deployment_id)


def test_the_key_is_kept_and_not_there_where_it_is_not_set() -> None:
    def sync(given: dict[str, Any]) -> Any:
        storage = {"backend": {"name": "file", "config": {"sync": given}}}
        return config.runtime_config({"storage": storage})["storage"]["backend"]["config"]["sync"]

    assert "promote_on_failure" not in sync(SYNC)
    assert sync({**SYNC, "promote_on_failure": "p"})["promote_on_failure"] == "p"

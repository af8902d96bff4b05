"""What a pipeline is when it comes from a backup: the same, and never deployed twice (I2, I4)."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.lifecycle import limits, reconcile, transitions
from sluicegate.lifecycle.effects import Host, Observation, Provisioned
from sluicegate.lifecycle.policies import Schedule
from sluicegate.lifecycle.reconcile import Effect
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.status import ResourcesStatus, RuntimeDesired, RuntimeStatus

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World


HOST = Host(host_id="host-1", logs_address="h:2")


def effects(p: Pipeline, at: datetime) -> set[Effect]:
    """Kinds of effects that are wanted."""
    return {action.effect for action in reconcile.actions(p, at)}


def test_what_is_stopped_stays_so_and_its_next_generation_is_beyond_any(world: "World", at: datetime) -> None:
    world.cooperate()
    restored = world.state.restored()
    p = restored.pipeline
    assert reconcile.advance(p, at) == ()
    assert reconcile.at_rest(p)
    assert p.generation == limits.LEAP
    assert restored.revision == world.state.revision + limits.LEAP
    world.state = restored
    world.send("start")
    world.cooperate()
    assert world.p.deployment_status == "Running"
    assert world.p.generation == limits.LEAP + 1


@pytest.mark.parametrize(
    ("status", "effect"),
    [
        (ResourcesStatus.PROVISIONING, Effect.PROVISION),
        (ResourcesStatus.PROVISIONED, Effect.WATCH),
        (ResourcesStatus.STOPPING, Effect.DEPROVISION),
    ],
)
def test_what_is_deployed_keeps_its_generation_and_goes_on_under_another_epoch(
    deployed: Callable[..., Pipeline], at: datetime, status: ResourcesStatus, effect: Effect
) -> None:
    before = deployed(status, wanted=status is not ResourcesStatus.STOPPING, host=HOST)
    p = transitions.restored(before)
    assert (p.generation, p.epoch, p.host) == (before.generation, before.epoch + 1, before.host)
    assert effect in effects(p, at)


def test_the_deployment_after_a_restored_one_is_beyond_any(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    generation = world.p.generation
    world.state = world.state.restored()
    world.send("stop", force=True)
    world.cooperate()
    assert (world.p.deployment_status, world.p.generation) == ("Stopped", generation)
    world.send("start")
    world.cooperate()
    assert world.p.generation == generation + limits.LEAP + 1


def test_schedules_are_put_in_place_again(make_pipeline: Callable[..., Pipeline], at: datetime) -> None:
    nightly = Schedule(verb="stop", cron="0 22 * * *", revision=1)
    placed = make_pipeline(schedules={"nightly": nightly}, schedules_revision=1, schedules_placed=1)
    assert Effect.PLACE_SCHEDULES not in effects(placed, at)
    p = transitions.restored(placed)
    assert Effect.PLACE_SCHEDULES in effects(p, at)
    assert p.schedules == placed.schedules
    without = transitions.restored(make_pipeline())
    assert Effect.PLACE_SCHEDULES not in effects(without, at)


def test_a_ledger_comes_back_under_a_revision_that_no_copy_has() -> None:
    before = DirectoryState(revision=7)
    assert ledger.restored(before) == before.but(revision=7 + limits.LEAP)


def provisioned_with(world: "World") -> Pipeline:
    """A pipeline as its deployment carries it to the host."""
    world.cooperate()
    world.send("start")
    while world.p.resources_status is not ResourcesStatus.PROVISIONING or world.p.host is None:
        world.turn()
        for action in list(world.in_flight):
            if action.effect is Effect.BIND:
                world.succeed(action)
    return world.p


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (RuntimeDesired.RUNNING, RuntimeDesired.RUNNING),
        (RuntimeDesired.PAUSED, RuntimeDesired.PAUSED),
        (RuntimeDesired.UNAVAILABLE, RuntimeDesired.RUNNING),
    ],
)
def test_an_adopted_pipeline_is_what_its_process_says_and_is_told_nothing(
    world: "World", at: datetime, said: RuntimeDesired, told: RuntimeDesired
) -> None:
    before = provisioned_with(world)
    seen = Observation(runtime_status=RuntimeStatus.PAUSED, runtime_desired_status=said)
    state = State.adopted(before, Provisioned(location="h:1", observation=seen), at)
    p = state.pipeline
    assert (p.id, p.generation, p.deployment_id) == (before.id, before.generation, before.deployment_id)
    assert (p.deployment_status, p.location, p.deadline) == ("Paused", "h:1", None)
    assert (p.wanted, p.steered, p.start_wanted) == (told, told, True)
    assert effects(p, at) == {Effect.WATCH}
    assert len(state.journal.events) == 1
    assert State.decoded(state.encoded()) == state

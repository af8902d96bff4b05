"""Restarts by policy: when, how late, as what, and that the user is always above them."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from sluicegate.lifecycle import reconcile, restarts, transitions
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.policies import RestartPolicy
from sluicegate.lifecycle.reconcile import Effect
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Packed, rfc3339

ON_FAILURE = RestartPolicy(policy="on_failure", max_attempts=3)


@pytest.fixture
def running(world: Any) -> Any:
    """A running pipeline that is restarted when it fails."""
    world.edit(restart_policy=ON_FAILURE)
    world.send("start", initial="Paused", bootstrap_policy="allow", silent_bootstrap=True)
    world.cooperate()
    world.send("resume")
    world.cooperate()
    assert world.p.deployment_status == "Running"
    return world


def die(world: Any, problem: Failure | None = None) -> None:
    """Let the process die, or say something fatal, and the compute be gone."""
    if problem is None:
        world.process.alive = False
        world.succeed(next(a for a in world.in_flight if a.effect is Effect.WATCH))
    else:
        seen = world.p.observation.but(fatal=problem)
        world._note("system", transitions.observed(world.p, seen, world.now))
    world.turn()
    world.succeed(next(a for a in world.in_flight if a.effect is Effect.DEPROVISION))
    world.turn()


def wait_over(world: Any) -> timedelta:
    """Let the clock run until something is due, and tell how long that was."""
    wake_at = reconcile.wake_at(world.p, world.now)
    assert wake_at is not None
    waited: timedelta = wake_at - world.now
    world.now = wake_at
    world.turn()
    return waited


def test_never_is_the_default(world: Any) -> None:
    world.send("start")
    world.cooperate()
    die(world)
    assert world.p.fully_stopped
    assert world.p.deployment_error.error_code == "RunnerCheckError"
    assert reconcile.wake_at(world.p, world.now) is None
    assert world.p.resources_status_details is None


def test_a_failure_is_waited_out_and_the_same_deployment_begun_again(running: Any) -> None:
    before = running.p
    die(running)
    waiting = running.p
    assert (waiting.deployment_status, waiting.deployment_desired_status) == ("Stopped", "Stopped")
    assert waiting.deployment_error.error_code == "RunnerCheckError"
    assert waiting.deployment_id is None
    details = waiting.resources_status_details
    wake_at = reconcile.wake_at(waiting, running.now)
    assert wake_at is not None
    assert details["next_retry_at"] == rfc3339(wake_at)
    assert (details["attempts"], details["max_attempts"], details["cause"]) == (1, 3, "restart")
    events = len(running.state.journal.events)
    assert timedelta(seconds=0.8) <= wait_over(running) <= timedelta(seconds=1.2)
    restarting = running.p
    assert restarting.resources_status_details["cause"] == "restart"
    assert restarting.generation == before.generation + 1
    assert restarting.deployment_id == before.deployment_id
    assert restarting.deployment_initial == "Paused"
    assert restarting.bootstrap.policy == "allow"
    assert restarting.bootstrap.silent
    assert restarting.deployment_error is None
    assert restarts.first_desired(restarting) == "Running"
    assert {event.actor for event in running.state.journal.events[events:]} == {"system"}
    running.cooperate()
    assert running.p.deployment_status == "Running"
    assert (running.p.restarts.attempts, running.p.restarts.total) == (0, 1)


def test_a_pipeline_that_the_user_paused_is_still_paused_after_a_restart(running: Any) -> None:
    running.send("pause")
    running.cooperate()
    die(running)
    wait_over(running)
    assert restarts.first_desired(running.p) == "Paused"
    running.cooperate()
    assert running.p.deployment_status == "Paused"


def test_an_edit_in_between_makes_it_another_deployment(running: Any) -> None:
    before = running.p
    die(running)
    running.edit(runtime_config={**before.runtime_config, "max_parallel_connector_init": 3})
    wait_over(running)
    assert running.p.deployment_status == "Provisioning"
    assert running.p.deployment_id not in (None, before.deployment_id)


def test_what_a_start_chose_is_chosen_for_its_deployment_only(world: Any) -> None:
    world.edit(restart_policy=ON_FAILURE)
    world.cooperate()
    for edited in (False, True):
        world.send("start", checkpoint="none")
        world.cooperate()
        die(world)
        if edited:
            world.edit(runtime_config={**world.p.runtime_config, "max_parallel_connector_init": 3})
        wait_over(world)
        assert world.p.bootstrap.checkpoint == (None if edited else "none")
        world.cooperate()
        world.send("stop", force=True)
        world.cooperate()


def test_a_restart_waits_for_the_compiler_and_ends_where_it_fails(running: Any) -> None:
    die(running)
    running.edit(texts=Packed.of_json({"program_code": "SELECT nonsense"}))
    wait_over(running)
    assert running.p.start_wanted
    running.cooperate()
    assert running.p.fully_stopped
    assert running.p.deployment_error.error_code == "StartFailedDueToFailedCompilation"
    assert running.p.restarts.next is None


def test_waits_grow_to_a_limit_and_then_comes_quarantine(world: Any) -> None:
    policy = RestartPolicy(
        policy="on_failure", max_attempts=5, initial_backoff_secs=2, backoff_factor=3, max_backoff_secs=20
    )
    world.edit(restart_policy=policy)
    world.send("start")
    world.cooperate()
    for expected in (2, 6, 18, 20, 20):
        die(world)
        waited = wait_over(world).total_seconds()
        assert 0.8 * expected <= waited <= 1.2 * expected
        world.succeed(next(a for a in world.in_flight if a.effect is Effect.PROVISION))
        world.turn()
    die(world)
    assert world.p.fully_stopped
    assert reconcile.wake_at(world.p, world.now) is None
    assert world.p.deployment_error.error_code == "RunnerCheckError"
    assert world.p.resources_status_details["quarantined_since"] == rfc3339(world.now)
    assert "quarantine" in world.p.resources_status_details["reason"]
    assert restarts.state(world.p)["quarantined_since"] == rfc3339(world.now)
    assert restarts.state(world.p)["restarts"] == 5
    world.send("start")
    world.cooperate()
    assert world.p.deployment_status == "Running"
    assert restarts.state(world.p)["quarantined_since"] is None
    assert restarts.state(world.p)["attempts"] == 0


def test_waits_of_pipelines_that_fail_together_differ(make_world: Any, make_pipeline: Any) -> None:
    waits = set()
    for number in range(20):
        world = make_world(make_pipeline(id=f"p{number}", restart_policy=ON_FAILURE))
        world.cooperate()
        world.send("start")
        world.cooperate()
        die(world)
        waits.add(wait_over(world))
    assert len(waits) > 10


def test_being_healthy_for_long_enough_begins_counting_anew(running: Any) -> None:
    die(running)
    wait_over(running)
    running.succeed(next(a for a in running.in_flight if a.effect is Effect.PROVISION))
    running.turn()
    assert running.p.runtime_status is RuntimeStatus.INITIALIZING
    assert restarts.recovers_at(running.p) is None, "to initialise is not to be healthy"
    running.process.proceed()
    running.watch()
    running.deliver()
    running.turn()
    assert running.p.restarts.attempts == 1
    assert wait_over(running) == timedelta(seconds=60)
    assert running.p.restarts.attempts == 0


@pytest.mark.parametrize("verb", ["stop", "clear", "dismiss_error"])
def test_the_user_calls_a_restart_off(running: Any, verb: str) -> None:
    die(running)
    assert running.p.restarts.next is not None
    assert running.send(verb) is None
    running.cooperate()
    assert running.p.fully_stopped
    assert running.p.restarts.next is None
    assert running.p.restarts.attempts == 0
    assert running.p.resources_status_details is None
    assert reconcile.wake_at(running.p, running.now) is None


def test_a_stop_while_the_compute_is_being_removed_calls_it_off(running: Any) -> None:
    running.process.alive = False
    running.succeed(next(a for a in running.in_flight if a.effect is Effect.WATCH))
    running.turn()
    assert running.p.deployment_status == "Stopping"
    assert running.send("stop") is None
    running.cooperate()
    assert running.p.fully_stopped
    assert running.p.restarts.next is None


@pytest.mark.parametrize("seen_by_the_process", [False, True])
def test_a_process_that_dies_while_it_suspends_is_not_restarted(
    running: Any, seen_by_the_process: bool
) -> None:
    assert running.send("stop", force=False) is None
    running.turn()
    if seen_by_the_process:
        running.tell(next(a for a in running.in_flight if a.effect is Effect.STEER))
    die(running)
    assert running.p.restarts.next is None
    running.cooperate()
    assert running.p.fully_stopped


def test_a_users_start_ends_the_wait(running: Any) -> None:
    before = running.p.deployment_id
    die(running)
    assert running.send("start", dismiss_error=False) == "CannotStartWithUndismissedError"
    assert running.p.restarts.next is not None, "a refused request changes nothing"
    assert running.send("start", initial="Running") is None
    running.cooperate()
    assert running.p.deployment_status == "Running"
    assert running.p.deployment_id != before
    assert running.p.restarts.total == 0


def test_the_policy_never_calls_a_restart_off(running: Any) -> None:
    die(running)
    version = running.p.version
    running.edit(restart_policy=RestartPolicy())
    assert running.p.version == version
    running.cooperate()
    assert running.p.fully_stopped
    assert running.p.resources_status_details is None


@pytest.mark.parametrize("code", sorted(restarts.HOPELESS))
def test_what_would_only_come_again_is_not_restarted(running: Any, code: str) -> None:
    die(running, Failure(message="no", error_code=code))
    assert running.p.deployment_error.error_code == code
    assert running.p.restarts.next is None
    assert reconcile.wake_at(running.p, running.now) is None


@pytest.mark.parametrize("code", ["RunnerCheckError", "RuntimeError.WorkerPanic", "PipelineTerminated"])
def test_what_may_pass_is(running: Any, code: str) -> None:
    die(running, Failure(message="no", error_code=code))
    running.cooperate()
    assert running.p.deployment_status == "Running"
    assert running.p.restarts.total == 1


def test_a_start_that_times_out_is_restarted_as_what_it_was(world: Any) -> None:
    world.edit(restart_policy=ON_FAILURE)
    world.cooperate()
    world.send("start", initial="Paused")
    world.turn()
    deployment_id = None
    for _ in range(4):
        for action in list(world.in_flight):
            if action.effect is Effect.BIND:
                world.succeed(action)
        world.turn()
        deployment_id = deployment_id or world.p.deployment_id
        assert world.p.deployment_id == deployment_id
        action = next(a for a in world.in_flight if a.effect is Effect.PROVISION)
        world.fail(action, "refused")
        world.turn()
        world.succeed(next(a for a in world.in_flight if a.effect is Effect.DEPROVISION))
        world.turn()
        if world.p.restarts.next:
            assert world.p.restarts.next.initial == "Paused"
            assert world.p.restarts.next.told in (None, RuntimeDesired.PAUSED)
            wait_over(world)
    assert world.p.restarts.quarantined_since == world.now


@pytest.mark.parametrize(
    "given",
    [
        {"policy": "always"},
        {"max_attempts": 0},
        {"max_attempts": 1001},
        {"initial_backoff_secs": 0},
        {"backoff_factor": 0.5},
        {"healthy_after_secs": 0},
        {"max_backoff_secs": 86401},
        {"initial_backoff_secs": 10, "max_backoff_secs": 5},
    ],
)
def test_a_policy_has_bounds(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestartPolicy.model_validate(given)


def test_the_wait_follows_from_ids_alone(running: Any, at: datetime) -> None:
    die(running)
    again = restarts.resting(running.p, running.now)
    assert again.restarts.next == running.p.restarts.next

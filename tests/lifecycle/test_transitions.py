"""Outcomes of effects, well or not, in time or late: what each makes of the record (contract §1)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.lifecycle import explanation, limits, reconcile, transitions
from sluicegate.lifecycle.effects import (
    CompileOutcome,
    Failure,
    Host,
    Observation,
    Observed,
    Provisioned,
    Readopt,
)
from sluicegate.lifecycle.reconcile import Action
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.status import (
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)
from sluicegate.lifecycle.values import Packed

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

PROVISIONING, PROVISIONED = ResourcesStatus.PROVISIONING, ResourcesStatus.PROVISIONED
RUNNING = Observation(runtime_status=RuntimeStatus.RUNNING, runtime_desired_status=RuntimeDesired.RUNNING)
PAUSED = Observation(runtime_status=RuntimeStatus.PAUSED, runtime_desired_status=RuntimeDesired.PAUSED)
DEAD = RUNNING.but(fatal=Failure(message="dead", error_code="RunnerCheckError"))
FOUND = Provisioned(location="h:1", observation=RUNNING)
HOST = Host(host_id="host-1", logs_address="h:2")


def records(outcome: Pipeline | tuple[Pipeline, ...]) -> tuple[Pipeline, ...]:
    """Treat one write and several alike."""
    return (outcome,) if isinstance(outcome, Pipeline) else outcome


LATE: list[tuple[str, Callable[[Pipeline, datetime], Any], ResourcesStatus | None]] = [
    ("provisioned", lambda p, at: transitions.provisioned(p, FOUND, at), PROVISIONING),
    ("observed", lambda p, at: transitions.observed(p, PAUSED, at), PROVISIONED),
    ("observed dead", lambda p, at: transitions.observed(p, DEAD, at), PROVISIONED),
    ("unanswered", transitions.unanswered, PROVISIONED),
    ("steered", lambda p, at: transitions.steered(p, RuntimeDesired.PAUSED), PROVISIONED),
    ("stopped", transitions.stopped, ResourcesStatus.STOPPING),
    ("cleared", lambda p, at: transitions.cleared(p), None),
]


@pytest.mark.parametrize(("name", "outcome", "due"), LATE, ids=[row[0] for row in LATE])
@pytest.mark.parametrize("status", ResourcesStatus)
def test_an_outcome_that_comes_too_late_changes_nothing(
    name: str, outcome: Any, due: ResourcesStatus | None, status: ResourcesStatus, deployed: Any
) -> None:
    p = deployed(status)
    written = records(outcome(p, p.created_at + timedelta(days=1)))
    assert (all(q == p for q in written)) is (status is not due)


@pytest.mark.parametrize("status", ResourcesStatus)
def test_only_a_deployment_can_be_over(status: ResourcesStatus, deployed: Any, at: datetime) -> None:
    written = transitions.over(deployed(status), DEAD.fatal, at)
    assert bool(written) is (status in (PROVISIONING, PROVISIONED))
    for first, second in [written] if written else []:
        assert (first.resources_status, first.start_wanted, first.deployment_error) == (status, False, None)
        assert (second.resources_status, second.deployment_error) == (ResourcesStatus.STOPPING, DEAD.fatal)


# Watching


def report(p: Pipeline, seen: Observation, **fence: int) -> Observed:
    """Make the signal of the current watch, or of another."""
    numbers = {"generation": p.generation, "epoch": p.epoch, "sequence": p.sequence + 1, **fence}
    return Observed(observation=seen, **numbers)


@pytest.mark.parametrize("field", ["generation", "epoch", "sequence"])
@pytest.mark.parametrize("seen", [PAUSED, DEAD], ids=["paused", "dead"])
def test_an_old_observation_is_dropped(field: str, seen: Observation, deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED)
    old = getattr(p, field) - (field != "sequence")
    assert transitions.reported(p, report(p, seen, **{field: old}), at) == ()
    assert transitions.reported(p, report(p, seen), at)


def test_an_observation_of_another_pipeline_of_the_name_is_dropped(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED)
    seen = report(p, PAUSED)
    assert transitions.reported(p, seen.but(pipeline_id="another"), at) == ()
    assert transitions.reported(p, seen.but(pipeline_id=p.id), at)


def test_an_observation_without_news_still_counts(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED)
    (heard,) = transitions.reported(p, report(p, p.observation, sequence=9), at)
    assert heard == p.but(sequence=9)
    assert transitions.reported(heard, report(p, PAUSED, sequence=8), at) == ()


def test_storage_details_are_kept_where_the_process_has_none(deployed: Any, at: datetime) -> None:
    details = {"checkpoints": [{"uuid": "1"}]}
    p = deployed(PROVISIONED, storage_status_details=details)
    (silent,) = transitions.observed(p, PAUSED, at)
    assert silent.storage_status_details == details
    (news,) = transitions.observed(p, PAUSED.but(storage_status_details={"checkpoints": []}), at)
    assert news.storage_status_details == {"checkpoints": []}


def test_nobody_answers_for_the_host(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED)
    (hidden,) = transitions.unanswered(p, at)
    assert (hidden.deployment_status, hidden.runtime_desired) == ("Unavailable", RuntimeDesired.UNAVAILABLE)
    assert hidden.runtime_status_details is not None
    assert "host-1" in hidden.runtime_status_details["reason"]
    assert hidden.runtime_status_since == hidden.runtime_desired_since == at
    assert transitions.unanswered(hidden, at + timedelta(minutes=1)) == ()


def test_the_next_watch_counts_anew(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED, sequence=7)
    broken = transitions.failed(p, "watch", "lost", at)
    assert (broken.epoch, broken.sequence) == (p.epoch + 1, 0)
    assert transitions.reported(broken, report(p, PAUSED), at) == ()
    (heard,) = transitions.reported(broken, report(broken, PAUSED), at)
    assert (heard.runtime_status, heard.retries) == (RuntimeStatus.PAUSED, {})


def test_failures_in_a_row_remember_the_first_and_a_late_heartbeat(deployed: Any, at: datetime) -> None:
    p = transitions.failed(deployed(ResourcesStatus.STOPPING), "deprovision", "no", at)
    assert not p.retries["deprovision"].late
    late = transitions.failed(p, "deprovision", "lost", at + timedelta(seconds=1), late=True)
    again = transitions.failed(late, "deprovision", "no", at + timedelta(seconds=2))
    retry = again.retries["deprovision"]
    assert (retry.attempts, retry.since, retry.late, retry.reason) == (3, at, True, "no")


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("host_id", ["host-1", "host-2"])
@pytest.mark.parametrize("late", [0, 1])
def test_a_host_that_comes_back(status: ResourcesStatus, host_id: str, late: int, deployed: Any) -> None:
    p = deployed(status, host=HOST)
    back = Host(host_id=host_id, logs_address="h:3")
    adopted = transitions.readopted(p, Readopt(host=back, generation=p.generation - late))
    assert (adopted.host == back) is (host_id == "host-1")
    renewed = host_id == "host-1" and not late and status is not ResourcesStatus.STOPPED
    assert (adopted.epoch, adopted.sequence) == ((p.epoch + 1, 0) if renewed else (p.epoch, p.sequence))


# Failing


def only(world: "World") -> Action:
    """The one effect in flight."""
    (action,) = world.in_flight
    return action


def test_delays_double_up_to_half_a_minute(deployed: Any, at: datetime) -> None:
    p, delays = deployed(ResourcesStatus.STOPPING), []
    for _ in range(12):
        p = transitions.failed(p, "deprovision", "no", at)
        delays.append((p.retries["deprovision"].not_before - at).total_seconds())
        reason = (explanation.details(p) or {})["reason"]
        assert reason == f"Its process is being ended. Attempt {len(delays)} failed: no"
        assert reconcile.wake_at(p, at) == p.retries["deprovision"].not_before
        assert reconcile.actions(p, at) == frozenset()
        assert reconcile.actions(p, p.retries["deprovision"].not_before)
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-3:] == [30.0, 30.0, 30.0]


@pytest.mark.parametrize("effect", ["bind", "provision"])
def test_provisioning_is_tried_until_its_deadline_and_once_more(effect: str, world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.turn()
    if effect == "provision":
        world.succeed(only(world))
        world.turn()
    tries, began = 0, world.now
    while world.p.resources_status is PROVISIONING:
        tries += 1
        world.fail(only(world))
        world.turn()
        wake_at = reconcile.wake_at(world.p, world.now)
        if not world.in_flight and wake_at:
            world.now = wake_at
            world.turn()
    assert tries < 20
    assert timedelta(0) <= world.now - began - limits.PROVISION_WITHIN <= timedelta(minutes=1)
    world.cooperate()
    assert world.p.fully_stopped
    assert world.p.deployment_error is not None
    assert world.p.deployment_error.error_code == "AutomatonProvisioningTimeout"
    assert world.p.deployment_error.details == {"timeout": {"secs": 60, "nanos": 0}}


def test_the_deadline_is_the_users(make_pipeline: Any) -> None:
    p = make_pipeline(runtime_config={"provisioning_timeout_secs": 5})
    assert limits.provision_within(p) == timedelta(seconds=5)


def test_a_stop_does_not_wait_for_a_retry(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.turn()
    world.succeed(only(world))
    world.turn()
    for _ in range(6):
        world.fail(only(world))
        world.now += timedelta(seconds=7)
        world.turn()
    world.send("stop", force=True)
    world.turn()
    assert [action.effect for action in world.in_flight] == ["deprovision"]


def test_a_deadline_that_means_nothing_does_not_wake_for_ever(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED, deadline=at)
    assert reconcile.wake_at(p, at - timedelta(seconds=1)) == at
    assert reconcile.wake_at(p, at) is None


def test_effects_back_off_one_by_one(deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED, wanted=True).but(wanted=RuntimeDesired.PAUSED)
    p = transitions.failed(transitions.failed(p, "watch", "no", at), "steer", "no", at)
    assert reconcile.actions(p, at) == frozenset()
    assert not reconcile.settled(p, at)


# Compiling


def statuses(written: tuple[Pipeline, ...]) -> list[str]:
    """Show the program statuses in order."""
    return [p.program_status.value for p in written]


CLEAN: dict[str, Any] = {"exit_code": 0, "messages": [{"warning": True, "message": "w"}]}
BROKEN: dict[str, Any] = {"exit_code": 1, "messages": [{"warning": False, "message": "no such table"}]}
RUST: dict[str, Any] = {"exit_code": 101, "stdout": "", "stderr": "no such crate"}
PLAN = Packed.of_json({})
OUTCOMES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"sql_compilation": CLEAN, "rust_compilation": {"exit_code": 0}, "plan": PLAN},
        ["SqlCompiled", "CompilingRust", "Success"],
    ),
    ({"sql_compilation": CLEAN, "rust_compilation": RUST}, ["SqlCompiled", "CompilingRust", "RustError"]),
    ({"sql_compilation": CLEAN}, ["SqlCompiled", "CompilingRust", "SystemError"]),
    ({"sql_compilation": BROKEN}, ["SqlError"]),
    ({"system_error": "out of memory"}, ["SystemError"]),
]


@pytest.mark.parametrize(("found", "expected"), OUTCOMES, ids=[row[1][-1] for row in OUTCOMES])
def test_what_the_compiler_found(
    found: dict[str, Any], expected: list[str], world: "World", at: datetime
) -> None:
    world.turn()
    info = Packed.of_json({"schema": {}})
    outcome = CompileOutcome(program_version=1, program_info=info, **found)
    written = transitions.compiled(world.p, outcome, at)
    assert statuses(written) == expected
    refreshed = [p.refresh_version for p in (world.p, *written)]
    assert refreshed == ([1, 2, 2, 3] if len(expected) == 3 else [1, 2])
    ended = written[-1]
    got_past_sql = expected[0] == "SqlCompiled"
    assert (ended.program_info is not None) is got_past_sql
    assert (ended.sql_compilation is not None) is ("sql_compilation" in found)
    assert (ended.system_error is not None) is (expected[-1] == "SystemError")
    assert (ended.rust_compilation is not None) is ("rust_compilation" in found)
    assert ended.program_status_since == at
    assert transitions.compiled(ended, outcome, at) == ()
    assert transitions.compiled(world.p.but(program_version=2), outcome, at) == ()
    words = transitions.compiler_error(ended)
    assert words.startswith(f"the program status is {expected[-1]}")


def test_a_compiler_that_cannot_be_run_is_reported(world: "World") -> None:
    world.turn()
    tries = 0
    while world.p.program_status.in_progress:
        tries += 1
        world.fail(only(world))
        world.now += timedelta(seconds=30)
        world.turn()
    assert tries == transitions.COMPILE_ATTEMPTS
    assert (world.p.program_status, world.p.system_error) == ("SystemError", "it did not work")
    assert world.p.retries == {}


def test_storage_that_was_never_on_a_host_is_cleared_at_once(make_pipeline: Any, at: datetime) -> None:
    p = make_pipeline(storage_status=StorageStatus.CLEARING, program_status=ProgramStatus.SUCCESS)
    (cleared,) = reconcile.advance(p, at)
    assert cleared.storage_status is StorageStatus.CLEARED
    bound = p.but(host=HOST)
    assert reconcile.advance(bound, at) == ()
    assert [action.effect for action in reconcile.actions(bound, at)] == ["clear_storage"]


def test_a_fenced_pipeline_does_nothing(make_pipeline: Any, at: datetime) -> None:
    p = make_pipeline(fenced=True, resources_desired=ResourcesDesired.PROVISIONED)
    assert (reconcile.advance(p, at), reconcile.actions(p, at)) == ((), frozenset())

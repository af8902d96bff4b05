"""Stop, pause, resume, clear and dismiss_error, case by case (contract §2.0, §2.2, §2.3, §2.6, §2.7)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate import errors
from sluicegate.lifecycle import admission, limits, refusals
from sluicegate.lifecycle.commands import Activate, Approve, Clear, DismissError, Pause, Resume, Stop, Verb
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.status import (
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

ERROR = Failure(message="it broke", error_code="RunnerCheckError")
PROVISIONED = ResourcesStatus.PROVISIONED


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
def test_a_forced_stop_is_accepted_everywhere(
    status: ResourcesStatus, wanted: bool, deployed: Any, at: datetime
) -> None:
    p = deployed(status, wanted=wanted, deployment_error=ERROR)
    admitted = admission.admit(p, Stop(force=True), at)
    assert admitted.answer == "Pipeline is forcefully stopping"
    assert admitted.event
    assert admitted.pipeline.resources_desired is ResourcesDesired.STOPPED
    assert admitted.pipeline.deployment_error == ERROR
    assert admission.admit(admitted.pipeline, Stop(force=True), at).pipeline == admitted.pipeline


@pytest.mark.parametrize("force", [True, False])
def test_a_stop_takes_an_early_start_back(force: bool, deployed: Any, at: datetime) -> None:
    stopped = admission.admit(deployed(ResourcesStatus.STOPPED), Stop(force=force), at).pipeline
    assert (stopped.deployment_initial, stopped.bootstrap, stopped.start_wanted) == (None, None, False)


@pytest.mark.parametrize("status", [status for status in ResourcesStatus if status is not PROVISIONED])
def test_without_a_process_a_graceful_stop_is_a_forced_one(
    status: ResourcesStatus, deployed: Any, at: datetime
) -> None:
    p = deployed(status)
    gentle, forced = (admission.admit(p, Stop(force=force), at) for force in (False, True))
    assert gentle == forced


@pytest.mark.parametrize("status", ["Running", "Paused", "Initializing", "AwaitingApproval", "Bootstrapping"])
def test_a_graceful_stop_asks_the_process_for_a_checkpoint(status: str, deployed: Any, at: datetime) -> None:
    p = deployed(PROVISIONED, runtime_status=RuntimeStatus(status))
    admitted = admission.admit(p, Stop(), at)
    assert admitted.answer == "Pipeline is suspending"
    assert admitted.pipeline.wanted is RuntimeDesired.SUSPENDED
    assert admitted.pipeline.deadline == at + limits.SUSPEND_WITHIN
    assert admitted.pipeline.start_wanted
    again = admission.admit(admitted.pipeline, Stop(), at)
    assert (again.pipeline, again.answer) == (admitted.pipeline, "Pipeline is suspending")


def test_a_graceful_stop_of_what_cannot_be_asked(deployed: Any, at: datetime) -> None:
    standby = deployed(PROVISIONED, wanted=True).but(wanted=RuntimeDesired.STANDBY)
    with pytest.raises(refusals.InvalidTransition) as refused:
        admission.admit(standby, Stop(), at)
    assert refused.value.details == {"action": "suspend", "status": "Standby"}
    silent = deployed(PROVISIONED, runtime_status=RuntimeStatus.UNAVAILABLE)
    with pytest.raises(errors.PipelineUnavailable) as unavailable:
        admission.admit(silent, Stop(), at)
    assert unavailable.value.details == {"pipeline_name": "p"}
    assert not admission.admit(silent, Stop(force=True), at).pipeline.start_wanted


def test_force_overrides_a_graceful_stop(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("stop")
    world.send("stop", force=True)
    world.turn()
    assert world.p.resources_status is ResourcesStatus.STOPPING
    assert world.p.deployment_error is None


TO_A_PROCESS: list[Verb] = [Pause(), Resume(), Activate(), Activate(initial="paused"), Approve()]
STEER = [
    pytest.param((Pause(), "Running", "Paused"), id="pause"),
    pytest.param((Resume(), "Paused", "Running"), id="resume"),
    pytest.param((Pause(), "Paused", "Paused"), id="pause again"),
    pytest.param((Resume(), "Running", "Running"), id="resume again"),
    pytest.param((Activate(), "Paused", "Running"), id="activate as resume"),
    pytest.param((Activate(initial="paused"), "Running", "Paused"), id="activate as pause"),
]


@pytest.mark.parametrize("steering", STEER)
@pytest.mark.parametrize(
    "status", ["Initializing", "Bootstrapping", "Replaying", "AwaitingApproval", "Running"]
)
def test_pause_and_resume_say_where_to(
    steering: tuple[Verb, str, str], status: str, deployed: Any, at: datetime
) -> None:
    verb, told, target = steering
    desired = RuntimeDesired(told)
    p = deployed(PROVISIONED).but(
        runtime_status=RuntimeStatus(status), runtime_desired=desired, wanted=desired, steered=desired
    )
    admitted = admission.admit(p, verb, at)
    assert admitted.answer == f"Pipeline transitioning from {told} to {target}"
    assert admitted.pipeline.wanted == target
    assert admitted.pipeline.start_wanted
    assert admitted.pipeline.runtime_desired is p.runtime_desired
    assert (admitted.pipeline == p) is (told == target)


@pytest.mark.parametrize(
    ("verb", "action", "told"),
    [
        (Pause(), "pause", "Standby"),
        (Resume(), "start", "Standby"),
        (Pause(), "pause", "Suspended"),
        (Resume(), "start", "Suspended"),
        (Activate(), "activate", "Suspended"),
        (Activate(initial="paused"), "activate", "Suspended"),
    ],
)
def test_no_way_out_of_standby_or_suspension(
    verb: Verb, action: str, told: str, deployed: Any, at: datetime
) -> None:
    p = deployed(PROVISIONED).but(wanted=RuntimeDesired(told))
    with pytest.raises(refusals.InvalidTransition) as refused:
        admission.admit(p, verb, at)
    assert refused.value.details == {"action": action, "status": told}
    assert list(refused.value.details) == ["action", "status"]


@pytest.mark.parametrize("verb", TO_A_PROCESS, ids=lambda verb: type(verb).__name__)
@pytest.mark.parametrize("status", [status for status in ResourcesStatus if status is not PROVISIONED])
def test_nobody_to_tell(verb: Verb, status: ResourcesStatus, deployed: Any, at: datetime) -> None:
    p = deployed(status)
    with pytest.raises(errors.PipelineInteractionNotDeployed) as refused:
        admission.admit(p, verb, at)
    desired = "Stopped" if status is ResourcesStatus.STOPPING else "Provisioned"
    assert refused.value.details == {"pipeline_name": "p", "status": status, "desired_status": desired}
    assert status.lower() in refused.value.message
    silent = deployed(PROVISIONED, runtime_status=RuntimeStatus.UNAVAILABLE)
    with pytest.raises(errors.PipelineUnavailable):
        admission.admit(silent.but(wanted=RuntimeDesired.STANDBY), verb, at)


def test_a_resume_overtakes_a_pause_that_may_have_arrived(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("pause")
    world.turn()
    world.tell(next(action for action in world.in_flight if action.effect == "steer"))
    world.send("resume")
    world.cooperate()
    assert world.process is not None
    assert world.process.desired is RuntimeDesired.RUNNING
    assert world.p.deployment_status == "Running"


@pytest.mark.parametrize("verb", ["pause", "stop"])
def test_a_new_wish_does_not_wait_for_the_retry_of_an_old_one(verb: str, world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("pause")
    world.turn()
    world.fail(next(action for action in world.in_flight if action.effect == "steer"))
    world.turn()
    assert not [action for action in world.in_flight if action.effect == "steer"]
    world.send(verb)
    world.turn()
    assert [action for action in world.in_flight if action.effect == "steer"]


def test_a_stop_is_not_dropped_when_the_process_refuses_it(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("stop")
    world.turn()
    world.fail(next(action for action in world.in_flight if action.effect == "steer"), "refused")
    world.cooperate()
    assert world.p.fully_stopped
    assert world.p.deployment_error is not None
    assert world.p.deployment_error.error_code == "AutomatonSuspendingComputeTimeout"
    assert world.p.deployment_error.details == {"timeout": {"secs": 600, "nanos": 0}}


# Clear and dismiss_error


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("storage", StorageStatus)
def test_clear(
    status: ResourcesStatus, wanted: bool, storage: StorageStatus, deployed: Any, at: datetime
) -> None:
    p = deployed(status, wanted=wanted, storage_status=storage, storage_status_details={"checkpoints": []})
    if storage is not StorageStatus.CLEARED and not p.fully_stopped:
        with pytest.raises(refusals.StorageStatusImmutableUnlessStopped) as refused:
            admission.admit(p, Clear(), at)
        assert refused.value.details == {
            "resources_status": status.value,
            "resources_desired_status": p.resources_desired.value,
            "current_status": storage.value,
            "new_status": "Clearing",
        }
        return
    admitted = admission.admit(p, Clear(), at)
    assert admitted.answer == "Pipeline storage is being cleared"
    if storage is StorageStatus.CLEARED:
        assert admitted.pipeline == p
    else:
        assert admitted.pipeline.storage_status is StorageStatus.CLEARING
        assert admitted.pipeline.storage_status_details is None


def test_clearing_leaves_the_rest(world: "World") -> None:
    world.edit(tags=("a",))
    world.cooperate()
    world.send("start")
    world.cooperate()
    assert world.process is not None
    world.process.alive = False
    world.cooperate()
    before = world.p
    world.send("clear")
    world.cooperate()
    kept = ("deployment_error", "tags", "version", "refresh_version", "program_version", "plan")
    assert all(getattr(world.p, field) == getattr(before, field) for field in kept)
    assert world.p.deployment_error is not None
    assert (world.p.storage_status, world.p.host) == (StorageStatus.CLEARED, None)


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("error", [ERROR, None], ids=["error", "none"])
def test_dismiss_error(
    status: ResourcesStatus, wanted: bool, error: Failure | None, deployed: Any, at: datetime
) -> None:
    p = deployed(status, wanted=wanted, deployment_error=error)
    if error and not p.fully_stopped:
        with pytest.raises(refusals.DismissErrorRestrictedToFullyStopped) as refused:
            admission.admit(p, DismissError(), at)
        assert refused.value.details == {}
        return
    admitted = admission.admit(p, DismissError(), at)
    assert admitted.answer == "Pipeline deployment error has been dismissed"
    assert admitted.pipeline == p.but(deployment_error=None)
    assert admitted.event

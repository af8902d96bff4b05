"""Admission: may this verb be carried out now, and what does it change at once (contract §2).

Each rule takes the record, the verb and the time, raises the refusal that the contract names first, or
returns the `Admitted` change: the new record, whether that is an event, and the words of the answer.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sluicegate import config, errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle import limits, promotion, refusals, restarts, schedules
from sluicegate.lifecycle.commands import (
    Activate,
    Approve,
    Clear,
    DismissError,
    Guard,
    Pause,
    Promote,
    Resume,
    Scheduled,
    Start,
    Stop,
    Verb,
)
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.status import (
    BootstrapPolicy,
    Initial,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)

MAX_WORD = 64
"""Characters of a word not understood that a receipt keeps."""
_ACTIVE = {"running": RuntimeDesired.RUNNING, "paused": RuntimeDesired.PAUSED}


class Admitted(NamedTuple):
    """What an accepted verb changes at once."""

    pipeline: Pipeline
    answer: str
    event: bool = True


def admit(p: Pipeline, verb: Verb, at: datetime) -> Admitted:
    """Decide one verb. Raises Refusal and then changes nothing."""
    admitted = _RULES[type(verb)](p, verb, at)
    heeded = restarts.heeding(p, verb, admitted.pipeline)
    return admitted._replace(pipeline=schedules.told(heeded, verb, at))


def _scheduled(p: Pipeline, verb: Scheduled, at: datetime) -> Admitted:
    """Do what a schedule in force says, as if it had been said when it was due."""
    admitted = admit(p, schedules.command(p, verb), at)
    return admitted._replace(pipeline=admitted.pipeline.but(told_at=verb.due_at))


def _start(p: Pipeline, verb: Start, at: datetime) -> Admitted:
    options = Bootstrap(
        policy=verb.bootstrap_policy,
        silent=verb.silent_bootstrap,
        concurrent=verb.concurrent_bootstrap,
        checkpoint=verb.checkpoint,
    )
    _may_start(p, verb, options)
    started = promotion.afresh(p).with_desired(
        ResourcesDesired.PROVISIONED, at, deployment_initial=verb.initial, bootstrap=options
    )
    if verb.dismiss_error:
        started = started.but(deployment_error=None)
    return Admitted(started, "Pipeline is starting")


def _may_start(p: Pipeline, verb: Start, options: Bootstrap) -> None:
    """Rows 2 and 5 to 11 of contract §2.1, in their order."""
    _check_bootstrap(options)
    standby = verb.initial is Initial.STANDBY
    if standby and options.checkpoint is not None:
        reason = "a standby takes the newest checkpoint of its primary, so none can be chosen"
        raise refusals.InvalidBootstrapConfig(reason=reason)
    if not p.start_wanted and p.resources_status is not ResourcesStatus.STOPPED:
        raise refusals.IllegalPipelineAction(
            status=p.resources_status.value,
            current_desired_status=p.resources_desired.value,
            new_desired_status=ResourcesDesired.PROVISIONED.value,
            hint="Cannot restart the pipeline while it is stopping; wait until it is stopped.",
        )
    initial, bootstrap = p.deployment_initial, p.bootstrap
    rows: tuple[tuple[bool, type[Refusal]], ...] = (
        (p.deployment_error is not None and not verb.dismiss_error, refusals.CannotStartWithUndismissedError),
        (p.storage_status is StorageStatus.CLEARING, refusals.CannotStartWhileClearingStorage),
        (p.program_status.failed, refusals.CannotStartWithCompilationError),
        (initial not in (None, verb.initial), refusals.InitialImmutableUnlessStopped),
        (bootstrap not in (None, options), refusals.BootstrapPolicyImmutableUnlessStopped),
        (standby and not config.allows_standby(p.runtime_config), refusals.InitialStandbyNotAllowed),
    )
    for forbidden, refusal in rows:
        if forbidden:
            raise refusal


def _check_bootstrap(options: Bootstrap) -> None:
    if options.silent and options.concurrent:
        reason = "silent_bootstrap and concurrent_bootstrap are mutually exclusive"
        raise refusals.InvalidBootstrapConfig(reason=reason)


def _stop(p: Pipeline, verb: Stop, at: datetime) -> Admitted:
    if verb.force or p.resources_status is not ResourcesStatus.PROVISIONED or not p.start_wanted:
        stopped = p.with_desired(ResourcesDesired.STOPPED, at)
        if p.resources_status is ResourcesStatus.STOPPED:
            stopped = stopped.but(deployment_initial=None, bootstrap=None)
        return Admitted(stopped, "Pipeline is forcefully stopping")
    if p.runtime_status is RuntimeStatus.UNAVAILABLE:
        raise errors.PipelineUnavailable(pipeline_name=p.name)
    if p.told is RuntimeDesired.STANDBY:
        raise refusals.InvalidTransition(action="suspend", status=RuntimeDesired.STANDBY.value)
    if p.told is RuntimeDesired.SUSPENDED:
        return Admitted(p, "Pipeline is suspending", event=False)
    suspending = p.succeeding("steer", wanted=RuntimeDesired.SUSPENDED, deadline=at + limits.SUSPEND_WITHIN)
    return Admitted(suspending, "Pipeline is suspending", event=False)


def _pause(p: Pipeline, verb: Pause, at: datetime) -> Admitted:
    _check_reachable(p)
    return _steer(p, RuntimeDesired.PAUSED, "pause")


def _resume(p: Pipeline, verb: Resume, at: datetime) -> Admitted:
    _check_reachable(p)
    return _steer(p, RuntimeDesired.RUNNING, "start")


def _activate(p: Pipeline, verb: Activate, at: datetime) -> Admitted:
    """The only way out of standby; elsewhere as pause and resume (contract §2.4)."""
    _check_reachable(p)
    target = _ACTIVE.get(verb.initial)
    if target is None:
        raise refusals.InvalidActivateStatus(initial=verb.initial[:MAX_WORD])
    return _steer(p, target, "activate", standby=True)


def _approve(p: Pipeline, verb: Approve, at: datetime) -> Admitted:
    """Contract §2.5: also where nothing awaits approval, since the process may come to that yet."""
    approved = Bootstrap(
        policy=BootstrapPolicy.ALLOW, silent=verb.silent_bootstrap, concurrent=verb.concurrent_bootstrap
    )
    _check_bootstrap(approved)
    _check_reachable(p)
    return Admitted(
        p.succeeding("approve", approved=approved, approval_told=None), "Bootstrap approved", event=False
    )


def _check_reachable(p: Pipeline) -> None:
    """The checks of contract §2.0 that do not need the process."""
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        raise errors.PipelineInteractionNotDeployed(
            pipeline_name=p.name,
            status=p.resources_status.value,
            desired_status=p.resources_desired.value,
        )
    if p.runtime_status is RuntimeStatus.UNAVAILABLE:
        raise errors.PipelineUnavailable(pipeline_name=p.name)


def _steer(p: Pipeline, target: RuntimeDesired, action: str, *, standby: bool = False) -> Admitted:
    """Contract §1.7 and §2.3, decided from the mirror of the process's status."""
    told = p.told or RuntimeDesired.UNAVAILABLE
    if told is RuntimeDesired.SUSPENDED or (told is RuntimeDesired.STANDBY and not standby):
        raise refusals.InvalidTransition(action=action, status=told.value)
    answer = f"Pipeline transitioning from {told.value} to {target.value}"
    same = target is p.wanted and target is p.runtime_desired
    wished = p.succeeding("steer", wanted=target, steered=p.steered if same else None)
    return Admitted(wished, answer, event=False)


def _guard(p: Pipeline, verb: Guard, at: datetime) -> Admitted:
    return Admitted(promotion.guarded(p, verb), f"Knows that {verb.name} stands by", event=False)


def _promote(p: Pipeline, verb: Promote, at: datetime) -> Admitted:
    return Admitted(promotion.taking_over(p, verb), f"Takes over from {verb.primary}")


def _clear(p: Pipeline, verb: Clear, at: datetime) -> Admitted:
    answer = "Pipeline storage is being cleared"
    if p.storage_status is StorageStatus.CLEARED:
        return Admitted(p, answer, event=False)
    if not p.fully_stopped:
        raise refusals.StorageStatusImmutableUnlessStopped(
            resources_status=p.resources_status.value,
            resources_desired_status=p.resources_desired.value,
            current_status=p.storage_status.value,
            new_status=StorageStatus.CLEARING.value,
        )
    clearing = p.but(
        storage_status=StorageStatus.CLEARING,
        storage_status_details=None,
        deadline=at + limits.END_WITHIN,
    )
    return Admitted(clearing, answer)


def _dismiss_error(p: Pipeline, verb: DismissError, at: datetime) -> Admitted:
    if p.deployment_error and not p.fully_stopped:
        raise refusals.DismissErrorRestrictedToFullyStopped
    return Admitted(p.but(deployment_error=None), "Pipeline deployment error has been dismissed")


_RULES: dict[type[Verb], Callable[[Pipeline, Any, datetime], Admitted]] = {
    Start: _start,
    Stop: _stop,
    Pause: _pause,
    Resume: _resume,
    Activate: _activate,
    Approve: _approve,
    Clear: _clear,
    DismissError: _dismiss_error,
    Scheduled: _scheduled,
    Guard: _guard,
    Promote: _promote,
}

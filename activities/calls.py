"""How a workflow asks for each effect: which activity, where, within what time, and what its outcome means.

Used inside workflows only. A call gives back how the record changes, to be applied to the record as it is
by then; what fails is turned into such a change by `failed`.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

from activities import beat, deploy, standing
from activities import watch as watching
from activities.compile import Compiler
from activities.deploy import Deployments
from activities.schedules import Schedules
from activities.watch import Watches
from sluicegate import errors, temporal
from sluicegate.lifecycle import effects, limits, promotion, refusals, restarts, schedules, transitions
from sluicegate.lifecycle.effects import Addressed, Deployment, Observation, ProgramText
from sluicegate.lifecycle.reconcile import Action, Effect
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.status import Initial, ResourcesStatus

UNANSWERED_AFTER = timedelta(seconds=30)
"""When nobody has taken an effect for so long, nobody answers for its host."""
ONCE = RetryPolicy(maximum_attempts=1)
"""Retries are decided by the rules, which show them."""
DAYS = timedelta(days=3650)
UNANSWERED = "unanswered"
"""The kind of a failure because nobody has taken an effect."""
LATE = "late"
"""The kind of a failure by a heartbeat that did not come in time."""

ENDS_COUNT = "that a process has ended counts, whoever watches by then"
"""Name of a change, for histories of before."""

Records = tuple[Pipeline, ...]
Outcome = Callable[[Pipeline], Records]


@dataclass(frozen=True)
class End:
    """The outcome of a watch whose process has ended, which is true of its generation for good."""

    generation: int
    seen: Observation

    def __call__(self, p: Pipeline) -> Records:
        """End the deployment, unless it is another by now."""
        if p.generation != self.generation or p.resources_status is not ResourcesStatus.PROVISIONED:
            return ()
        return transitions.observed(p, self.seen, workflow.now())


async def perform(action: Action, p: Pipeline) -> Outcome:
    """Have one effect done. What it raises `failed` explains."""
    return await _CALLS[action.effect](p)


async def _compile(p: Pipeline) -> Outcome:
    program = ProgramText(
        pipeline_id=p.id,
        program_version=p.program_version,
        texts=p.texts,
        program_config=p.program_config,
        platform_version=p.platform_version,
    )
    outcome = await workflow.execute_activity_method(
        Compiler.compile,
        program,
        task_queue=temporal.EFFECTS,
        start_to_close_timeout=limits.COMPILE_WITHIN,
        heartbeat_timeout=beat.BEAT_TIMEOUT,
        retry_policy=ONCE,
        summary=f"compile version {p.program_version} of {p.name}",
    )
    return lambda p: transitions.compiled(p, outcome, workflow.now())


async def _bind(p: Pipeline) -> Outcome:
    host = await workflow.execute_activity_method(
        Deployments.bind,
        _address(p),
        task_queue=temporal.EFFECTS,
        schedule_to_start_timeout=UNANSWERED_AFTER,
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=ONCE,
        summary=f"find a host for {p.name}",
    )
    return lambda p: (transitions.bound(p, host),)


async def _provision(p: Pipeline) -> Outcome:
    found = await workflow.execute_activity_method(
        Deployments.provision,
        _deployment(p),
        summary=f"provision {p.name}, generation {p.generation}",
        **_on_host(p),
    )
    return lambda p: transitions.provisioned(p, found, workflow.now())


async def _watch(p: Pipeline) -> Outcome:
    request = effects.WatchRequest(
        pipeline_id=p.id,
        generation=p.generation,
        workflow_id=workflow.info().workflow_id,
        epoch=p.epoch,
        location=p.location or "",
        deployment_id=p.deployment_id or "",
        baseline=p.observation,
        provisioned_at=p.resources_status_since,
        again=Effect.WATCH in p.retries,
    )
    seen = await workflow.execute_activity_method(
        Watches.watch,
        request,
        task_queue=temporal.host_queue(temporal.WATCH, _host_id(p)),
        schedule_to_start_timeout=UNANSWERED_AFTER,
        start_to_close_timeout=DAYS,
        heartbeat_timeout=watching.BEAT_TIMEOUT,
        retry_policy=ONCE,
        summary=f"watch {p.name}, generation {p.generation}",
    )
    if seen.fatal is not None:
        return End(request.generation, seen)
    return lambda p: transitions.observed(p, seen, workflow.now())


async def _steer(p: Pipeline) -> Outcome:
    wanted = p.wanted
    if wanted is None:
        return lambda p: ()
    request = effects.SteerRequest(
        pipeline_id=p.id,
        generation=p.generation,
        location=p.location or "",
        deployment_id=p.deployment_id or "",
        desired=wanted,
        initial=p.deployment_initial or Initial.RUNNING,
    )
    await workflow.execute_activity_method(
        Deployments.steer, request, summary=f"tell {p.name}: {wanted}", **_on_host(p)
    )
    return lambda p: (transitions.steered(p, wanted),)


async def _approve(p: Pipeline) -> Outcome:
    approved = p.approved
    if approved is None:
        return lambda p: ()
    request = effects.ApproveRequest(
        pipeline_id=p.id,
        generation=p.generation,
        location=p.location or "",
        deployment_id=p.deployment_id or "",
        silent_bootstrap=approved.silent,
        concurrent_bootstrap=approved.concurrent,
    )
    await workflow.execute_activity_method(
        Deployments.approve, request, summary=f"approve the bootstrap of {p.name}", **_on_host(p)
    )
    return lambda p: (transitions.approval_told(p, approved),)


async def _deprovision(p: Pipeline) -> Outcome:
    await workflow.execute_activity_method(
        Deployments.deprovision,
        _address(p),
        summary=f"deprovision {p.name}, generation {p.generation}",
        **_on_host(p),
    )
    return lambda p: (transitions.stopped(p, workflow.now()),)


async def _clear_storage(p: Pipeline) -> Outcome:
    await workflow.execute_activity_method(
        Deployments.clear_storage, _address(p), summary=f"clear the storage of {p.name}", **_on_host(p)
    )
    return lambda p: (transitions.cleared(p),)


async def _place_schedules(p: Pipeline) -> Outcome:
    revision = p.schedules_revision
    book = effects.ScheduleBook(
        pipeline_id=p.id,
        workflow_id=workflow.info().workflow_id,
        revision=revision,
        schedules=p.schedules,
        gone=tuple(name for name in p.schedule_names if name not in p.schedules),
    )
    await workflow.execute_activity_method(
        Schedules.place,
        book,
        task_queue=temporal.EFFECTS,
        schedule_to_start_timeout=UNANSWERED_AFTER,
        start_to_close_timeout=timedelta(minutes=1),
        retry_policy=ONCE,
        summary=f"put the schedules of {p.name} in place",
    )
    return lambda p: (schedules.placed(p, revision),)


def _host_id(p: Pipeline) -> str:
    return p.host.host_id if p.host else ""


def _on_host(p: Pipeline) -> dict[str, Any]:
    """Options of an effect that only the pipeline's host can have."""
    return {
        "task_queue": temporal.host_queue(temporal.EFFECTS, _host_id(p)),
        "schedule_to_start_timeout": UNANSWERED_AFTER,
        "start_to_close_timeout": timedelta(hours=1),
        "heartbeat_timeout": beat.BEAT_TIMEOUT,
        "retry_policy": ONCE,
    }


def _address(p: Pipeline) -> Addressed:
    return Addressed(pipeline_id=p.id, generation=p.generation)


def _deployment(p: Pipeline) -> Deployment:
    said = p.bootstrap or Bootstrap()
    bootstrap = p.approved or said
    if p.deployment_id is None or p.deployment_initial is None or p.plan is None or p.deadline is None:
        raise ApplicationError("a pipeline that is provisioned lacks its deployment, which cannot be")
    return Deployment(
        pipeline_id=p.id,
        generation=p.generation,
        workflow_id=workflow.info().workflow_id,
        name=p.name,
        deployment_id=p.deployment_id,
        program_version=p.program_version,
        initial=Initial(restarts.first_desired(p).value),
        bootstrap_policy=bootstrap.policy,
        silent_bootstrap=bootstrap.silent,
        concurrent_bootstrap=bootstrap.concurrent,
        checkpoint=said.checkpoint,
        runtime_config=p.runtime_config,
        plan=p.plan,
        deadline=p.deadline,
        record=p.model_dump(mode="json", exclude={"plan", "runtime_config"}),
    )


_HOPELESS: dict[str, type[errors.Refusal]] = {
    deploy.REJECTED: refusals.RunnerProvisionError,
    deploy.UNRESOLVED: refusals.UnresolvedReference,
}
"""What a start ends with that cannot succeed."""


_NOT_HEARD: dict[Effect, Callable[[Pipeline, str, datetime], Pipeline]] = {
    Effect.GUARD: promotion.not_told,
    Effect.PROMOTE: lambda p, reason, at: promotion.handed_over(p),
}
"""What becomes of who told another pipeline something that is not there."""


def failed(p: Pipeline, action: Action, error: Exception) -> Records:
    """Say what the record becomes when an effect has failed."""
    kind, reason = _explain(error)
    if not_heard := _NOT_HEARD.get(action.effect):
        return (not_heard(p, reason, workflow.now()),)
    records = _failed(p, action, kind, reason)
    return tuple(map(promotion.barred, records)) if kind == UNANSWERED else records


def _failed(p: Pipeline, action: Action, kind: str, reason: str) -> Records:
    now, late = workflow.now(), kind == LATE
    match action.effect, kind:
        case Effect.COMPILE, _:
            return transitions.compile_failed(p, reason, now, late=late)
        case Effect.PROVISION, (deploy.REJECTED | deploy.UNRESOLVED):
            return transitions.over(p, transitions.failure(_HOPELESS[kind](error=reason)), now)
        case Effect.PROVISION, deploy.TIMED_OUT:
            return transitions.over(p, transitions.timed_out(p), now)
        case ((Effect.PROVISION | Effect.BIND), _):
            return transitions.provision_failed(p, reason, now, late=late)
        case Effect.STEER, deploy.REFUSED:
            return (transitions.steer_refused(p),) if action.argument == p.wanted else ()
        case Effect.APPROVE, deploy.REFUSED:
            return (transitions.approval_told(p, Bootstrap.model_validate_json(action.argument)),)
        case Effect.WATCH, _ if kind == UNANSWERED:
            noted = transitions.failed(p, action.effect, reason, now)
            return transitions.unanswered(noted, now) or (noted,)
    return (transitions.failed(p, action.effect, reason, now, late=late),)


def _explain(error: Exception) -> tuple[str, str]:
    """Name the kind of a failure, and say it for people."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, TimeoutError):
        if cause.type is TimeoutType.SCHEDULE_TO_START:
            return UNANSWERED, f"Nobody has taken the task within {UNANSWERED_AFTER.seconds} s."
        kind = LATE if cause.type is TimeoutType.HEARTBEAT else "lost"
        return kind, f"The worker that did this was lost ({cause.message})."
    if isinstance(cause, ApplicationError):
        return cause.type or "", cause.message
    return "", str(cause)


_CALLS: dict[Effect, Callable[[Pipeline], Coroutine[Any, Any, Outcome]]] = {
    Effect.COMPILE: _compile,
    Effect.BIND: _bind,
    Effect.PROVISION: _provision,
    Effect.WATCH: _watch,
    Effect.STEER: _steer,
    Effect.APPROVE: _approve,
    Effect.DEPROVISION: _deprovision,
    Effect.CLEAR_STORAGE: _clear_storage,
    Effect.PLACE_SCHEDULES: _place_schedules,
    Effect.GUARD: standing.guard,
    Effect.PROMOTE: standing.promote,
}

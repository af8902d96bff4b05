"""Transitions: how the record changes when an effect has come out, well or not (contract §1.3, §1.6, §1.9).

Functions that return several records stand for several writes, each an event of its own.
"""

from datetime import datetime, timedelta

from sluicegate.errors import Refusal
from sluicegate.lifecycle import limits, promotion, refusals, restarts, schedules
from sluicegate.lifecycle.effects import (
    CompileOutcome,
    Failure,
    Host,
    Observation,
    Observed,
    Provisioned,
    Readopt,
)
from sluicegate.lifecycle.record import Bootstrap, Pipeline, Retry
from sluicegate.lifecycle.status import (
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)

COMPILE_ATTEMPTS = 5
"""After which a compiler that cannot be run is reported as a system error of the program."""

_AWAKE = (RuntimeDesired.RUNNING, RuntimeDesired.PAUSED)
_FIRST_RETRY = timedelta(milliseconds=200)
_LONGEST_RETRY = timedelta(seconds=30)


def failure(problem: Refusal) -> Failure:
    """Turn a problem into a deployment error; without details it says null there (contract §4.1)."""
    return Failure(message=problem.message, error_code=problem.error_code, details=problem.details or None)


# Compiling


def compiled(p: Pipeline, outcome: CompileOutcome, at: datetime) -> tuple[Pipeline, ...]:
    """Report an outcome as the statuses of contract §1.9, in their order; a stale one changes nothing."""
    if outcome.program_version != p.program_version or not p.program_status.in_progress:
        return ()
    p = p.succeeding("compile")
    if outcome.platform_version is not None:
        return (moved_to(p, outcome.platform_version, at),)
    sql, rust = outcome.sql_compilation, outcome.rust_compilation
    if outcome.system_error is not None:
        return (_turn(p, ProgramStatus.SYSTEM_ERROR, at, system_error=outcome.system_error),)
    if sql is None:
        return (_turn(p, ProgramStatus.SYSTEM_ERROR, at, system_error="The compiler gave no answer."),)
    if sql["exit_code"] != 0 or any(not m["warning"] for m in sql["messages"]):
        return (_turn(p, ProgramStatus.SQL_ERROR, at, sql_compilation=sql),)
    sql_done = _turn(
        p, ProgramStatus.SQL_COMPILED, at, sql_compilation=sql, program_info=outcome.program_info
    )
    rust_begun = sql_done.with_program(ProgramStatus.COMPILING_RUST, at)
    if rust is not None and rust["exit_code"] != 0:
        ended = _turn(rust_begun, ProgramStatus.RUST_ERROR, at, rust_compilation=rust)
    elif outcome.plan is None:
        ended = _turn(rust_begun, ProgramStatus.SYSTEM_ERROR, at, system_error="The compiler gave no plan.")
    else:
        ended = _turn(rust_begun, ProgramStatus.SUCCESS, at, rust_compilation=rust, plan=outcome.plan)
    return (sql_done, rust_begun, ended)


def moved_to(p: Pipeline, platform_version: str, at: datetime) -> Pipeline:
    """Move a pipeline that waits to be compiled to the platform of its compiler (contract §1.9); a program
    edit that nobody made, so it does not matter whether a start waits for it."""
    moved = p.but(version=p.version + 1, refresh_version=p.refresh_version + 1)
    return moved.with_new_program(platform_version, at)


def _turn(p: Pipeline, status: ProgramStatus, at: datetime, **found: object) -> Pipeline:
    """Enter a program status that shows something new."""
    return p.with_program(status, at, refresh_version=p.refresh_version + 1, **found)


def compiler_error(p: Pipeline) -> str:
    """Say why the program cannot be started."""
    messages = (p.sql_compilation or {}).get("messages", [])
    first = next((m["message"] for m in messages if not m["warning"]), None)
    rust = (p.rust_compilation or {}).get("stderr")
    return f"the program status is {p.program_status}: {first or p.system_error or rust or 'no reason given'}"


def remain_stopped(p: Pipeline, at: datetime) -> Pipeline:
    """Give a start up because the program does not compile; the system resets what is desired."""
    problem = refusals.StartFailedDueToFailedCompilation(compiler_error=compiler_error(p))
    called_off = restarts.after(p, failure(problem))
    reset = called_off.with_desired(ResourcesDesired.STOPPED, at, deployment_initial=None, bootstrap=None)
    return reset.with_resources(
        ResourcesStatus.STOPPED, at, deployment_error=failure(problem), resources_status_details=None
    )


# Deploying


def bound(p: Pipeline, host: Host) -> Pipeline:
    """Bind the pipeline's storage to a host."""
    hosts = p.hosts if host.host_id in p.hosts else (*p.hosts, host.host_id)
    return p.succeeding("bind", host=host, logs_host=host, hosts=hosts)


def provisioned(p: Pipeline, found: Provisioned, at: datetime) -> tuple[Pipeline, ...]:
    """Enter Provisioned with what the process said first."""
    if p.resources_status is not ResourcesStatus.PROVISIONING:
        return ()
    initial = restarts.first_desired(p)
    seen = found.observation
    first = Observation(
        runtime_status=RuntimeStatus.INITIALIZING,
        runtime_desired_status=initial,
        details=seen.details if seen.runtime_status is RuntimeStatus.INITIALIZING else {},
        storage_status_details=seen.storage_status_details,
    )
    entered = (
        restarts.provisioned(p)
        .with_resources(
            ResourcesStatus.PROVISIONED,
            at,
            resources_status_details=found.details,
            location=found.location,
            wanted=initial,
            steered=initial,
            deadline=None,
            last_try=False,
        )
        .with_runtime(first, at)
    )
    return (entered, *observed(entered, seen, at))


def observed(p: Pipeline, seen: Observation, at: datetime) -> tuple[Pipeline, ...]:
    """Mirror an observation; a fatal one ends the deployment."""
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        return ()
    if seen.fatal is not None:
        return over(p, seen.fatal, at)
    mirrored = promotion.at_work(_beyond_standby(p.with_runtime(seen, at)))
    if _disobeys(mirrored):
        mirrored = mirrored.but(steered=None)
    same = mirrored == p
    return () if same else (mirrored.but(refresh_version=p.refresh_version + 1),)


def _beyond_standby(p: Pipeline) -> Pipeline:
    """A process that goes on where its deployment was before does not return to standby, and cannot be told
    to (contract §1.7)."""
    if p.wanted is RuntimeDesired.STANDBY and p.runtime_desired in _AWAKE:
        return p.but(wanted=p.runtime_desired, steered=p.runtime_desired)
    return p


def _disobeys(p: Pipeline) -> bool:
    """Whether the process does not want what it was told, so that it has to be told again; a look that was
    older than the telling costs one repetition, which changes nothing."""
    silent = p.runtime_desired is RuntimeDesired.UNAVAILABLE
    return p.wanted is not None and p.steered is p.wanted is not p.runtime_desired and not silent


def reported(p: Pipeline, message: Observed, at: datetime) -> tuple[Pipeline, ...]:
    """Take the signal of a watch if it is of this deployment, this epoch, and news."""
    current = (p.resources_status, p.generation, p.epoch)
    if current != (ResourcesStatus.PROVISIONED, message.generation, message.epoch):
        return ()
    if message.sequence <= p.sequence or message.pipeline_id not in ("", p.id):
        return ()
    heard = p.succeeding("watch", sequence=message.sequence)
    return observed(heard, message.observation, at) or (heard,)


def unanswered(p: Pipeline, at: datetime) -> tuple[Pipeline, ...]:
    """Show that nobody answers for the host; what the process does meanwhile cannot be known (I7)."""
    host = p.host.host_id if p.host else "unknown"
    seen = Observation(
        runtime_status=RuntimeStatus.UNAVAILABLE,
        runtime_desired_status=RuntimeDesired.UNAVAILABLE,
        details={"reason": f"Nobody answers for the host {host}; the pipeline may well be running."},
    )
    return observed(p, seen, at)


def steered(p: Pipeline, told: RuntimeDesired) -> Pipeline:
    """Remember what the process has been told."""
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        return p
    return p.succeeding("steer", steered=told)


def approval_told(p: Pipeline, told: Bootstrap) -> Pipeline:
    """Remember which approval the process has taken, or will not take; the mirror shows what it does."""
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        return p
    return p.succeeding("approve", approval_told=told)


def readopted(p: Pipeline, message: Readopt) -> Pipeline:
    """Issue anew what was in flight on a host that has come back."""
    live = p.resources_status is not ResourcesStatus.STOPPED and p.generation == message.generation
    if p.host is None or p.host.host_id != message.host.host_id:
        return p
    moved = p.but(host=message.host, logs_host=message.host)
    return renewed(moved) if live else moved


def renewed(p: Pipeline) -> Pipeline:
    """Issue every effect on the host anew, since whoever carried it out is gone."""
    compiling = {effect: retry for effect, retry in p.retries.items() if effect == "compile"}
    return p.but(epoch=p.epoch + 1, sequence=0, retries=compiling)


def restored(p: Pipeline) -> Pipeline:
    """Go on from a backup: whatever is on the host is looked for anew, and schedules are put in place again.

    What is deployed keeps its generation, so that a process that lives is found and none is started twice
    (I2). The pipeline may have been deployed again since the backup was made: its next generation is beyond
    any fence that this has left, and so is, at once, that of a stopped one, which may be cleared first. Its
    primary may come from before it was told who stands by.
    """
    spent = p.generation + limits.LEAP
    at_rest = p.resources_status is ResourcesStatus.STOPPED
    generation = spent if at_rest else p.generation
    return schedules.moved(renewed(p)).but(generation=generation, spent=spent, guards=0)


def adopted(p: Pipeline, found: Provisioned, at: datetime) -> Pipeline:
    """Take up a deployment of which nothing is left but its process and the record that it was provisioned
    with: what the process says it was told last counts, so that what was paused stays so."""
    entered = provisioned(p, found, at)[0]
    said = found.observation.runtime_desired_status
    told = said if said in (*_AWAKE, RuntimeDesired.STANDBY, RuntimeDesired.SUSPENDED) else entered.wanted
    taken = entered.but(wanted=told, steered=told)
    return schedules.moved(renewed((observed(taken, found.observation, at) or (taken,))[-1]))


def steer_refused(p: Pipeline) -> Pipeline:
    """Drop a wish that the process will not follow; what it does instead shows in the mirror. A stop is
    never dropped (I4): it ends without its checkpoint when its deadline has passed."""
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        return p
    if p.wanted is RuntimeDesired.SUSPENDED:
        return p.succeeding("steer", steered=RuntimeDesired.SUSPENDED)
    return p.succeeding("steer", wanted=p.steered)


# Ending


def over(p: Pipeline, problem: Failure | None, at: datetime) -> tuple[Pipeline, ...]:
    """End a deployment that the user still wants: the system resets what is desired, then stops."""
    if p.resources_status not in (ResourcesStatus.PROVISIONING, ResourcesStatus.PROVISIONED):
        return ()
    lost = promotion.losing(p, restarts.after(p, problem), problem)
    reset = lost.with_desired(ResourcesDesired.STOPPED, at)
    return (reset, stopping(reset, problem, at))


def stopping(p: Pipeline, problem: Failure | None, at: datetime) -> Pipeline:
    """Enter Stopping; only the id of the deployment stays."""
    return p.with_resources(
        ResourcesStatus.STOPPING,
        at,
        deployment_error=problem,
        deployment_initial=None,
        bootstrap=None,
        location=None,
        wanted=None,
        steered=None,
        approved=None,
        approval_told=None,
        promoted="",
        deadline=at + limits.END_WITHIN,
        last_try=False,
        resources_status_details=None,
    ).with_runtime(None, at)


def stopped(p: Pipeline, at: datetime) -> Pipeline:
    """Enter Stopped; the compute is gone."""
    if p.resources_status is not ResourcesStatus.STOPPING:
        return p
    gone = p.with_resources(ResourcesStatus.STOPPED, at, deployment_id=None, deadline=None)
    return restarts.resting(gone, at)


def cleared(p: Pipeline) -> Pipeline:
    """The storage is empty; the pipeline may live on any host again."""
    if p.storage_status is not StorageStatus.CLEARING:
        return p
    empty = p.but(storage_status=StorageStatus.CLEARED, storage_status_details=None, host=None, deadline=None)
    return empty.succeeding("clear_storage")


# Failing


def failed(p: Pipeline, effect: str, reason: str, at: datetime, *, late: bool = False) -> Pipeline:
    """Note that an effect failed, perhaps by a late heartbeat, and when it is tried again, with a delay that
    doubles."""
    before = p.retries.get(effect)
    attempts = before.attempts + 1 if before else 1
    delay = min(_FIRST_RETRY * 2 ** min(attempts - 1, 16), _LONGEST_RETRY)
    retry = Retry(
        attempts=attempts,
        not_before=at + delay,
        reason=reason,
        since=before.since if before else at,
        late=late or (before is not None and before.late),
    )
    noted = p.but(retries={**p.retries, effect: retry})
    if effect == "watch":
        noted = noted.but(epoch=p.epoch + 1, sequence=0)  # the next watch counts from one again
    return noted


def compile_failed(p: Pipeline, reason: str, at: datetime, *, late: bool = False) -> tuple[Pipeline, ...]:
    """Try a compiler that broke a few times; then say so in the program status."""
    noted = failed(p, "compile", reason, at, late=late)
    if noted.retries["compile"].attempts < COMPILE_ATTEMPTS:
        return (noted,)
    return compiled(p, CompileOutcome(program_version=p.program_version, system_error=reason), at)


def provision_failed(p: Pipeline, reason: str, at: datetime, *, late: bool = False) -> tuple[Pipeline, ...]:
    """Try again while there is time; once the deadline has passed, one last attempt decides, since the
    process may be up and only the control plane was away."""
    effect = "bind" if p.host is None else "provision"
    if p.deadline is None or at < p.deadline:
        return (failed(p, effect, reason, at, late=late),)
    if not p.last_try:
        return (p.succeeding(effect, last_try=True),)
    return over(p, timed_out(p), at)


def timed_out(p: Pipeline) -> Failure:
    """The error of a process that was not ready in time."""
    timeout = {"secs": int(limits.provision_within(p).total_seconds()), "nanos": 0}
    return failure(refusals.AutomatonProvisioningTimeout(timeout=timeout))

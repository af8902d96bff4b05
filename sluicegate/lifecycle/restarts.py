"""Restarts: when a failed deployment is deployed again by itself. Always below the user (I4).

                 fails, policy on_failure
    deployed ------------------------------> Stopping --> waiting (Stopped) --> deployed again by the system
       |                                         \\___________/
       |  fails for the last time of many             | the user's start, stop, clear or dismiss_error
       +-------------> quarantined (Stopped)          v
                            |                     Stopped, and stays so until a start
                            +-- the user's start ends it

A restart is armed only where the user wants the deployment at the moment it fails: once a stop was accepted,
graceful or forced, nothing arms it. It is a new generation of the *same* deployment (contract §1.7), so the
process goes on with the database it had and with what it was told last; an edit in between makes it another
deployment. What waits is part of the record, and a time to look again is all that the wait is.

No restart for what would only come again: a program that does not compile, a process that found its program,
configuration or storage unfit. A process that died, was lost, never answered, or that its host would not
start (a full disk passes) may do better next time; how often that is believed is the policy's to say.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sluicegate.lifecycle import ids
from sluicegate.lifecycle.commands import Clear, DismissError, Start, Stop, Verb
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.policies import RestartPolicy
from sluicegate.lifecycle.record import Bootstrap, Pipeline, Restart, Restarts
from sluicegate.lifecycle.status import (
    Initial,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
)
from sluicegate.lifecycle.values import rfc3339

HOPELESS = frozenset(
    {
        "InitializationError",
        "StartFailedDueToFailedCompilation",
        "AutomatonSuspendingComputeTimeout",
        "AutomatonCannotProvisionUnsupportedPlatformVersion",
        "AutomatonInvalidRuntimeConfig",
        "AutomatonInvalidProgramInfo",
        "AutomatonInvalidDeploymentConfig",
        "RunnerConfigError",
        "DeploymentOutdated",
        "BootstrapRejected",
        "BootstrapNotAllowed",
        "InvalidStandby",
        "InvalidStartupTransition",
        "PrimaryOutOfReach",
    }
)
"""Codes of deployment errors that another attempt would meet again, or that may stand for a stop (I4)."""
JITTER = 0.2
"""By how much of itself a wait is longer or shorter, so that what failed together returns one by one."""
_UNWELL = (None, RuntimeStatus.UNAVAILABLE, RuntimeStatus.INITIALIZING)


def may_help(problem: Failure) -> bool:
    """Whether a deployment that failed so may do better another time."""
    return problem.error_code not in HOPELESS


def after(p: Pipeline, problem: Failure | None) -> Pipeline:
    """Arm a restart, or give up, when the deployment of a record as it was has just failed."""
    made = p.restarts
    if problem is None or p.restart_policy.policy == "never" or not may_help(problem) or _being_stopped(p):
        return p.but(restarts=made.but(next=None))
    if made.attempts >= p.restart_policy.max_attempts:
        return p.but(restarts=made.but(next=None, given_up=True))
    restart = Restart(
        initial=p.deployment_initial or Initial.RUNNING,
        bootstrap=p.bootstrap or Bootstrap(),
        deployment_id=p.deployment_id or "",
        version=p.version,
        told=p.told or (made.next.told if made.next else None),
    )
    return p.but(restarts=made.but(next=restart, attempts=made.attempts + 1))


def _being_stopped(p: Pipeline) -> bool:
    """Whether the user has asked for an end already, be it a graceful one that was under way."""
    suspending = RuntimeDesired.SUSPENDED in (p.wanted, p.runtime_desired)
    return not p.start_wanted or suspending


def resting(p: Pipeline, at: datetime) -> Pipeline:
    """Begin the wait, or the quarantine, now that the compute is gone; says so in the details."""
    made, policy = p.restarts, p.restart_policy
    if made.given_up:
        reason = (
            f"It is in quarantine: it failed again after {made.attempts} restarts, of which its policy allows"
            f" {policy.max_attempts}. A start ends that."
        )
        since = made.quarantined_since or at
        details = {"reason": reason, "attempts": made.attempts, "quarantined_since": rfc3339(since)}
        return p.but(
            restarts=made.but(given_up=False, quarantined_since=since), resources_status_details=details
        )
    if made.next is None:
        return p
    next_retry_at = at + _wait(p)
    details = {
        "reason": "It failed, and waits to be restarted.",
        "cause": "restart",
        "next_retry_at": rfc3339(next_retry_at),
        "attempts": made.attempts,
        "max_attempts": policy.max_attempts,
    }
    waiting = made.but(next=made.next.but(not_before=next_retry_at))
    return p.but(restarts=waiting, resources_status_details=details)


def _wait(p: Pipeline) -> timedelta:
    """How long to wait: growing with the attempts, and a little different for each pipeline and failure."""
    policy = p.restart_policy
    grown = policy.initial_backoff_secs * policy.backoff_factor ** min(p.restarts.attempts - 1, 60)
    noise = hashlib.sha256(f"{p.id}/restart/{p.generation}".encode()).digest()[0] / 255
    return timedelta(seconds=min(grown, policy.max_backoff_secs) * (1 - JITTER + 2 * JITTER * noise))


def due(p: Pipeline, at: datetime) -> bool:
    """Whether the wait is over."""
    restart = p.restarts.next
    if restart is None or restart.not_before is None or p.start_wanted:
        return False
    return p.resources_status is ResourcesStatus.STOPPED and at >= restart.not_before


def begun(p: Pipeline, at: datetime) -> Pipeline:
    """Want the deployment again, as it was wanted before. It is the system that starts it: the rules for a
    user's start do not ask here, so no error has to be dismissed for it."""
    made, restart = p.restarts, p.restarts.next
    if restart is None:
        return p
    # What was chosen was chosen for that deployment; another one goes on from what it has left.
    same = restart.version == p.version
    return p.with_desired(
        ResourcesDesired.PROVISIONED,
        at,
        deployment_initial=restart.initial,
        bootstrap=restart.bootstrap if same else restart.bootstrap.but(checkpoint=None),
        restarts=made.but(total=made.total + 1, next=restart.but(not_before=None)),
        resources_status_details=_explained(p),
    )


def deployment_id(p: Pipeline, at: datetime, generation: int) -> str:
    """Name the next deployment: a restart goes on with its own unless the pipeline was edited meanwhile."""
    restart = p.restarts.next
    if restart is not None and restart.deployment_id and restart.version == p.version:
        return restart.deployment_id
    return ids.uuid7(at, f"{p.id}/deployment/{generation}")


def provisioning_details(p: Pipeline) -> dict[str, Any] | None:
    """Say why a process is being started, where nobody has asked for it."""
    return _explained(p) if p.restarts.next else None


def _explained(p: Pipeline) -> dict[str, Any]:
    reason = "It is being restarted after it failed."
    return {"reason": reason, "cause": "restart", "attempts": p.restarts.attempts}


def first_desired(p: Pipeline) -> RuntimeDesired:
    """What the process of a deployment is to do first: in a restart what it was told last, so that a pipeline
    that the user paused does not take input again by itself."""
    restart = p.restarts.next
    told = restart.told if restart else None
    if told in (None, RuntimeDesired.UNAVAILABLE, RuntimeDesired.COORDINATION):
        return RuntimeDesired(str(p.deployment_initial))
    return told


def provisioned(p: Pipeline) -> Pipeline:
    """The restart is made."""
    return p.but(restarts=p.restarts.but(next=None)) if p.restarts.next else p


def recovers_at(p: Pipeline) -> datetime | None:
    """When a deployment has worked for so long that its restarts are forgotten; None while it does not."""
    if p.restarts.attempts == 0 or p.resources_status is not ResourcesStatus.PROVISIONED:
        return None
    if p.runtime_status in _UNWELL:
        return None
    return p.deployment_status_since + timedelta(seconds=p.restart_policy.healthy_after_secs)


def recovered(p: Pipeline) -> Pipeline:
    """Begin counting anew."""
    return p.but(restarts=p.restarts.but(attempts=0))


def times(p: Pipeline) -> list[datetime]:
    """When a restart changes something although nothing arrives."""
    restart = p.restarts.next
    return [at for at in (restart.not_before if restart else None, recovers_at(p)) if at is not None]


def heeding(before: Pipeline, verb: Verb, p: Pipeline) -> Pipeline:
    """Give way to the user: a start begins anew, what ends or forgets a deployment calls a restart off."""
    match verb:
        case Start() if not before.start_wanted:
            return _afresh(p)
        case Stop() | Clear() | DismissError() if p.restarts.quarantined_since is None:
            return _afresh(p)
    return p


def under(p: Pipeline, policy: RestartPolicy) -> Pipeline:
    """Put a pipeline under another policy; `never` calls off what waits and ends a quarantine."""
    changed = p.but(restart_policy=policy)
    return _afresh(changed) if policy.policy == "never" else changed


def _afresh(p: Pipeline) -> Pipeline:
    """Forget all but the number of restarts there have ever been."""
    made = p.restarts
    fresh = p.but(restarts=Restarts(total=made.total))
    shown = p.resources_status is ResourcesStatus.STOPPED and (made.next or made.quarantined_since)
    return fresh.but(resources_status_details=None) if shown else fresh


def state(p: Pipeline) -> dict[str, Any]:
    """Show policy and state as GET …/restart_policy does."""
    made = p.restarts
    waiting = made.next.not_before if made.next else None
    return {
        **p.restart_policy.model_dump(include=set(RestartPolicy.model_fields)),
        "attempts": made.attempts,
        "restarts": made.total,
        "next_retry_at": rfc3339(waiting) if waiting else None,
        "quarantined_since": rfc3339(made.quarantined_since) if made.quarantined_since else None,
    }

"""Promotion: a standby takes over by itself from a primary that is lost (`sync.promote_on_failure`).

    workflow of the standby                     workflow of the primary
      is in Standby ── guard ─────────────────►   knows who stands by
                                                  works
                                                  is lost: it failed for good, or was out of reach too long
                                                  its process is gone, or barred
      activates itself ◄────────────── promote ──

Nobody polls: the two tell each other, once each. The primary is fenced first. Its process is made sure to be
gone; only where its host does not answer is it *barred* instead: the pipeline stays in Stopping, so that the
first thing the host does when it answers again is to end it. A primary that its user stops is not lost, and
neither is one that never worked or that its restart policy deploys again. One that is out of reach is not
restarted, since that needs the very host that does not answer.
"""

from datetime import datetime, timedelta

from sluicegate import config
from sluicegate.lifecycle import limits, refusals
from sluicegate.lifecycle.commands import MAX_LOSS, Guard, Promote
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.record import Pipeline, Retry, Understudy
from sluicegate.lifecycle.status import Initial, ResourcesStatus, RuntimeDesired, RuntimeStatus

_DEPLOYED = (ResourcesStatus.PROVISIONING, ResourcesStatus.PROVISIONED)
_AT_WORK = (RuntimeStatus.RUNNING, RuntimeStatus.PAUSED)
_NO_LOSS = frozenset({"DeploymentOutdated"})
"""Errors that may stand for a stop (I4)."""
_FIRST_TRY = timedelta(minutes=1)
_LONGEST_TRY = timedelta(minutes=10)
"""A primary that is not there yet is asked for seldom: each time costs Temporal a request."""

# The standby


def primary(p: Pipeline) -> str | None:
    """Whose loss a pipeline waits for, while it is in standby."""
    deployed = p.resources_status is ResourcesStatus.PROVISIONED and p.start_wanted
    if not deployed or p.runtime_status is not RuntimeStatus.STANDBY:
        return None
    return config.promoted_for(p.runtime_config)


def to_be_told(p: Pipeline) -> str | None:
    """Which primary has to be told that this one stands by."""
    return None if p.guards == p.generation else primary(p)


def told(p: Pipeline, generation: int) -> Pipeline:
    """The primary knows."""
    return p.succeeding("guard", guards=generation)


def not_told(p: Pipeline, reason: str, at: datetime) -> Pipeline:
    """There is no such primary; it may come yet."""
    before = p.retries.get("guard")
    attempts = before.attempts + 1 if before else 1
    delay = min(_FIRST_TRY * 2 ** min(attempts - 1, 10), _LONGEST_TRY)
    retry = Retry(
        attempts=attempts, not_before=at + delay, reason=reason, since=before.since if before else at
    )
    return p.but(retries={**p.retries, "guard": retry})


def taking_over(p: Pipeline, verb: Promote) -> Pipeline:
    """Note that a standby takes over, as soon as its process can be told. Raises NotInStandby."""
    began_so = p.start_wanted and p.deployment_initial is Initial.STANDBY
    waits = p.told in (None, RuntimeDesired.STANDBY) and p.resources_status in _DEPLOYED
    if not (began_so and waits and config.promoted_for(p.runtime_config) == verb.primary):
        raise refusals.NotInStandby(primary=verb.primary, status=p.deployment_status)
    return p.but(promoted=f"It has taken over from {verb.primary}: {verb.reason}")


def due(p: Pipeline) -> bool:
    """Whether the process of a standby that takes over can be told so now."""
    return bool(p.promoted) and p.wanted is RuntimeDesired.STANDBY


def begun(p: Pipeline) -> Pipeline:
    """Want it to run."""
    details = {**(p.resources_status_details or {}), "reason": p.promoted, "cause": "promotion"}
    return p.but(promoted="", wanted=RuntimeDesired.RUNNING, resources_status_details=details)


# The primary


def guarded(p: Pipeline, verb: Guard) -> Pipeline:
    """Know who stands by; the newest counts."""
    known = p.understudy or Understudy(name="", pipeline_id="")
    return at_work(p.but(understudy=known.but(name=verb.name, pipeline_id=verb.standby_id)))


def at_work(p: Pipeline) -> Pipeline:
    """Remember that the deployment of a primary works, since one that never did is not lost."""
    understudy = p.understudy
    if understudy is None or p.runtime_status not in _AT_WORK or understudy.worked == p.deployment_id:
        return p
    return p.but(understudy=understudy.but(worked=p.deployment_id or ""))


def afresh(p: Pipeline) -> Pipeline:
    """Forget the loss of a deployment before: the user has started another."""
    if p.understudy is None or p.start_wanted:
        return p
    return p.but(understudy=p.understudy.but(worked="", lost="", barred=False))


def lost_at(p: Pipeline) -> datetime | None:
    """When a primary that is out of reach counts as lost; None where it is not, or nobody stands by."""
    if not _working(p) or p.to_be_stopped or p.resources_status is not ResourcesStatus.PROVISIONED:
        return None
    if p.runtime_status is not RuntimeStatus.UNAVAILABLE or p.runtime_status_since is None:
        return None
    return p.runtime_status_since + limits.LOST_AFTER


def out_of_reach(p: Pipeline) -> Failure:
    """The error of a primary that is lost because nobody reaches it."""
    seconds = limits.LOST_AFTER.seconds
    problem = refusals.PrimaryOutOfReach(seconds=seconds, standby=p.understudy.name if p.understudy else "")
    return Failure(message=problem.message, error_code=problem.error_code, details=problem.details)


def losing(before: Pipeline, p: Pipeline, problem: Failure | None) -> Pipeline:
    """Note the loss, where the deployment of a record as it was has just failed for good."""
    if problem is None or problem.error_code in _NO_LOSS or not _working(before) or before.to_be_stopped:
        return p
    return p if p.restarts.next else _lost(p, problem.message)


def barred(p: Pipeline) -> Pipeline:
    """The host of a primary that failed does not answer: it will end the process before anything else."""
    if p.understudy is None or p.resources_status is not ResourcesStatus.STOPPING:
        return p
    if p.restarts.next and _working(p):
        p = _lost(p.but(restarts=p.restarts.but(next=None)), "it failed, and its host does not answer")
    lost = p.understudy is not None and p.understudy.lost
    return p.but(understudy=p.understudy.but(barred=True)) if lost and p.understudy else p


def successor(p: Pipeline) -> Understudy | None:
    """Who is to take over now."""
    understudy = p.understudy
    if understudy is None or not understudy.lost:
        return None
    gone = p.resources_status is ResourcesStatus.STOPPED
    return understudy if gone or understudy.barred else None


def handed_over(p: Pipeline) -> Pipeline:
    """Who stood by was told, or is not there any more."""
    return p.succeeding("promote", understudy=None)


def _working(p: Pipeline) -> bool:
    """Whether somebody stands by for this deployment, which has worked."""
    return p.understudy is not None and p.understudy.worked != "" and p.understudy.worked == p.deployment_id


def _lost(p: Pipeline, reason: str) -> Pipeline:
    return p.but(understudy=p.understudy.but(lost=reason[:MAX_LOSS])) if p.understudy else p

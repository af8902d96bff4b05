"""Explanations: why a status that is not at rest is what it is, and when that ends or is tried again.

`details(p)` is what `deployment_resources_status_details` shows, derived from the record, so that it cannot
fall behind it. At rest that is what the provisioner said, or null. Anywhere else it has

    reason          why it is so, and how the last attempt failed where one did
    deadline        when it should be over
    next_retry_at   when what failed is tried again; for a process that has to come along by itself, the
                    first look at it after this was written, from where on it is looked at all the time

with `reason` and one of the two times at least.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sluicegate.lifecycle import limits, promotion
from sluicegate.lifecycle.record import Pipeline, Retry
from sluicegate.lifecycle.status import ResourcesStatus, RuntimeDesired, RuntimeStatus, StorageStatus
from sluicegate.lifecycle.values import rfc3339

LOOK_EVERY = timedelta(seconds=1)
"""How often a process is looked at."""

_SETTLED = {RuntimeStatus.RUNNING, RuntimeStatus.PAUSED, RuntimeStatus.STANDBY}
_PROCESS = {
    RuntimeStatus.UNAVAILABLE: "Its process cannot be reached; it may well be running.",
    RuntimeStatus.STANDBY: "It leaves standby, with the newest that its primary has pushed.",
    RuntimeStatus.COORDINATION: "Its processes find each other.",
    RuntimeStatus.INITIALIZING: "Its process initialises.",
    RuntimeStatus.AWAITING_APPROVAL: "Its checkpoint was made by another program; it waits for /approve.",
    RuntimeStatus.BOOTSTRAPPING: "It computes what is new in its program.",
    RuntimeStatus.CONCURRENT_BOOTSTRAPPING: "It computes what is new in its program beside the old.",
    RuntimeStatus.SYNCHRONIZING: "What is new in its program catches up with the old.",
    RuntimeStatus.REPLAYING: "It replays what it had done since its checkpoint.",
    RuntimeStatus.SUSPENDED: "It has made its checkpoint and is about to be stopped.",
}


class _Wait(NamedTuple):
    reason: str
    deadline: datetime | None = None
    next_look: datetime | None = None


def details(p: Pipeline) -> dict[str, Any] | None:
    """Explain the status of a pipeline; None where it is at rest and there is nothing to say."""
    wait, retry = _wait(p), _retry(p)
    if wait is None and retry is None:
        return p.resources_status_details
    base = p.resources_status_details or {}
    reasons = [reason for reason in (base.get("reason"), wait and wait.reason) if reason]
    if retry:
        reasons.append(f"Attempt {retry.attempts} failed: {retry.reason}")
    times = {
        "deadline": wait.deadline if wait else None,
        "next_retry_at": retry.not_before if retry else wait and wait.next_look,
    }
    shown = {key: rfc3339(at) for key, at in times.items() if at is not None}
    return {**base, "reason": " ".join(reasons), **shown}


def at_rest(p: Pipeline) -> bool:
    """Whether nothing is under way: no wait, nothing to try again, nothing to compile or to tell."""
    obeyed = p.wanted is None or (
        p.wanted is p.steered and p.runtime_desired in (p.wanted, RuntimeDesired.UNAVAILABLE)
    )
    told = p.approved == p.approval_told and not p.promoted
    waits = _wait(p) is not None or _retry(p, "guard") is not None
    return obeyed and told and not p.program_status.in_progress and not waits


def _retry(p: Pipeline, *more: str) -> Retry | None:
    """What failed last and stands in the way of the status, or (`more`) of nothing that is shown."""
    aside = {"place_schedules", *more}
    if p.resources_status is not ResourcesStatus.STOPPED or not p.start_wanted:
        aside.add("compile")
    if p.runtime_status is not RuntimeStatus.UNAVAILABLE:
        aside.add("watch")  # what was seen last stands until a watch finds that nobody answers
    standing = [retry for effect, retry in p.retries.items() if effect not in aside]
    return max(standing, key=lambda retry: retry.not_before, default=None)


def _wait(p: Pipeline) -> _Wait | None:
    match p.resources_status:
        case ResourcesStatus.STOPPED if p.start_wanted:
            return _early(p)
        case ResourcesStatus.STOPPED if p.storage_status is StorageStatus.CLEARING:
            return _Wait("Its storage is being cleared.", p.deadline)
        case ResourcesStatus.STOPPED:
            return None
        case ResourcesStatus.PROVISIONING:
            return _Wait("Its process is being started.", p.deadline)
        case ResourcesStatus.STOPPING:
            return _Wait("Its process is being ended.", p.deadline)
    if not p.start_wanted:
        return _Wait("It is about to be stopped.", p.resources_desired_since + limits.END_WITHIN)
    if p.wanted is RuntimeDesired.SUSPENDED:
        return _Wait("It makes its checkpoint before it stops.", p.deadline)
    return _process(p)


def _early(p: Pipeline) -> _Wait:
    if p.program_status.in_progress:
        deadline = p.program_status_since + limits.COMPILE_WITHIN
        return _Wait("It starts when its program has been compiled.", deadline)
    return _Wait("It is about to be started.", p.resources_desired_since + limits.provision_within(p))


def _process(p: Pipeline) -> _Wait | None:
    status = p.runtime_status or RuntimeStatus.UNAVAILABLE
    leaves = status is RuntimeStatus.STANDBY and p.told is not RuntimeDesired.STANDBY
    if status in _SETTLED and not leaves:
        return None
    said = (p.runtime_status_details or {}).get("reason")
    since = p.runtime_status_since or p.resources_status_since
    reason = said if isinstance(said, str) else _PROCESS[status]
    return _Wait(reason, promotion.lost_at(p), next_look=since + LOOK_EVERY)

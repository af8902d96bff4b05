"""The reconcile decision: from a record to what happens next (contract §1.3, §1.4).

advance(p)   decisions that need no effect, one at a time, until there is none left
actions(p)   the effects that should be in flight now; whoever carries them out starts what is missing
             and cancels what is no longer wanted, so a stop pre-empts everything by changing the record
wake_at(p)   when to look again although nothing arrived

                start, program Success                 port known
    +---------+ ----------------------> +--------------+ -------> +-------------+
    | Stopped |                         | Provisioning |          | Provisioned | <-> pause, resume
    +---------+ <--+                    +--------------+          +-------------+
                   |  torn down           |  stop, timeout,         |  stop, process ended,
                   |                      v  process ended          v  suspended, suspend timeout
                   |                 +-----------------------------------+
                   +---------------- |             Stopping              |
                                     +-----------------------------------+
"""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from sluicegate.lifecycle import limits, promotion, refusals, restarts, transitions
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.status import (
    ProgramStatus,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)
from sluicegate.lifecycle.values import Value


class Effect(StrEnum):
    """The kinds of effects."""

    COMPILE = "compile"
    BIND = "bind"
    PROVISION = "provision"
    WATCH = "watch"
    STEER = "steer"
    APPROVE = "approve"
    DEPROVISION = "deprovision"
    CLEAR_STORAGE = "clear_storage"
    PLACE_SCHEDULES = "place_schedules"
    GUARD = "guard"
    PROMOTE = "promote"


_IN_ORDER = {Effect.STEER, Effect.APPROVE, Effect.PLACE_SCHEDULES}
"""What is told to a process or put in place, one after the other: the last word counts."""


class Action(Value):
    """An effect and what makes it this one and no other: two equal actions are the same work."""

    effect: Effect
    key: int
    """Program version for compile, generation for all others."""
    epoch: int = 0
    argument: str = ""

    def __hash__(self) -> int:
        """Hash by value."""
        return hash((self.effect, self.key, self.epoch, self.argument))


def actions(p: Pipeline, at: datetime) -> frozenset[Action]:
    """Say which effects should be in flight."""
    if p.fenced:
        return frozenset()
    return frozenset(a for a in _wanted(p) if not _backing_off(p, a, at))


def _wanted(p: Pipeline) -> list[Action]:
    found = (_compile(p), _on_host(p), _watch(p), _steer(p), _approve(p), _place_schedules(p), *_standing(p))
    return [action for action in found if action]


def may_go_on(action: Action, wanted: Collection[Action]) -> bool:
    """Whether an effect in flight is wanted still. What is being told cannot be called back while there is
    something else to tell: the next word waits, so that the last one said is the last."""
    another = action.effect in _IN_ORDER and any(a.effect is action.effect for a in wanted)
    return action in wanted or another


def must_wait(action: Action, in_flight: Collection[Action]) -> bool:
    """Whether an effect has to wait until another in flight is over."""
    return action.effect in _IN_ORDER and any(a.effect is action.effect for a in in_flight)


def _backing_off(p: Pipeline, action: Action, at: datetime) -> bool:
    retry = p.retries.get(action.effect)
    return retry is not None and at < retry.not_before


def _compile(p: Pipeline) -> Action | None:
    return Action(effect=Effect.COMPILE, key=p.program_version) if p.program_status.in_progress else None


def _place_schedules(p: Pipeline) -> Action | None:
    if p.schedules_placed == p.schedules_revision:
        return None
    return Action(effect=Effect.PLACE_SCHEDULES, key=p.schedules_revision)


def _standing(p: Pipeline) -> tuple[Action | None, ...]:
    """What is told so that a standby takes over."""
    primary, successor = promotion.to_be_told(p), promotion.successor(p)
    return (
        Action(effect=Effect.GUARD, key=p.generation, argument=primary) if primary else None,
        Action(effect=Effect.PROMOTE, key=p.generation, argument=successor.name) if successor else None,
    )


def _on_host(p: Pipeline) -> Action | None:
    match p.resources_status:
        case ResourcesStatus.PROVISIONING if p.host is None:
            return Action(effect=Effect.BIND, key=p.generation)
        case ResourcesStatus.PROVISIONING:
            late = "late" if p.last_try else ""
            return Action(effect=Effect.PROVISION, key=p.generation, epoch=p.epoch, argument=late)
        case ResourcesStatus.STOPPING if p.host is not None:
            return Action(effect=Effect.DEPROVISION, key=p.generation, epoch=p.epoch)
        case ResourcesStatus.STOPPED if p.storage_status is StorageStatus.CLEARING:
            return Action(effect=Effect.CLEAR_STORAGE, key=p.generation, epoch=p.epoch)
    return None


def _watch(p: Pipeline) -> Action | None:
    if p.resources_status is not ResourcesStatus.PROVISIONED:
        return None
    return Action(effect=Effect.WATCH, key=p.generation, epoch=p.epoch)


def _steer(p: Pipeline) -> Action | None:
    if not _listens(p) or p.wanted in (None, p.steered):
        return None
    return Action(effect=Effect.STEER, key=p.generation, epoch=p.epoch, argument=str(p.wanted))


def _approve(p: Pipeline) -> Action | None:
    if not _listens(p) or p.approved in (None, p.approval_told):
        return None
    words = p.approved.model_dump_json() if p.approved else ""
    return Action(effect=Effect.APPROVE, key=p.generation, epoch=p.epoch, argument=words)


def _listens(p: Pipeline) -> bool:
    """Whether there is a process that can be told something."""
    deployed = p.resources_status is ResourcesStatus.PROVISIONED
    return deployed and p.runtime_status is not RuntimeStatus.UNAVAILABLE


def advance(p: Pipeline, at: datetime) -> tuple[Pipeline, ...]:
    """Make the next decision that needs no effect; each record returned is one event, none means rest."""
    if p.fenced:
        return ()
    if p.program_status is ProgramStatus.PENDING:
        return (p.with_program(ProgramStatus.COMPILING_SQL, at),)
    match p.resources_status:
        case ResourcesStatus.STOPPED:
            return _leave_stopped(p, at)
        case ResourcesStatus.PROVISIONING | ResourcesStatus.PROVISIONED if not p.start_wanted:
            return (transitions.stopping(p, None, at),)
        case ResourcesStatus.PROVISIONED:
            return _leave_provisioned(p, at)
        case ResourcesStatus.STOPPING if p.host is None:
            return (transitions.stopped(p, at),)
    return ()


def _leave_stopped(p: Pipeline, at: datetime) -> tuple[Pipeline, ...]:
    if p.start_wanted:
        return _begin(p, at)
    if restarts.due(p, at):
        return (restarts.begun(p, at),)
    if p.storage_status is StorageStatus.CLEARING and p.host is None:
        return (transitions.cleared(p),)
    return ()


def _begin(p: Pipeline, at: datetime) -> tuple[Pipeline, ...]:
    """Leave Stopped, wait for the compiler, or refuse for good (contract §1.4 rows 3 to 6)."""
    if p.program_status.failed:
        return (transitions.remain_stopped(p, at),)
    if p.program_status is not ProgramStatus.SUCCESS:
        return ()
    generation = max(p.generation, p.spent) + 1
    deadline = at + limits.provision_within(p)
    in_use = p.but(storage_status=StorageStatus.IN_USE)
    provisioning = in_use.with_resources(
        ResourcesStatus.PROVISIONING,
        at,
        generation=generation,
        deployment_id=restarts.deployment_id(p, at, generation),
        deployment_error=None,
        deadline=deadline,
        resources_status_details=restarts.provisioning_details(p),
        last_try=False,
        epoch=p.epoch + 1,
        sequence=0,
    )
    return (in_use, provisioning) if p.storage_status is not StorageStatus.IN_USE else (provisioning,)


def _leave_provisioned(p: Pipeline, at: datetime) -> tuple[Pipeline, ...]:
    if p.runtime_status is RuntimeStatus.SUSPENDED:
        return transitions.over(p, None, at)
    if p.wanted is RuntimeDesired.SUSPENDED and p.deadline and at >= p.deadline:
        timeout = {"secs": int(limits.SUSPEND_WITHIN.total_seconds()), "nanos": 0}
        late = transitions.failure(refusals.AutomatonSuspendingComputeTimeout(timeout=timeout))
        return transitions.over(p, late, at)
    if (lost_at := promotion.lost_at(p)) and at >= lost_at:
        return transitions.over(p, promotion.out_of_reach(p), at)
    if promotion.due(p):
        return (promotion.begun(p),)
    if (healthy_at := restarts.recovers_at(p)) and at >= healthy_at:
        return (restarts.recovered(p),)
    return ()


def wake_at(p: Pipeline, at: datetime) -> datetime | None:
    """Say when to look again although nothing arrived."""
    times = [retry.not_before for retry in p.retries.values() if retry.not_before > at]
    if p.resources_status is ResourcesStatus.PROVISIONED and p.deadline and p.deadline > at:
        times.append(p.deadline)
    times += [time for time in (*restarts.times(p), promotion.lost_at(p)) if time and time > at]
    return min(times, default=None)


def at_rest(p: Pipeline) -> bool:
    """Whether no status will change until somebody calls or a schedule is due: no compute, no effect wanted
    or to be tried again. Putting schedules in place changes none, so one that cannot be holds nobody up."""
    if p.fenced or p.start_wanted or p.resources_status is not ResourcesStatus.STOPPED:
        return False
    under_way = {action.effect for action in _wanted(p)} | p.retries.keys()
    return under_way <= {Effect.PLACE_SCHEDULES} and p.restarts.next is None


def settled(p: Pipeline, at: datetime) -> bool:
    """Whether nothing is under way but, at most, a watch: the moment to begin a new history."""
    return not advance(p, at) and {a.effect for a in _wanted(p)} <= {Effect.WATCH, Effect.GUARD}

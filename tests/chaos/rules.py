"""The pure rules of lifecycle as the model that histories are judged by (I1).

What is decided depends on little of a record, so a state is that little, and equal states are one. Between
two commands things happen by themselves: processes come up, follow, fall silent and (where they may) die,
stops and clears are done. All of that is asked of `reconcile` and `transitions`, as the workflow does. Only
programs that compile are meant: one that may fail would explain nearly any start that is lost.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sluicegate import config, errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle import admission, commands, edits, reconcile, record, transitions
from sluicegate.lifecycle.effects import Failure, Host, Observation, Provisioned
from sluicegate.lifecycle.reconcile import Effect
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.status import (
    Initial,
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)
from sluicegate.lifecycle.values import Packed
from tests.chaos.history import ACCEPTED, Operation

AT = datetime(2025, 1, 1, tzinfo=UTC)
HOST = Host(host_id="host", logs_address="127.0.0.1:1")
PROBLEM = Failure(message="It died.", error_code="RunnerCheckError")
UNKNOWN = errors.UnknownPipelineName(pipeline_name="p").error_code
TAKEN = errors.DuplicateName().error_code


class Shape(NamedTuple):
    """Of a record, what decisions depend on."""

    resources_status: ResourcesStatus
    resources_desired: ResourcesDesired
    runtime_status: RuntimeStatus | None
    runtime_desired: RuntimeDesired | None
    deployment_initial: Initial | None
    bootstrap: Bootstrap | None
    storage_status: StorageStatus
    program_status: ProgramStatus
    deployment_error: bool
    wanted: RuntimeDesired | None
    steered: RuntimeDesired | None
    host: bool


GONE: None = None
"""The state of what was deleted, or never created."""

State = Shape | None


def shape(p: Pipeline) -> Shape:
    """Forget all that no decision depends on."""
    kept: dict[str, Any] = {name: getattr(p, name) for name in Shape._fields}
    return Shape(**kept | {"deployment_error": p.deployment_error is not None, "host": p.host is not None})


def created() -> Shape:
    """The state of a pipeline that was just created; before that it is GONE, like one that was deleted."""
    return shape(_template())


@cache
def _template() -> Pipeline:
    descriptor = {
        "name": "p",
        "texts": Packed.of_json({}),
        "runtime_config": config.runtime_config(None),
        "program_config": config.program_config(None),
    }
    return record.created(tenant_id="t", pipeline_id="p", at=AT, platform_version="1", descriptor=descriptor)


@cache
def _opened(state: Shape) -> Pipeline:
    error = PROBLEM if state.deployment_error else None
    host = HOST if state.host else None
    return _template().but(**state._asdict() | {"deployment_error": error, "host": host})


@dataclass(frozen=True)
class Rules:
    """See the module."""

    processes_may_die: bool = False
    """Whether a deployment may fail by itself; where nothing was done to a process it may not."""

    def settled(self, states: frozenset[State]) -> frozenset[State]:
        """All states that those may have become by themselves."""
        return frozenset(after for state in states for after in _become(state, self.processes_may_die))

    def answered(self, state: State) -> State:
        """Make all decisions that need no effect, which is done before anybody is answered."""
        return _advanced(state)

    def apply(self, state: State, operation: Operation) -> Iterable[tuple[State, str]]:
        """Decide a command as the workflow would."""
        return [_decided(state, operation.verb, tuple(sorted(operation.arguments.items())))]


@cache
def _decided(state: State, verb_name: str, arguments: tuple[tuple[str, Any], ...]) -> tuple[State, str]:
    if verb_name == "create":
        return (created(), ACCEPTED) if state is GONE else (state, TAKEN)
    if state is GONE:
        return GONE, UNKNOWN
    p = _opened(state)
    try:
        if verb_name == "delete":
            edits.check_delete(p)
            return GONE, ACCEPTED
        if verb_name == "edit":
            return shape(edits.apply(p, _edit(dict(arguments)), AT).pipeline), ACCEPTED
        verb = commands.VERBS[verb_name].model_validate(dict(arguments))
        return shape(admission.admit(p, verb, AT).pipeline), ACCEPTED
    except Refusal as refused:
        return state, refused.error_code


def _edit(arguments: dict[str, Any]) -> edits.Edit:
    """Make an edit of the description or of the program; each has a text that no other has."""
    program = arguments.get("program_code")
    return edits.Edit(
        request_id="edit",
        actor="anonymous",
        platform_version="1",
        description=arguments.get("description"),
        texts=Packed.of_json({"program_code": program}) if program else None,
    )


@cache
def _advanced(state: State) -> State:
    while state is not GONE and (records := reconcile.advance(_opened(state), AT)):
        state = shape(records[-1])
    return state


@cache
def _become(state: State, mortal: bool) -> frozenset[State]:
    seen, left = {state}, [state]
    while left:
        now = left.pop()
        if now is not GONE:
            found = {shape(p) for p in _moves(_opened(now), mortal)}
            left += found - seen
            seen |= found
    return frozenset(seen)


def _moves(p: Pipeline, mortal: bool) -> Iterator[Pipeline]:
    yield from reconcile.advance(p, AT)
    for action in reconcile.actions(p, AT):
        yield from _outcomes(p, action.effect)
    if p.resources_status is ResourcesStatus.PROVISIONED:
        for seen in _looks(p):
            yield from transitions.observed(p, seen, AT)
    if mortal:
        yield from transitions.over(p, PROBLEM, AT)


def _outcomes(p: Pipeline, effect: Effect) -> Iterable[Pipeline]:
    """How an effect may come out; one that fails and is tried again changes nothing."""
    match effect:
        case Effect.COMPILE:
            return [p.with_program(ProgramStatus.SUCCESS, AT)]
        case Effect.BIND:
            return [transitions.bound(p, HOST)]
        case Effect.PROVISION:
            first = Observation(
                runtime_status=RuntimeStatus.INITIALIZING,
                runtime_desired_status=RuntimeDesired((p.deployment_initial or Initial.RUNNING).value),
            )
            return transitions.provisioned(p, Provisioned(location="h:1", observation=first), AT)
        case Effect.STEER:
            told = [transitions.steered(p, p.wanted)] if p.wanted else []
            return [*told, transitions.steer_refused(p)]
        case Effect.DEPROVISION:
            return [transitions.stopped(p, AT)]
        case Effect.CLEAR_STORAGE:
            return [transitions.cleared(p)]
    return []


def _looks(p: Pipeline) -> Iterator[Observation]:
    """What a watch may see: a process that wants what it may have been told, and silence."""
    yield _look(RuntimeStatus.UNAVAILABLE, RuntimeDesired.UNAVAILABLE)
    wanted = {RuntimeDesired.RUNNING, RuntimeDesired.PAUSED}
    if p.deployment_initial is Initial.STANDBY:
        wanted.add(RuntimeDesired.STANDBY)
    if p.wanted is RuntimeDesired.SUSPENDED:
        wanted.add(RuntimeDesired.SUSPENDED)
    for desired in wanted:
        yield _look(RuntimeStatus(desired.value), desired)
        yield _look(RuntimeStatus.INITIALIZING, desired)


def _look(status: RuntimeStatus, desired: RuntimeDesired) -> Observation:
    return Observation(runtime_status=status, runtime_desired_status=desired)

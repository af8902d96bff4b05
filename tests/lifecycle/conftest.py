"""Builders of records, and a world that carries effects out the way the workflow has them carried out."""

import copy
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluicegate import config
from sluicegate.lifecycle import commands, ids, promotion, reconcile, record, refusals, schedules, transitions
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.effects import CompileOutcome, Host, Observation, Observed, Provisioned, Readopt
from sluicegate.lifecycle.journal import Cause, Event
from sluicegate.lifecycle.reconcile import Action, Effect
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.status import ResourcesStatus, RuntimeDesired, RuntimeStatus, StorageStatus
from sluicegate.lifecycle.values import Packed

START = datetime(2025, 1, 1, 12, tzinfo=UTC)
HOST = Host(host_id="host-1", logs_address="127.0.0.1:9000")
BAD = "SELECT nonsense"
NO_MESSAGES = {"exit_code": 0, "messages": []}
SQL_ERROR = {"exit_code": 1, "messages": [{"warning": False, "message": "no such table"}]}


def texts(program_code: str = "CREATE TABLE t (a INT)") -> Packed:
    """Pack the three texts of a program."""
    return Packed.of_json({"program_code": program_code, "udf_rust": "", "udf_toml": ""})


def new_pipeline(program_code: str = "CREATE TABLE t (a INT)", **changes: Any) -> Pipeline:
    """Make a pipeline that was just created, with some fields different."""
    descriptor = {
        "name": "p",
        "texts": texts(program_code),
        "runtime_config": config.runtime_config(changes.pop("runtime_config", None)),
        "program_config": config.program_config(None),
    }
    made = record.created(
        tenant_id="tenant",
        pipeline_id=ids.uuid7(START, "p"),
        at=START,
        platform_version="1",
        descriptor=descriptor,
    )
    return made.but(**changes)


@dataclass
class Process:
    """What the process of a deployment does, as opposed to what the record says of it."""

    desired: RuntimeDesired
    status: RuntimeStatus = RuntimeStatus.INITIALIZING
    alive: bool = True
    answers: bool = True
    asks: bool = False
    """It does not go on until its bootstrap is approved."""

    def proceed(self) -> None:
        """Get where it was told to be, if it may."""
        self.answers = True
        self.status = RuntimeStatus.AWAITING_APPROVAL if self.asks else RuntimeStatus(str(self.desired))

    def look(self) -> Observation:
        """Show what a watch sees."""
        seen = Observation(runtime_status=self.status, runtime_desired_status=self.desired)
        if not self.alive:
            problem = refusals.RunnerCheckError(error="the process was ended by signal 9")
            return seen.but(fatal=transitions.failure(problem))
        if not self.answers:
            away = RuntimeStatus.UNAVAILABLE
            return seen.but(runtime_status=away, runtime_desired_status=RuntimeDesired.UNAVAILABLE)
        return seen


_AROUND: dict[Effect, Callable[[Pipeline, int], Pipeline]] = {
    Effect.PLACE_SCHEDULES: schedules.placed,
    Effect.GUARD: promotion.told,
    Effect.PROMOTE: lambda p, generation: promotion.handed_over(p),
}
"""What becomes of effects that no host has."""
NOBODY = Process(RuntimeDesired.RUNNING, alive=False)


@dataclass
class Watch:
    """What a watch has told so far."""

    known: Observation
    sequence: int = 0


@dataclass
class Step:
    """One write of the record: by whom, and which write follows in the same breath."""

    cause: str
    old: Pipeline
    new: Pipeline
    at: datetime
    next: Pipeline | None = None


class World:
    """A state with everything around it: the clock, effects in flight, processes, signals on their way."""

    def __init__(self, p: Pipeline | None = None) -> None:
        """Begin with a pipeline that was just created."""
        made = p or new_pipeline()
        self.now = START
        self.state = State.new(made, START, Cause(actor="ann", request_id="create"), "create")
        self.in_flight: dict[Action, Watch] = {}
        self.processes: dict[int, Process] = {}
        self.mail: list[Observed] = []
        self.steps: list[Step] = []
        self.issued = 0
        self.turned = False

    @property
    def p(self) -> Pipeline:
        """The record."""
        return self.state.pipeline

    @property
    def process(self) -> Process | None:
        """The process of the newest deployment."""
        return self.processes.get(self.p.generation)

    def clone(self) -> "World":
        """Copy the world, to see how it would go on."""
        other = copy.copy(self)
        other.in_flight = {action: copy.copy(watch) for action, watch in self.in_flight.items()}
        other.processes = {number: copy.copy(process) for number, process in self.processes.items()}
        other.mail, other.steps = list(self.mail), []
        return other

    # What the workflow does

    def send(self, verb: str, *, request_id: str | None = None, **arguments: Any) -> str | None:
        """Signal a verb; return the code of its refusal."""
        self.issued += 1
        request_id = request_id or f"request-{self.issued}"
        message = commands.parse(verb, [{"request_id": request_id, "arguments": arguments}], "fallback")
        before = self.p
        self.state = self.state.obeying(message, self.now)
        self._saw(verb, [before, self.p])
        return self.state.receipts.kept[request_id].code

    def edit(self, *, request_id: str | None = None, **fields: Any) -> None:
        """Apply an edit. Raises Refusal."""
        self.issued += 1
        given: dict[str, Any] = {"platform_version": "1", "actor": "ann", **fields}
        before = self.p
        self.state = self.state.editing(
            Edit(request_id=request_id or f"request-{self.issued}", **given), self.now
        )
        self._saw("edit", [before, self.p])

    def turn(self) -> None:
        """Run the main loop once: decide, then cancel and start effects."""
        expected = self.state.advanced(self.now)
        for _ in range(20):
            records = reconcile.advance(self.p, self.now)
            if not records:
                break
            self._note("system", records)
        assert self.state == expected
        wanted = reconcile.actions(self.p, self.now)
        kept = {action: watch for action, watch in self.in_flight.items() if action in wanted}
        self.in_flight = {action: kept.get(action) or Watch(self.p.observation) for action in wanted}
        self.turned = True

    def succeed(self, action: Action) -> None:
        """Let an effect in flight come out well."""
        del self.in_flight[action]
        if action.effect in _AROUND:
            self._note("system", [_AROUND[action.effect](self.p, action.key)])
        else:
            self._note("system", self._outcome(action))

    def fail(self, action: Action, kind: str = "") -> None:
        """Let an effect in flight come out badly, in one of the ways that the workflow tells apart."""
        del self.in_flight[action]
        p, now, reason = self.p, self.now, "it did not work"
        records: tuple[Pipeline, ...]
        match action.effect, kind:
            case Effect.COMPILE, _:
                records = transitions.compile_failed(p, reason, now)
            case Effect.PROVISION, "refused":
                problem = refusals.RunnerProvisionError(error=reason)
                records = transitions.over(p, transitions.failure(problem), now)
            case ((Effect.PROVISION | Effect.BIND), _):
                records = transitions.provision_failed(p, reason, now)
            case Effect.STEER, "refused":
                records = (transitions.steer_refused(p),)
            case Effect.APPROVE, "refused" if not (self.process and self.process.asks):
                records = (transitions.approval_told(p, Bootstrap.model_validate_json(action.argument)),)
            case Effect.WATCH, "unanswered":
                noted = transitions.failed(p, "watch", reason, now)
                records = transitions.unanswered(noted, now) or (noted,)
            case effect, _:
                records = (transitions.failed(p, effect, reason, now),)
        self._note("system", records)

    def readopt(self, host: Host, generation: int) -> None:
        """Let a host come back."""
        news = Readopt(host=host, generation=generation)
        self._note("system", [transitions.readopted(self.p, news)])

    def renew(self) -> None:
        """Continue as new: effects are issued again by a run that knows the encoded state only."""
        self.state = self.state.but(pipeline=transitions.renewed(self.p))
        travelled = State.decoded(json.loads(json.dumps(self.state.encoded())))
        assert travelled == self.state
        self.state, self.in_flight = travelled, {}

    # What happens outside

    def watch(self) -> None:
        """Let the watch look once and, if there is news, put it into the mail."""
        for action, watch in self.in_flight.items():
            if action.effect is Effect.WATCH and (process := self.processes.get(action.key)):
                seen = process.look()
                if seen != watch.known:
                    watch.sequence, watch.known = watch.sequence + 1, seen
                    news = Observed(
                        generation=action.key,
                        epoch=action.epoch,
                        sequence=watch.sequence,
                        observation=seen,
                    )
                    self.mail.append(news)

    def deliver(self, index: int = 0, *, keep: bool = False) -> None:
        """Deliver one observation from the mail, in any order, perhaps once more later."""
        message = self.mail[index] if keep else self.mail.pop(index)
        self._note("system", transitions.reported(self.p, message, self.now))

    def cooperate(self, within: int = 60) -> None:
        """Let everything work until the pipeline rests; fail where that takes too many steps."""
        for _ in range(within):
            self.turn()
            self.watch()
            due = [action for action in self.in_flight if action.effect is not Effect.WATCH]
            if self.mail:
                self.deliver()
            elif due:
                self.succeed(min(due, key=str))
            elif (process := self.process) and process.alive and not self._at_rest(process):
                process.proceed()
            elif (wake_at := reconcile.wake_at(self.p, self.now)) is not None:
                self.now = wake_at
            else:
                return
        raise AssertionError(f"not at rest within {within} steps: {self.p}")

    def _at_rest(self, process: Process) -> bool:
        awaiting = process.asks and process.status is RuntimeStatus.AWAITING_APPROVAL
        return process.answers and (awaiting or process.status.value == process.desired.value)

    def _outcome(self, action: Action) -> tuple[Pipeline, ...]:
        p, now = self.p, self.now
        match action.effect:
            case Effect.COMPILE:
                return transitions.compiled(p, outcome_of(p, action.key), now)
            case Effect.BIND:
                return (transitions.bound(p, HOST),)
            case Effect.PROVISION:
                initial = RuntimeDesired(str(p.deployment_initial)) if p.deployment_initial else None
                process = self.processes.setdefault(
                    action.key, Process(desired=initial or RuntimeDesired.RUNNING)
                )
                found = Provisioned(location="127.0.0.1:7000", observation=process.look())
                return transitions.provisioned(p, found, now)
            case Effect.WATCH:
                return transitions.observed(p, self.processes.get(action.key, NOBODY).look(), now)
            case Effect.STEER:
                return (transitions.steered(p, self.tell(action)),)
            case Effect.APPROVE:
                return (transitions.approval_told(p, self.approve(action)),)
            case Effect.DEPROVISION:
                self.processes.pop(action.key, None)
                return (transitions.stopped(p, now),)
        return (transitions.cleared(p),)

    def tell(self, action: Action) -> RuntimeDesired:
        """Tell the process what an effect in flight has to tell it, whether or not that is reported."""
        desired = RuntimeDesired(action.argument)
        assert desired is not RuntimeDesired.STANDBY, "no process can be told to return to standby"
        if process := self.processes.get(action.key):
            process.desired = desired
            if {process.status.value, desired.value} == {"Running", "Paused"}:
                process.proceed()
        return desired

    def approve(self, action: Action) -> Bootstrap:
        """Tell the process that its bootstrap is approved."""
        if process := self.processes.get(action.key):
            process.asks = False
        return Bootstrap.model_validate_json(action.argument)

    # Bookkeeping

    def _note(self, cause: str, records: Iterable[Pipeline]) -> None:
        written = list(records)
        self._saw(cause, [self.p, *written])
        self.state = self.state.noting(written, self.now)

    def _saw(self, cause: str, records: list[Pipeline]) -> None:
        self.turned = False
        for number, (old, new) in enumerate(itertools.pairwise(records)):
            following = records[number + 2] if number + 2 < len(records) else None
            self.steps.append(Step(cause, old, new, self.now, following))

    def tuples(self, since: int = 0) -> list[tuple[Any, ...]]:
        """The events as contract §5.10 compares them: consecutive duplicates collapsed."""
        shown: list[tuple[Any, ...]] = []
        for event in self.state.journal.events[since:]:
            if (seven := as_tuple(event)) not in shown[-1:]:
                shown.append(seven)
        return shown


def as_tuple(event: Event) -> tuple[Any, ...]:
    """Reduce an event to the seven words of contract §5.10."""
    return (
        event.deployment_resources_status,
        event.deployment_resources_desired_status,
        event.deployment_runtime_status,
        event.deployment_runtime_desired_status,
        event.deployment_error is not None,
        event.program_status,
        event.storage_status,
    )


def outcome_of(p: Pipeline, program_version: int) -> CompileOutcome:
    """Compile, without a compiler."""
    if p.texts.json_value["program_code"] == BAD:
        return CompileOutcome(program_version=program_version, sql_compilation=SQL_ERROR)
    return CompileOutcome(
        program_version=program_version,
        sql_compilation=NO_MESSAGES,
        rust_compilation={"exit_code": 0, "stdout": "", "stderr": ""},
        program_info=Packed.of_json({"schema": {}}),
        plan=Packed.of_json({}),
    )


@pytest.fixture(scope="session")
def make_pipeline() -> Callable[..., Pipeline]:
    """Make records."""
    return new_pipeline


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Make worlds."""
    return World


@pytest.fixture
def world() -> World:
    """A world with a pipeline that was just created."""
    return World()


@pytest.fixture
def at() -> datetime:
    """A moment some time after the creation."""
    return START + timedelta(minutes=1)


@pytest.fixture(scope="session")
def make_texts() -> Callable[..., Packed]:
    """Pack program texts."""
    return texts


@pytest.fixture(scope="session")
def deployed() -> Callable[..., Pipeline]:
    """Make a record in any resources status, complete as the rules would leave it."""

    def make(status: ResourcesStatus, *, wanted: bool = True, **changes: Any) -> Pipeline:
        world = World()
        world.cooperate()
        if status is not ResourcesStatus.STOPPED or wanted:
            world.send("start")
        if status is ResourcesStatus.PROVISIONING:
            world.turn()
        elif status is not ResourcesStatus.STOPPED:
            world.cooperate()
        if status is ResourcesStatus.STOPPING:
            world.send("stop", force=True)
            world.turn()
        elif status is not ResourcesStatus.STOPPED and not wanted:
            world.send("stop", force=True)
        assert world.p.resources_status is status
        assert world.p.start_wanted is (wanted and status is not ResourcesStatus.STOPPING)
        assert (world.p.storage_status is StorageStatus.CLEARED) is (status is ResourcesStatus.STOPPED)
        return world.p.but(**changes)

    return make

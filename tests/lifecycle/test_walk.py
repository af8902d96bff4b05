"""A random walk through the rules, which after every step asserts what must always hold.

The machine sends verbs and edits, right and wrong ones and some twice; lets effects come out well or badly,
late, or not at all; delivers observations late, twice and in any order; crashes processes, lets hosts come
back and the history begin anew. Whatever happened, a stop is then obeyed, and a wish fulfilled.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sluicegate.errors import Refusal
from sluicegate.lifecycle import reconcile, views
from sluicegate.lifecycle.effects import Host
from sluicegate.lifecycle.policies import RestartPolicy
from sluicegate.lifecycle.reconcile import Effect
from sluicegate.lifecycle.record import Pipeline, Restarts
from sluicegate.lifecycle.state import MEMO_BYTES
from sluicegate.lifecycle.status import (
    BootstrapPolicy,
    Initial,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
)
from sluicegate.lifecycle.values import Packed, rfc3339

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Step, World

RESOURCES = {
    "Stopped": {"Provisioning"},
    "Provisioning": {"Provisioned", "Stopping"},
    "Provisioned": {"Stopping"},
    "Stopping": {"Stopped"},
}
PROGRAM = {
    "Pending": {"CompilingSql", "SystemError"},
    "CompilingSql": {"Pending", "SqlCompiled", "SqlError", "SystemError"},
    "SqlCompiled": {"Pending", "CompilingRust"},
    "CompilingRust": {"Pending", "SqlCompiled", "Success", "RustError", "SystemError"},
    **{ended: {"Pending"} for ended in ("Success", "SqlError", "RustError", "SystemError")},
}
STORAGE = {"Cleared": {"InUse"}, "InUse": {"Clearing"}, "Clearing": {"Cleared"}}
MIRROR = ("runtime_status", "runtime_status_since", "runtime_status_details", "runtime_desired", "location")
TIMED = ("program_status", "resources_status", "resources_desired", "runtime_status", "runtime_desired")
PASTS = (
    (),
    ("resume",),
    ("start",),
    ("start", "resume"),
    ("start", "resume", "resume"),
    ("start", "pause", "resume"),
    ("start", "stop"),
    ("start", "stop", "resume"),
    ("start", "approve"),
)
SAYINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("start", {}),
    ("stop", {"force": True}),
    ("stop", {"force": False}),
    ("pause", {}),
    ("resume", {}),
    ("activate", {}),
    ("activate", {"initial": "paused"}),
    ("approve", {}),
    ("approve", {"silent_bootstrap": True}),
    ("clear", {}),
    ("dismiss_error", {}),
    ("guard", {"name": "s", "standby_id": "1"}),
    ("promote", {"primary": "q", "reason": "r"}),
)
ON_HOST = {Effect.BIND, Effect.PROVISION, Effect.DEPROVISION, Effect.CLEAR_STORAGE}
POLICIES = (
    RestartPolicy(),
    RestartPolicy(policy="on_failure"),
    RestartPolicy(policy="on_failure", max_attempts=1, initial_backoff_secs=30, healthy_after_secs=30),
)
SYNCED = {"bucket": "b", "promote_on_failure": "q"}
SYNC = {"storage": {"backend": {"name": "file", "config": {"sync": SYNCED}}}}


def check_record(p: Pipeline) -> None:
    """Assert what one record must be like."""
    deployed = p.resources_status is ResourcesStatus.PROVISIONED
    for field in MIRROR:
        assert (getattr(p, field) is not None) is deployed, field
    assert (p.deployment_id is None) is (p.resources_status is ResourcesStatus.STOPPED)
    assert (p.deployment_initial is None) is (p.bootstrap is None)
    if p.start_wanted:
        assert p.deployment_initial is not None
        assert p.resources_status is not ResourcesStatus.STOPPING
    elif p.resources_status in (ResourcesStatus.STOPPED, ResourcesStatus.STOPPING):
        assert p.deployment_initial is None
    if p.resources_status is not ResourcesStatus.STOPPED:
        assert p.program_status == "Success"
        assert p.storage_status == "InUse"
    if p.wanted is RuntimeDesired.SUSPENDED:
        assert p.deadline is not None
    if p.restarts.next is not None:
        assert p.restart_policy.policy == "on_failure"
        assert not (deployed and p.start_wanted)
        assert p.restarts.quarantined_since is None
        waiting = p.resources_status is ResourcesStatus.STOPPED and not p.start_wanted
        assert (p.restarts.next.not_before is not None) is waiting


def check_explanation(step: "Step") -> None:
    """Assert that what is not at rest says why, and until when or when it is tried again."""
    p = step.new
    shown = views.info(p)["deployment_resources_status_details"]
    if p.fully_stopped and p.storage_status != "Clearing":
        restart_at = p.restarts.next and p.restarts.next.not_before
        assert (shown is not None) is bool(restart_at or p.restarts.quarantined_since)
        assert not restart_at or shown["next_retry_at"] == rfc3339(restart_at)
        return
    word = p.deployment_status if p.wanted is not RuntimeDesired.SUSPENDED else "suspending"
    settled = ("Running", "Paused", *(["Standby"] if p.told is RuntimeDesired.STANDBY else []))
    if word in settled and p.start_wanted and not p.retries.keys() - {"watch"}:
        assert shown == p.resources_status_details
        return
    assert shown["reason"], word
    times = [datetime.fromisoformat(shown[key]) for key in ("deadline", "next_retry_at") if key in shown]
    assert times, word
    if p.resources_status != step.old.resources_status:
        assert all(at > step.at for at in times), "what has just begun is not late"


def check_statuses(step: "Step") -> None:
    """Assert what may follow on what, and that each time moves with its status."""
    old, new = step.old, step.new
    for graph, field in (
        (RESOURCES, "resources_status"),
        (PROGRAM, "program_status"),
        (STORAGE, "storage_status"),
    ):
        before, after = getattr(old, field), getattr(new, field)
        assert after == before or after in graph[before], f"{field}: {before} -> {after}"
    for field in TIMED:
        value, since = getattr(new, field), getattr(new, f"{field}_since")
        if value == getattr(old, field):
            assert since == getattr(old, f"{field}_since"), field
        else:
            assert since == (None if value is None else step.at), field
    if new.program_status != old.program_status:
        assert (old.resources_status, new.resources_status) == ("Stopped", "Stopped")
    if new.storage_status != old.storage_status:
        assert old.resources_status == "Stopped"
        assert new.storage_status != "Clearing" or (step.cause == "clear" and old.fully_stopped)


def check_numbers(step: "Step") -> None:
    """Assert that the numbers that fence and that clients wait for only grow, and when."""
    old, new = step.old, step.new
    provisioning = new.resources_status == "Provisioning" != old.resources_status
    assert new.generation == old.generation + provisioning
    for field in ("version", "program_version", "refresh_version", "epoch"):
        assert getattr(new, field) >= getattr(old, field), field
    if (old.generation, old.epoch) == (new.generation, new.epoch):
        assert new.sequence >= old.sequence
    if new.resources_status != old.resources_status:
        assert new.refresh_version == old.refresh_version + 1
        assert step.cause == "system"
    if step.cause not in ("system", "edit"):
        assert (new.version, new.refresh_version) == (old.version, old.refresh_version)


def check_wishes(step: "Step") -> None:
    """Assert who may change what is wanted, and what is wrong."""
    old, new = step.old, step.new
    if new.resources_desired != old.resources_desired and new.start_wanted:
        restart = old.restarts.next
        restarted = step.cause == "system" and restart and restart.not_before
        assert step.cause == "start" or (restarted and step.at >= restarted)
    elif new.resources_desired != old.resources_desired and step.cause != "stop":
        assert step.cause == "system"
        if new.resources_status is ResourcesStatus.STOPPED:
            assert new.deployment_error is not None
        else:
            assert step.next is not None
            assert step.next.resources_status is ResourcesStatus.STOPPING
    if old.wanted is RuntimeDesired.SUSPENDED and new.wanted is not RuntimeDesired.SUSPENDED:
        assert new.resources_status is ResourcesStatus.STOPPING
    if new.deployment_error != old.deployment_error:
        entered = new.resources_status != old.resources_status
        remained = step.cause == "system" and not new.start_wanted
        assert entered or remained or step.cause in ("start", "dismiss_error")


def check_steps(world: "World") -> None:
    """Assert all of this of every write since the last time."""
    steps, world.steps = world.steps, []
    for step in steps:
        check_statuses(step)
        check_numbers(step)
        check_wishes(step)
        check_record(step.new)
        check_explanation(step)


def core(p: Pipeline) -> Pipeline:
    """Leave out what may be edited at any time."""
    return p.but(
        description="",
        tags=(),
        restart_policy=RestartPolicy(),
        restarts=Restarts(),
        resources_status_details=None,
    )


class Walk(RuleBasedStateMachine):
    """What may happen to a pipeline."""

    begin: ClassVar[Any]
    world: "World"

    @initialize(sync=st.booleans(), past=st.sampled_from(PASTS), policy=st.sampled_from(POLICIES))
    def create(self, sync: bool, past: tuple[str, ...], policy: RestartPolicy) -> None:
        """Begin with a pipeline that has a past, in some walks one that may start in standby."""
        self.world = type(self).begin(SYNC if sync else None)
        self.receipts: dict[str, Any] = {}
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.checked: Pipeline | None = None
        self.halted: int | None = None
        """The generation at the user's last stop, until a start: there must be no later one (I4)."""
        self.world.edit(restart_policy=policy)
        for verb in past:
            self.world.cooperate()
            self.world.send(verb)
            self.world.turn()

    def send(self, verb: str, *, turn: bool, **arguments: Any) -> None:
        """Send a verb, and perhaps have something else arrive before it is acted upon."""
        request_id = f"mine-{len(self.sent)}"
        refused = self.world.send(verb, request_id=request_id, **arguments)
        self.sent.append((request_id, verb, arguments))
        if verb == "start" and not refused:
            self.halted = None
        elif verb == "stop" and not refused:
            self.halted = self.world.p.generation
        if turn:
            self.world.turn()

    @rule(
        initial=st.sampled_from(Initial),
        policy=st.sampled_from(BootstrapPolicy),
        silent=st.booleans(),
        dismiss=st.booleans(),
        turn=st.booleans(),
    )
    def start(
        self, initial: Initial, policy: BootstrapPolicy, silent: bool, dismiss: bool, turn: bool
    ) -> None:
        arguments = {"silent_bootstrap": silent, "concurrent_bootstrap": silent and dismiss}
        self.send(
            "start", turn=turn, initial=initial, bootstrap_policy=policy, dismiss_error=dismiss, **arguments
        )

    @rule()
    def let_everything_work(self) -> None:
        self.world.cooperate()

    @rule(said=st.sampled_from(SAYINGS), turn=st.booleans())
    def say(self, said: tuple[str, dict[str, Any]], turn: bool) -> None:
        verb, arguments = said
        self.send(verb, turn=turn, **arguments)

    @rule(verb=st.sampled_from(("start", "pause", "clear")))
    def misspell(self, verb: str) -> None:
        self.send(verb, turn=True, nonsense=1)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        request_id, verb, arguments = data.draw(st.sampled_from(self.sent))
        before = self.world.state
        self.world.send(verb, request_id=request_id, **arguments)
        assert self.world.state == before

    @rule(
        fields=st.fixed_dictionaries(
            {},
            optional={
                "description": st.sampled_from(("", "d")),
                "tags": st.sampled_from(((), ("a",))),
                "name": st.sampled_from(("p", "q")),
                "program_code": st.sampled_from(
                    ("CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)", "SELECT nonsense")
                ),
                "workers": st.sampled_from((8, 2)),
                "replace": st.booleans(),
                "restart_policy": st.sampled_from(POLICIES),
            },
        ),
        platform=st.sampled_from(("1", "1", "2")),
        turn=st.booleans(),
    )
    def edit(self, fields: dict[str, Any], platform: str, turn: bool) -> None:
        world, given = self.world, dict(fields)
        if (code := given.pop("program_code", None)) is not None:
            given["texts"] = Packed.of_json({"program_code": code})
        if (workers := given.pop("workers", None)) is not None:
            given["runtime_config"] = {**world.p.runtime_config, "workers": workers}
        before = world.state
        try:
            world.edit(platform_version=platform, **given)
        except Refusal:
            assert world.state == before
        else:
            same = core(world.p) == core(before.pipeline)
            assert same is (world.p.version == before.pipeline.version)
        if turn:
            world.turn()

    @precondition(lambda self: self.world.in_flight)
    @rule(
        data=st.data(),
        kind=st.sampled_from(("well", "well", "well", "", "refused", "unanswered")),
        turn=st.booleans(),
    )
    def come_out(self, data: st.DataObject, kind: str, turn: bool) -> None:
        action = data.draw(st.sampled_from(sorted(self.world.in_flight, key=str)))
        if kind != "well":
            self.world.fail(action, kind)
        elif action.effect is not Effect.WATCH or not (self.world.process and self.world.process.alive):
            self.world.succeed(action)
        if turn:
            self.world.turn()

    @precondition(lambda self: any(a.effect is Effect.STEER for a in self.world.in_flight))
    @rule()
    def tell_without_reporting(self) -> None:
        self.world.tell(next(a for a in self.world.in_flight if a.effect is Effect.STEER))

    @precondition(lambda self: self.world.process)
    @rule(what=st.sampled_from(("proceed", "hang", "proceed", "hang", "ask", "die", "")))
    def happen(self, what: str) -> None:
        process = self.world.process
        assert process is not None
        match what:
            case "proceed":
                process.proceed()
            case "hang":
                process.answers = False
            case "ask" if process.status is RuntimeStatus.INITIALIZING:
                process.asks = True
                process.proceed()
            case "die":
                process.alive = False
        self.world.watch()

    @precondition(lambda self: self.world.mail)
    @rule(data=st.data(), keep=st.booleans(), turn=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool, turn: bool) -> None:
        self.world.deliver(data.draw(st.integers(0, len(self.world.mail) - 1)), keep=keep)
        if turn:
            self.world.turn()

    @rule(host=st.sampled_from(("host-1", "host-1", "host-2")), late=st.booleans())
    def readopt(self, host: str, late: bool) -> None:
        self.world.readopt(Host(host_id=host, logs_address="a:1"), self.world.p.generation - late)
        self.world.turn()

    @rule()
    def renew(self) -> None:
        self.world.turn()
        self.world.renew()
        self.world.turn()

    @precondition(lambda self: self.world.process and self.world.p.restart_policy.policy == "on_failure")
    @rule(
        verb=st.sampled_from(("stop", "start", "clear", "dismiss_error")),
        when=st.sampled_from(("before", "stopping", "waiting")),
    )
    def die_and_be_told(self, verb: str, when: str) -> None:
        """The process dies, and the user says something before that is seen, or after, or in the wait."""
        process = self.world.process
        assert process is not None
        if when == "before":
            self.send(verb, turn=False, **({"force": True} if verb == "stop" else {}))
        process.alive = False
        for effect in (Effect.WATCH, Effect.DEPROVISION):
            for action in [a for a in self.world.in_flight if a.effect is effect]:
                self.world.succeed(action)
                self.world.turn()
            if when == "stopping" and effect is Effect.WATCH:
                self.send(verb, turn=True)
        if when == "waiting":
            self.send(verb, turn=True)

    @rule(seconds=st.sampled_from((0.1, 1, 31, 700)))
    def pass_time(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)
        self.world.turn()

    @invariant()
    def every_step_is_legal(self) -> None:
        check_steps(self.world)

    @invariant()
    def a_request_is_decided_once(self) -> None:
        kept = self.world.state.receipts.kept
        for request_id, decided in self.receipts.items():
            assert kept[request_id] == decided
        self.receipts = dict(kept)

    @invariant()
    def effects_do_not_contend(self) -> None:
        p, now = self.world.p, self.world.now
        effects = [action.effect for action in reconcile.actions(p, now)]
        assert len(effects) == len(set(effects))
        assert len(ON_HOST & set(effects)) <= 1

    @invariant()
    def nothing_waits_for_nothing(self) -> None:
        world = self.world
        if not world.turned:
            return
        wake_at = reconcile.wake_at(world.p, world.now)
        assert wake_at is None or wake_at > world.now
        assert not reconcile.advance(world.p, world.now)
        busy = world.in_flight or wake_at
        resting = world.p.fully_stopped and world.p.storage_status != "Clearing"
        assert busy or (resting and not world.p.program_status.in_progress)
        if reconcile.settled(world.p, world.now):
            assert {action.effect for action in world.in_flight} <= {Effect.WATCH}
        else:
            assert wake_at or {action.effect for action in world.in_flight} - {Effect.WATCH}

    @invariant()
    def nothing_but_a_start_undoes_a_stop(self) -> None:
        if self.halted is not None:
            assert self.world.p.generation == self.halted
            assert self.world.p.restarts.next is None

    @invariant()
    def the_memo_is_small(self) -> None:
        memo = self.world.state.projection()
        assert memo.get("overflow") or len(memo["packed"]) <= MEMO_BYTES

    @invariant()
    def a_stop_is_obeyed_and_a_wish_fulfilled(self) -> None:
        if self.world.p == self.checked:
            return
        self.checked = self.world.p
        self.obey_a_stop(self.world.clone())
        self.fulfil_the_wish(self.world.clone())

    def obey_a_stop(self, world: "World") -> None:
        """Stop wins from everywhere, in a bounded number of steps (I5)."""
        world.send("stop", force=True, request_id="the end")
        assert not world.p.start_wanted
        world.turn()
        assert world.p.resources_status in (ResourcesStatus.STOPPED, ResourcesStatus.STOPPING)
        world.cooperate()
        check_steps(world)
        assert world.p.fully_stopped
        assert not world.process
        assert reconcile.settled(world.p, world.now)
        assert reconcile.wake_at(world.p, world.now) is None

    def fulfil_the_wish(self, world: "World") -> None:
        """Once everything works, the process does what was asked last, and the record shows it (I7)."""
        wanted = world.p.wanted
        world.cooperate()
        assert self.halted in (None, world.p.generation)
        check_steps(world)
        assert reconcile.settled(world.p, world.now)
        if world.p.resources_status is ResourcesStatus.PROVISIONED:
            assert world.process is not None
            assert world.p.runtime_status == world.process.status.value
            assert world.process.desired is world.p.told
            assert wanted in (None, world.p.wanted)
            assert wanted is not RuntimeDesired.SUSPENDED
            assert not (world.process.asks and world.p.approved)
        else:
            assert world.p.fully_stopped


# Seconds on a busy machine; alone it takes thirteen.
@pytest.mark.timeout(300)
def test_a_walk_of_the_rules(make_world: Any, make_pipeline: Any) -> None:
    def begin(runtime_config: dict[str, Any] | None) -> Any:
        return make_world(make_pipeline(runtime_config=runtime_config))

    machine = type("Walking", (Walk,), {"begin": staticmethod(begin)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=300, stateful_step_count=40, deadline=None, derandomize=True)
    )

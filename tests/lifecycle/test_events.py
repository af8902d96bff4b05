"""The event sequences of contract §5.10, tuple by tuple."""

from typing import TYPE_CHECKING, Any

from sluicegate.lifecycle.values import Packed

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

CREATED = [
    ("Stopped", "Stopped", None, None, False, program, "Cleared")
    for program in ("Pending", "CompilingSql", "SqlCompiled", "CompilingRust", "Success")
]


def deployment(
    resources: str, desired: str, runtime: str | None = None, told: str | None = None, *, error: bool = False
) -> tuple[Any, ...]:
    """Write one tuple of a deployment: a compiled program and storage in use."""
    return (resources, desired, runtime, told, error, "Success", "InUse")


STOPPED = ("Stopped", "Stopped", None, None, False, "Success", "InUse")
STARTED = [
    ("Stopped", "Provisioned", None, None, False, "Success", "Cleared"),
    deployment("Stopped", "Provisioned"),
    deployment("Provisioning", "Provisioned"),
    deployment("Provisioned", "Provisioned", "Initializing", "Running"),
    deployment("Provisioned", "Provisioned", "Running", "Running"),
]
RUNNING = STARTED[-1]


def running(world: "World") -> int:
    """Bring the pipeline up, and count the events so far without the last."""
    world.cooperate()
    world.send("start")
    world.cooperate()
    return len(world.state.journal.events) - 1


def test_create_and_compile(world: "World") -> None:
    world.cooperate()
    assert world.tuples() == CREATED


def test_start(world: "World") -> None:
    world.cooperate()
    before = len(world.state.journal.events)
    world.send("start")
    world.cooperate()
    assert world.tuples(before) == STARTED


def test_start_while_it_compiles(world: "World") -> None:
    world.turn()
    world.send("start")
    world.cooperate()
    early = [
        ("Stopped", "Provisioned", None, None, False, program, "Cleared")
        for program in ("CompilingSql", "SqlCompiled", "CompilingRust")
    ]
    assert world.tuples() == CREATED[:2] + early + STARTED


def test_a_start_with_storage_in_use_has_no_step_for_it(world: "World") -> None:
    running(world)
    world.send("stop", force=True)
    world.cooperate()
    before = len(world.state.journal.events) - 1
    world.send("start")
    world.cooperate()
    assert world.tuples(before) == [STOPPED, *STARTED[1:]]


def test_pause_and_resume(world: "World") -> None:
    before = running(world)
    world.send("pause")
    world.cooperate()
    paused = deployment("Provisioned", "Provisioned", "Paused", "Paused")
    assert world.tuples(before) == [RUNNING, paused]
    world.send("resume")
    world.cooperate()
    assert world.tuples(before) == [RUNNING, paused, RUNNING]


def test_force_stop(world: "World") -> None:
    before = running(world)
    world.send("stop", force=True)
    world.cooperate()
    assert world.tuples(before) == [
        RUNNING,
        deployment("Provisioned", "Stopped", "Running", "Running"),
        deployment("Stopping", "Stopped"),
        STOPPED,
    ]


def test_stop_with_a_checkpoint(world: "World") -> None:
    before = running(world)
    world.send("stop")
    world.cooperate()
    assert world.tuples(before) == [
        RUNNING,
        deployment("Provisioned", "Provisioned", "Running", "Suspended"),
        deployment("Provisioned", "Provisioned", "Suspended", "Suspended"),
        deployment("Provisioned", "Stopped", "Suspended", "Suspended"),
        deployment("Stopping", "Stopped"),
        STOPPED,
    ]


def test_clear(world: "World") -> None:
    running(world)
    world.send("stop", force=True)
    world.cooperate()
    before = len(world.state.journal.events) - 1
    world.send("clear")
    world.cooperate()
    assert world.tuples(before) == [STOPPED, (*STOPPED[:6], "Clearing"), (*STOPPED[:6], "Cleared")]


def test_an_edit_to_bad_sql(world: "World", make_texts: Any) -> None:
    world.cooperate()
    before = len(world.state.journal.events) - 1
    world.edit(texts=make_texts("SELECT nonsense"))
    world.cooperate()
    shown = [row[5] for row in world.tuples(before)]
    assert shown == ["Success", "Pending", "CompilingSql", "SqlError"]
    assert {row[:5] for row in world.tuples(before)} == {("Stopped", "Stopped", None, None, False)}


def test_a_crash_and_its_dismissal(world: "World") -> None:
    before = running(world)
    assert world.process is not None
    world.process.alive = False
    world.cooperate()
    crashed = [
        RUNNING,
        deployment("Provisioned", "Stopped", "Running", "Running"),
        deployment("Stopping", "Stopped", error=True),
        deployment("Stopped", "Stopped", error=True),
    ]
    assert world.tuples(before) == crashed
    assert world.send("dismiss_error") is None
    assert world.tuples(before) == [*crashed, STOPPED]


def test_a_refused_start_leaves_no_event(world: "World", make_texts: Any) -> None:
    world.edit(texts=make_texts("SELECT nonsense"))
    world.cooperate()
    before = world.state.journal.count
    assert world.send("start") == "CannotStartWithCompilationError"
    assert world.state.journal.count == before
    assert world.send("dismiss_error") is None
    assert world.state.journal.count == before + 1
    assert len(world.tuples(before - 1)) == 1


def test_an_accepted_start_or_stop_leaves_an_event_each_time(world: "World") -> None:
    running(world)
    calls: list[tuple[str, dict[str, Any]]] = [("start", {}), ("stop", {"force": True})]
    for verb, arguments in (calls[0], calls[0], calls[1], calls[1]):
        before = world.state.journal.count
        assert world.send(verb, **arguments) is None
        assert world.state.journal.count == before + 1


def test_the_description_leaves_no_event_and_a_core_edit_does(world: "World") -> None:
    world.cooperate()
    before = world.state.journal.count
    world.edit(description="new", tags=("a",))
    assert world.state.journal.count == before
    world.edit(runtime_config={**world.p.runtime_config, "workers": 2})
    assert world.state.journal.count == before + 1


def test_runtime_details_are_null_exactly_with_the_runtime_status(world: "World") -> None:
    running(world)
    world.send("stop", force=True)
    world.cooperate()
    for event in world.state.journal.events:
        assert (event.deployment_runtime_status is None) is (event.deployment_runtime_status_details is None)


def test_at_most_720_events_are_kept(world: "World") -> None:
    world.cooperate()
    for _ in range(730):
        world.send("dismiss_error")
    events = world.state.journal.events
    assert len(events) == 720
    assert world.state.journal.count == 735
    assert len({event.event_id for event in events}) == 720


def causes(world: "World", since: int) -> list[str | None]:
    """The requests that the events since then are put down to, consecutive ones collapsed."""
    shown: list[str | None] = []
    for event in world.state.journal.events[since:]:
        if event.request_id not in shown[-1:]:
            shown.append(event.request_id)
    return shown


def test_what_follows_from_a_request_is_put_down_to_it_until_the_pipeline_rests(world: "World") -> None:
    world.cooperate()
    assert causes(world, 0) == ["create"]
    assert {event.actor for event in world.state.journal.events} == {"ann"}
    for verb in ("start", "pause", "resume", "stop", "clear"):
        before = world.state.journal.count
        assert world.send(verb, request_id=f"my {verb}") is None
        world.cooperate()
        assert causes(world, before) == [f"my {verb}"]
        assert world.state.because is None


def test_what_nobody_asked_for_is_the_systems(world: "World") -> None:
    running(world)
    before = world.state.journal.count
    assert world.process is not None
    world.process.alive = False
    world.cooperate()
    events = world.state.journal.events[before:]
    assert {(event.actor, event.request_id) for event in events} == {("system", None)}


def test_a_request_that_changes_nothing_does_not_take_over(world: "World") -> None:
    world.cooperate()
    before = world.state.journal.count
    world.send("start", request_id="first")
    world.turn()
    world.send("start", request_id="again")
    world.send("pause", request_id="refused")
    world.cooperate()
    assert causes(world, before) == ["first", "again", "first"]


def test_a_stop_takes_over_from_a_start(world: "World") -> None:
    world.cooperate()
    before = world.state.journal.count
    world.send("start", request_id="start")
    world.turn()
    world.send("stop", force=True, request_id="stop")
    world.cooperate()
    assert causes(world, before) == ["start", "stop"]


def test_events_and_their_cause_survive_a_new_history(world: "World") -> None:
    world.turn()
    world.send("start", request_id="start")
    world.turn()
    before = world.state.journal
    world.renew()
    assert world.state.journal == before
    world.cooperate()
    assert causes(world, before.count - 1) == ["start"]


def test_a_call_that_changes_nothing_takes_no_credit_for_what_is_under_way(world: "World") -> None:
    world.edit(request_id="edited", texts=Packed.of_json({"program_code": "CREATE TABLE other (a INT)"}))
    before = len(world.state.journal.events)
    world.send("stop", request_id="idle", force=True)
    world.cooperate()
    stop, *compilation = world.state.journal.events[before:]
    assert stop.request_id == "idle"
    assert {event.program_status for event in compilation} >= {"SqlCompiled", "Success"}
    assert {event.request_id for event in compilation} == {"edited"}

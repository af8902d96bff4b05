"""Schedules: which are valid, which are in force, and that the record is what decides."""

from datetime import timedelta
from typing import Any

import pytest

from sluicegate.lifecycle import commands, cron, reconcile, refusals, schedules
from sluicegate.lifecycle.policies import Schedule
from sluicegate.lifecycle.reconcile import Effect

NIGHTLY = Schedule(verb="stop", cron="0 22 * * *", arguments={"force": True})
MORNING = Schedule(verb="start", cron="0 6 * * mon-fri", arguments={"initial": "Paused"})


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "*/15 0-6,22 1 jan,JUL mon-fri",
        "0 0 1-31/7 * 7",
        "30 0 12 * * * *",
        "30 0 12 * * * 2030-2040",
        "@daily",
    ],
)
def test_what_cron_may_say(text: str) -> None:
    assert cron.check(f"  {text} ") == " ".join(text.lower().split())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("@always", "five fields"),
        ("@daily @daily", "five fields"),
        ("60 * * * *", "the minute '60' is not from 0 to 59"),
        ("* 24 * * *", "the hour"),
        ("* * 0 * *", "the day of the month"),
        ("* * * 13 *", "the month '13'"),
        ("* * * * 8", "the day of the week"),
        ("* * * mon *", "the month 'mon'"),
        ("x * * * *", "the minute 'x' is not understood"),
        ("5-1 * * * *", "ends before it begins"),
        ("*/0 * * * *", "a step of 0"),
        ("*-5 * * * *", "is not understood"),
        ("1,,2 * * * *", "is not understood"),
        ("* * * * * * *", "the second '*' is not one number"),
        ("61 * * * * * *", "the second '61'"),
        ("1 * * * * * 1999", "the year"),
        ("* " * 200, "five fields"),
    ],
)
def test_what_it_may_not(text: str, reason: str) -> None:
    with pytest.raises(refusals.InvalidSchedule, match="not valid") as refused:
        cron.check(text)
    assert reason in refused.value.details["reason"]


@pytest.mark.parametrize(
    "given", [{"arguments": {"force": "yes"}}, {"arguments": {"nonsense": 1}}, {"timezone": ""}]
)
def test_arguments_and_zone_are_checked(world: Any, given: dict[str, Any]) -> None:
    before = world.state
    with pytest.raises(refusals.InvalidSchedule):
        world.edit(schedules={"nightly": NIGHTLY.model_copy(update=given)})
    assert world.state == before


def due(world: Any, name: str, *, late: timedelta = timedelta(0), **changes: Any) -> Any:
    """Let a schedule be due; return the code of its refusal."""
    schedule = world.p.schedules.get(name)
    given = {
        "schedule": name,
        "revision": schedule.revision if schedule else 1,
        "due_at": (world.now - late).isoformat(),
    }
    return world.send("scheduled", **(given | changes))


def test_a_schedule_starts_and_stops_as_it_says(world: Any) -> None:
    version = world.p.version
    world.edit(schedules={"morning": MORNING, "nightly": NIGHTLY})
    assert world.p.version == version
    world.cooperate()
    assert due(world, "morning") is None
    world.cooperate()
    assert world.p.deployment_status == "Paused"
    assert due(world, "nightly") is None
    world.cooperate()
    assert world.p.fully_stopped


def test_every_change_is_put_in_place_once(world: Any) -> None:
    world.cooperate()
    assert not world.in_flight
    world.edit(schedules={"morning": MORNING, "nightly": NIGHTLY})
    world.turn()
    [action] = world.in_flight
    assert (action.effect, action.key) == (Effect.PLACE_SCHEDULES, 1)
    world.fail(action)
    world.turn()
    assert not world.in_flight
    assert schedules.state(world.p)["problem"] == "it did not work"
    assert world.p.resources_status_details is None
    world.edit(schedules={"nightly": None})
    world.cooperate()
    assert world.p.schedules_placed == world.p.schedules_revision == 2
    assert world.p.schedule_names == ("morning",)
    before = world.state.revision
    world.edit(schedules={"morning": MORNING})
    assert world.state.revision == before, "what is equal changes nothing"
    assert reconcile.settled(world.p, world.now)


def test_an_older_placement_leaves_the_newer_to_do(world: Any) -> None:
    world.edit(schedules={"morning": MORNING})
    world.edit(schedules={"morning": None})
    late = schedules.placed(world.p, 1)
    assert late.schedules_placed == 0
    assert late.schedule_names == ("morning",), "Temporal may have it by now"


def test_a_rename_has_them_put_in_place_again(world: Any) -> None:
    world.edit(schedules={"morning": MORNING})
    world.cooperate()
    revision = world.p.schedules["morning"].revision
    world.edit(name="other")
    assert world.p.schedules_revision != world.p.schedules_placed
    assert world.p.schedules["morning"].revision == revision


@pytest.mark.parametrize("what", ["removed", "changed", "paused", "another"])
def test_what_is_not_in_force_drives_nothing(world: Any, what: str) -> None:
    world.edit(schedules={"morning": MORNING})
    old = world.p.schedules["morning"].revision
    world.cooperate()
    changes: dict[str, Any] = {"revision": old}
    match what:
        case "removed":
            world.edit(schedules={"morning": None})
        case "changed":
            world.edit(schedules={"morning": MORNING.model_copy(update={"cron": "1 6 * * *"})})
        case "paused":
            world.edit(schedules={"morning": MORNING.model_copy(update={"paused": True})})
            changes = {}
        case "another":
            changes = {"schedule": "evening"}
    assert due(world, "morning", **changes) == "ScheduleNotInForce"
    world.cooperate()
    assert world.p.fully_stopped


def test_a_stop_of_the_user_outlives_a_start_that_was_due_before(world: Any) -> None:
    world.edit(schedules={"morning": MORNING})
    world.cooperate()
    assert world.send("stop") is None
    assert due(world, "morning", late=timedelta(seconds=1)) == "ScheduleNotInForce"
    world.now += timedelta(seconds=2)
    assert due(world, "morning") is None


def test_schedules_that_come_late_are_done_in_the_order_they_were_due(world: Any) -> None:
    world.edit(schedules={"morning": MORNING, "nightly": NIGHTLY})
    world.cooperate()
    world.now += timedelta(days=1)
    assert due(world, "nightly", late=timedelta(hours=1)) is None
    assert due(world, "morning", late=timedelta(hours=15)) == "ScheduleNotInForce"
    world.cooperate()
    assert world.p.fully_stopped


def test_schedules_that_cannot_be_put_in_place_hold_nobody_up(world: Any) -> None:
    world.cooperate()
    assert reconcile.at_rest(world.p)
    world.edit(schedules={"morning": MORNING})
    for _ in range(30):
        world.now += timedelta(minutes=1)
        world.turn()
        [action] = world.in_flight
        assert reconcile.at_rest(world.p), "nobody waits for it"
        world.fail(action)
    assert reconcile.at_rest(world.p)
    assert world.p.retries["place_schedules"].attempts == 30
    assert world.send("start") is None
    assert not reconcile.at_rest(world.p)
    world.turn()
    assert world.p.deployment_status == "Provisioning"


def test_what_mends_a_schedule_does_not_wait_for_the_next_attempt(world: Any) -> None:
    world.cooperate()
    world.edit(schedules={"morning": MORNING})
    world.turn()
    [action] = world.in_flight
    world.fail(action)
    assert placing(world) == []
    world.edit(schedules={"morning": None})
    assert len(placing(world)) == 1
    assert schedules.state(world.p)["problem"] is None


def test_there_is_a_limit(world: Any) -> None:
    many = {f"s{number}": NIGHTLY for number in range(schedules.MAX_SCHEDULES)}
    world.edit(schedules=many)
    with pytest.raises(refusals.TooManySchedules):
        world.edit(schedules={"more": NIGHTLY})
    with pytest.raises(refusals.UnknownSchedule):
        world.edit(schedules={"more": None})


def test_a_request_for_another_pipeline_of_this_name_has_no_effect(world: Any) -> None:
    for meant, code in (("another", "AnotherPipeline"), (world.p.id, None)):
        message = {"request_id": f"for {meant}", "pipeline_id": meant}
        world.state = world.state.obeying(commands.parse("start", [message], "fallback"), world.now)
        assert world.state.receipts.kept[f"for {meant}"].code == code


def test_an_older_book_is_put_in_place_before_a_newer_one(world: Any) -> None:
    world.cooperate()
    world.edit(schedules={"nightly": NIGHTLY})
    [first] = placing(world)
    world.edit(schedules={"nightly": None})
    [second] = placing(world)
    assert first != second
    assert reconcile.may_go_on(first, {second}), "what it removes or makes late must not undo the newer"
    assert reconcile.must_wait(second, {first})
    assert not reconcile.must_wait(second, set())


def placing(world: Any) -> list[reconcile.Action]:
    """Say which schedules are to be put in place now."""
    wanted = reconcile.actions(world.p, world.now)
    return [action for action in wanted if action.effect is Effect.PLACE_SCHEDULES]

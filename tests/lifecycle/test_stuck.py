"""Which work counts as stuck, whose it is, and what of it is told to whom."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from sluicegate.lifecycle import stuck, transitions
from sluicegate.lifecycle.journal import SYSTEM
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.status import ResourcesStatus
from sluicegate.lifecycle.stuck import Kind, Report, Sight, Stuck, Trouble

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = Sight("acme", everything=True)


def one(tenant_id: str, name: str, kind: Kind = Kind.ACTIVITY, cause: str = "why") -> Stuck:
    """Make a piece of stuck work."""
    workflow_id = f"pipeline/{tenant_id}/{name}"
    return Stuck(workflow_id=workflow_id, tenant_id=tenant_id, name=name, kind=kind, cause=cause)


@pytest.mark.parametrize(
    ("attempt", "late", "kind"),
    [
        pytest.param(1, False, None, id="first"),
        pytest.param(9, False, None, id="ninth"),
        pytest.param(10, False, Kind.ACTIVITY, id="tenth"),
        pytest.param(11, True, Kind.ACTIVITY, id="beyond"),
        pytest.param(2, True, Kind.HEARTBEAT, id="late"),
    ],
)
def test_an_activity_is_judged_by_its_attempt(attempt: int, late: bool, kind: Kind | None) -> None:
    assert stuck.judged(attempt, late=late) is kind


@pytest.fixture
def failing(deployed: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """A pipeline whose end has failed so many times, a second apart."""

    def fail(times: int, *, late: bool = False) -> Pipeline:
        p = deployed(ResourcesStatus.STOPPING)
        for number in range(times):
            at = T0 + timedelta(seconds=number)
            p = transitions.failed(p, "deprovision", "the disk\nis full", at, late=late)
        return p

    return fail


def test_a_record_knows_of_its_tenth_attempt(failing: Any) -> None:
    assert stuck.troubles(failing(8)) == ()
    cause = "deprovision, attempt 10: the disk is full"
    assert stuck.troubles(failing(9)) == (Trouble(kind=Kind.ACTIVITY, cause=cause, since=T0),)


def test_a_record_knows_of_a_late_heartbeat_until_the_effect_is_done(failing: Any) -> None:
    p = failing(1, late=True)
    assert [trouble.kind for trouble in stuck.troubles(p)] == [Kind.HEARTBEAT]
    assert stuck.troubles(transitions.stopped(p, T0)) == ()


def test_the_memo_shows_it_and_a_memo_without_says_nothing(failing: Any) -> None:
    p = failing(9)
    shown = State.new(p, T0, SYSTEM, "").projection()
    assert stuck.read(shown) == stuck.troubles(p)
    assert stuck.read(State.new(failing(1), T0, SYSTEM, "").projection()) == ()


@pytest.mark.parametrize(
    ("workflow_id", "parent_id", "whose"),
    [
        pytest.param("pipeline/t/p", "", ("t", "p"), id="pipeline"),
        pytest.param("cleanup/i", "pipeline/t/p", ("t", "what p left"), id="clean-up"),
        pytest.param("cleanup/i", "", ("", "cleanup/i"), id="clean-up of nobody"),
        pytest.param("bulk/t/b", "", ("t", "bulk operation b"), id="bulk"),
        pytest.param("tenant/t", "", ("t", "the tenant itself"), id="tenant"),
        pytest.param("directory", "", ("", "directory"), id="the control plane's own"),
    ],
)
def test_whose_it_is(workflow_id: str, parent_id: str, whose: tuple[str, str]) -> None:
    [found] = stuck.of(workflow_id, parent_id, [Trouble(kind=Kind.ACTIVITY, cause="why")])
    assert (found.tenant_id, found.name) == whose


def test_a_tenant_learns_of_its_own_work_and_of_nothing_else() -> None:
    report = Report.of([one("acme", "mine"), one("other", "theirs"), one("", "directory")])
    assert report.words(Sight("acme")) == "1 stuck: mine (an activity fails again and again: why)."
    assert report.words(Sight("third")) is None
    assert report.seen_by(Sight("third")).total == 0


def test_an_owner_learns_of_all_and_whose_it_is() -> None:
    report = Report.of([one("acme", "mine"), one("other", "theirs", Kind.HEARTBEAT), one("", "directory")])
    words = report.words(OWNER)
    assert words is not None
    assert words.startswith("3 stuck: ")
    assert "mine (an activity" in words
    assert "theirs of tenant other (a heartbeat was late: why)" in words
    assert "directory (" in words


def test_five_are_named_and_the_others_counted_by_turns_of_the_tenants() -> None:
    report = Report.of([*(one("acme", f"p{number}") for number in range(40)), one("other", "lonely")])
    words = report.words(OWNER)
    assert words is not None
    assert words.startswith("41 stuck: ")
    assert words.endswith("; and 36 more.")
    assert "lonely" in words


def test_what_an_event_keeps_is_bounded_and_counts_all() -> None:
    report = Report.of(one(f"t{number:02}", name) for number in range(30) for name in "abc")
    kept = report.kept()
    assert (len(kept.items), kept.total) == (stuck.KEPT, report.total)
    assert kept.kept() == kept
    assert kept.seen_by(Sight("t00")).total == 3
    assert kept.seen_by(Sight("t29")).total == 0


def test_another_cause_is_no_change_and_another_kind_is() -> None:
    known = Report.of([one("acme", "p"), one("other", "q")])
    assert Report.of([one("acme", "p", cause="else"), one("other", "q")]).changed(known) == set()
    assert Report.of([one("acme", "p", Kind.HEARTBEAT), one("other", "q")]).changed(known) == {"acme"}
    assert Report().changed(known) == {"acme", "other"}


def test_a_cause_is_one_line_of_bounded_length() -> None:
    cause = stuck.worded("provision", 10, "first\n" + "x" * 1_000)
    assert cause.startswith("provision, attempt 10: first xxx")
    assert len(cause) == stuck.LONGEST_CAUSE


@pytest.mark.parametrize(
    ("looked", "trouble", "words"),
    [
        pytest.param(0, None, None, id="just now"),
        pytest.param(60, "away", None, id="a minute ago"),
        pytest.param(61, "away", "since 2025-12-31T23:58:59.000000Z: away", id="too long ago"),
        pytest.param(61, None, "the look hangs", id="too long ago, and no word why"),
    ],
)
def test_what_was_found_long_ago_is_in_doubt(looked: int, trouble: str | None, words: str | None) -> None:
    said = stuck.doubt(T0 - timedelta(seconds=looked), T0 - timedelta(hours=1), trouble, T0)
    assert said is None if words is None else words in (said or "")


def test_who_has_never_found_anything_out_has_a_minute_for_it() -> None:
    assert stuck.doubt(None, T0, "away", T0 + timedelta(minutes=1)) is None
    assert "yet: away" in (stuck.doubt(None, T0, "away", T0 + timedelta(seconds=61)) or "")


def test_the_cause_of_a_state_that_does_not_decode_holds_no_value_of_it(failing: Any) -> None:
    encoded = State.new(failing(1), T0, SYSTEM, "").encoded()
    encoded["pipeline"]["generation"] = "hunter2"
    with pytest.raises(ValidationError, match="generation") as refused:
        State.decoded(encoded)
    assert "hunter2" not in str(refused.value)

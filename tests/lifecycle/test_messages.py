"""Messages, receipts and ids: whatever arrives is read, decided once, and remembered within bounds (I1)."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate import errors
from sluicegate.lifecycle import commands, effects, ids, receipts, refusals
from sluicegate.lifecycle.commands import Command, Unreadable
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.effects import Observed, Readopt
from sluicegate.lifecycle.receipts import Receipt, Receipts
from sluicegate.lifecycle.state import Ask
from sluicegate.lifecycle.status import Initial

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

START = datetime(2025, 1, 1, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
ANY_JSON = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(ANY_TEXT, v, max_size=3))
KEYS = st.sampled_from(
    ("pipeline_id", "request_id", "actor", "arguments", "verb", "force", "initial", "generation", "host")
)
ALMOST = st.dictionaries(KEYS, ANY_JSON | st.dictionaries(KEYS, ANY_JSON, max_size=3), max_size=4)
ODD = st.builds(object) | st.binary(max_size=3) | st.sets(st.integers(), max_size=2) | st.tuples(ANY_JSON)
ARRIVING = st.lists(ANY_JSON | ALMOST | ODD, max_size=2)


@given(verb=st.sampled_from(sorted(commands.VERBS)), given_=ARRIVING)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_arrives_is_read(verb: str, given_: list[Any]) -> None:
    read = commands.parse(verb, given_, "fallback")
    assert 0 < len(read.request_id) <= 200
    assert 0 < len(read.actor) <= 200
    assert len(getattr(read, "reason", "")) <= commands.MAX_REASON
    assert json.loads(read.model_dump_json())["request_id"] == read.request_id


@given(arriving=ARRIVING)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_signals_of_our_own_are_read_or_ignored(arriving: list[Any]) -> None:
    assert effects.read(Observed, arriving) is None
    assert effects.read(Readopt, arriving) is None


@pytest.mark.parametrize("arriving", [[], [{}], [{"arguments": None}], [{"arguments": {}}]])
@pytest.mark.parametrize("verb", commands.VERBS)
def test_a_bare_verb_is_enough(verb: str, arriving: list[Any]) -> None:
    read = commands.parse(verb, arriving, "fallback")
    assert isinstance(read, Command)
    assert (read.request_id, read.actor, read.verb) == ("fallback", "unknown", commands.VERBS[verb]())


NONSENSE: list[tuple[list[Any], str]] = [
    (["stop"], "one JSON object is expected"),
    ([None], "one JSON object is expected"),
    ([{}, {}], "one JSON object is expected, not 2 arguments"),
    ([{"arguments": {"force": "yes"}}], "force"),
    ([{"arguments": {"forse": True}}], "forse"),
    ([{"arguments": {"x" * 5000: True}}], "Extra inputs"),
    ([{"arguments": {"\ud800": True}}], "valid string"),
    ([{"arguments": [1]}], "dictionary"),
    ([{"pipeline_id": 5}], "pipeline_id is not"),
    ([{"pipeline_id": "\ud800"}], "pipeline_id is not"),
    ([{"pipeline_id": "x" * 5000}], "pipeline_id is not"),
]


@pytest.mark.parametrize(("arriving", "words"), NONSENSE)
def test_what_makes_no_sense_gets_a_receipt_that_says_so(
    arriving: list[Any], words: str, world: "World"
) -> None:
    read = commands.parse("stop", arriving, "fallback")
    assert isinstance(read, Unreadable)
    assert words in read.reason
    assert len(read.reason) <= commands.MAX_REASON
    state = world.state.obeying(read, world.now)
    refusal = state.receipts.kept["fallback"].refusal()
    assert isinstance(refusal, refusals.MessageNotUnderstood)
    assert refusal.details == {"reason": read.reason}
    assert state.pipeline == world.p


@pytest.mark.parametrize(
    "arguments", [{"schedule": "x" * 65}, {"due_at": "0001-01-01T00:00:00+14:00"}], ids=["name", "time"]
)
def test_a_schedule_is_as_short_and_its_time_as_real_as_what_is_remembered(arguments: dict[str, str]) -> None:
    assert isinstance(commands.parse("scheduled", [{"arguments": arguments}], "fallback"), Unreadable)


@pytest.mark.parametrize("bad", ["", "x" * 65, "\ud800", 5, None])
def test_an_unusable_request_id_is_replaced(bad: Any) -> None:
    assert commands.parse("stop", [{"request_id": bad}], "fallback").request_id == "fallback"
    assert commands.parse("stop", [{"request_id": "x" * 64}], "fallback").request_id == "x" * 64


def test_a_message_is_read_as_it_was_written() -> None:
    verb = commands.Start(initial=Initial.PAUSED, silent_bootstrap=True)
    written = commands.message("start", verb, request_id="r", actor="ann")
    read = commands.parse("start", [json.loads(json.dumps(written))], "fallback")
    assert read == Command(verb_name="start", verb=verb, request_id="r", actor="ann")


def test_requests_are_told_apart_by_verb_and_arguments() -> None:
    one = commands.parse("stop", [{"arguments": {"force": True}}], "a")
    same = commands.parse("stop", [{"arguments": {"force": True}, "actor": "bob"}], "b")
    others = [commands.parse(verb, [], "a") for verb in commands.VERBS]
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(commands.VERBS)


# Receipts


def fill(count: int, every: timedelta) -> tuple[Receipts, datetime]:
    """Give out receipts at a steady pace."""
    kept, at = Receipts(), START
    listed = {}
    for number in range(count):
        at = START + every * number
        listed[f"r{number}"] = Receipt(id=f"r{number}", at=at, fp="f")
    kept = kept.but(kept=listed)
    return kept.adding(Receipt(id="last", at=at, fp="f")), at


def test_young_receipts_stay_whatever_their_number() -> None:
    kept, _ = fill(3_000, timedelta(seconds=0.1))
    assert len(kept.kept) == 3_001


def test_the_newest_stay_however_old() -> None:
    kept, _ = fill(3_000, timedelta(hours=1))
    assert next(iter(kept.kept)) == f"r{3_000 - receipts.KEPT_AT_LEAST + 1}"
    assert len(kept.kept) == receipts.KEPT_AT_LEAST


def test_what_is_neither_young_nor_new_goes() -> None:
    kept, at = fill(3_000, timedelta(seconds=0.3))
    oldest = next(iter(kept.kept.values()))
    assert at - receipts.KEPT_FOR < oldest.at <= at - receipts.KEPT_FOR + timedelta(seconds=0.3)
    assert len(kept.kept) > receipts.KEPT_AT_LEAST


def test_too_many_at_once_are_refused_until_there_is_room(world: "World") -> None:
    full, at = fill(receipts.KEPT_AT_MOST - 1, timedelta(milliseconds=1))
    assert len(full.kept) == receipts.KEPT_AT_MOST
    state = world.state.but(receipts=full)
    message = commands.parse("start", [{"request_id": "new"}], "x")
    refused = state.obeying(message, at)
    assert refused == state.but(turned_away=("new",))
    other = refused.obeying(commands.parse("start", [{"request_id": "other"}], "x"), at + receipts.KEPT_FOR)
    told = other.answers(Ask(receipts=("new", "other")))
    assert told["turned_away"] == ["new"]
    assert [receipt["id"] for receipt in told["receipts"]] == ["other"]
    with pytest.raises(refusals.Overloaded):
        state.editing(world_edit("new edit"), at)
    assert state.obeying(commands.parse("start", [{"request_id": "r5"}], "x"), at) == state
    later = at + receipts.KEPT_FOR
    accepted = refused.obeying(message, later)
    assert accepted.receipts.kept["new"].code is None
    assert accepted.pipeline.start_wanted
    assert len(accepted.receipts.kept) <= receipts.KEPT_AT_MOST


def world_edit(request_id: str, description: str = "d") -> Edit:
    """Make an edit of the description."""
    return Edit(request_id=request_id, actor="ann", platform_version="1", description=description)


def test_an_edit_has_one_effect(world: "World") -> None:
    edited = world.state.editing(world_edit("e", "one"), world.now)
    later = edited.editing(world_edit("f", "two"), world.now)
    assert later.editing(world_edit("e", "one"), world.now) == later
    with pytest.raises(refusals.IdempotencyKeyReused) as refused:
        later.editing(world_edit("e", "three"), world.now)
    assert refused.value.details == {"request_id": "e"}


def test_a_receipt_tells_how_it_was_decided(world: "World") -> None:
    assert world.send("pause", request_id="a") == "PipelineInteractionNotDeployed"
    assert world.send("start", request_id="b") is None
    refused, accepted = (world.state.receipts.kept[key] for key in ("a", "b"))
    refusal = refused.refusal()
    assert isinstance(refusal, errors.PipelineInteractionNotDeployed)
    assert refusal.details == {"pipeline_name": "p", "status": "Stopped", "desired_status": "Stopped"}
    assert (accepted.refusal(), accepted.info) == (None, "Pipeline is starting")


# Ids

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(at=TIMES, seed=ANY_TEXT)
@settings(deadline=None, derandomize=True)
def test_an_id_is_a_version_7_uuid_of_its_time(at: datetime, seed: str) -> None:
    made = uuid.UUID(ids.uuid7(at, seed))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert str(made) == ids.uuid7(at, seed) != ids.uuid7(at, seed + "x")
    exact = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert made.int >> 80 == exact


@given(one=TIMES, other=TIMES)
@settings(deadline=None, derandomize=True)
def test_ids_are_ordered_by_time(one: datetime, other: datetime) -> None:
    if abs(other - one) >= timedelta(milliseconds=1):
        assert (ids.uuid7(one, "a") < ids.uuid7(other, "b")) is (one < other)

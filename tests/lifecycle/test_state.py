"""The state as it travels: encoded, decoded, within its budget, and shown in the memo (I10)."""

import json
import random
import string
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.lifecycle import receipts
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.journal import SYSTEM
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.state import MEMO_BYTES, MEMO_RECEIPTS, Ask, State, inherited
from sluicegate.lifecycle.values import Packed, rfc3339

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

BUDGET = 1_572_864
"""1.5 MiB: what a run may be given to begin with."""


def travelled(state: State) -> State:
    """Encode, put on the wire, decode."""
    return State.decoded(json.loads(json.dumps(state.encoded())))


def size(state: State) -> int:
    """Bytes on the wire."""
    return len(json.dumps(state.encoded(), separators=(",", ":")).encode())


def lived(world: "World") -> State:
    """A state with some past in every part of it."""
    world.edit(tags=("a", "b"))
    world.cooperate()
    world.send("start", initial="Paused", bootstrap_policy="allow")
    world.cooperate()
    world.send("pause")
    world.send("clear")
    world.turn()
    world.fail(next(action for action in world.in_flight if action.effect == "watch"))
    return world.state


def test_a_state_travels_unchanged(world: "World") -> None:
    assert travelled(world.state) == world.state
    state = lived(world)
    assert state.pipeline.retries
    assert travelled(state) == state
    assert travelled(state).encoded() == state.encoded()
    assert list(travelled(state).receipts.kept) == list(state.receipts.kept)


def test_keys_of_a_newer_release_are_kept(world: "World") -> None:
    raw = lived(world).encoded()
    raw["schema"] = 9
    raw["new"] = {"deep": [1]}
    raw["pipeline"]["new"] = "p"
    raw["pipeline"]["bootstrap"]["new"] = "b"
    for key, part in (("journal", "events"), ("receipts", "kept")):
        unpacked = Packed(zlib64=raw[key]).json_value
        unpacked["new"] = key
        for item in unpacked[part] if part == "events" else unpacked[part].values():
            item["new"] = part
        raw[key] = Packed.of_json(unpacked).zlib64
    state = State.decoded(raw).advanced(datetime(2030, 1, 1, tzinfo=UTC))
    again = state.encoded()
    assert again["new"] == {"deep": [1]}
    assert (again["pipeline"]["new"], again["pipeline"]["bootstrap"]["new"]) == ("p", "b")
    for key, part in (("journal", "events"), ("receipts", "kept")):
        unpacked = Packed(zlib64=again[key]).json_value
        items = unpacked[part] if part == "events" else unpacked[part].values()
        assert unpacked["new"] == key
        assert {item["new"] for item in items} == {part}


def test_the_largest_state_is_within_its_budget(world: "World", make_texts: Any) -> None:
    dice = random.Random(1)
    text = "".join(dice.choices(string.printable, k=1 << 20))
    world.edit(texts=make_texts(text))
    state, at = world.state, world.now
    for number in range(720):
        at += timedelta(seconds=dice.random())
        state = state.noting([state.pipeline.but(deployment_error=None)], at, SYSTEM, event=True)
        assert len(state.journal.events) <= 720, number
    kept = {}
    for _ in range(receipts.KEPT_AT_MOST):
        at += timedelta(seconds=dice.random() / 10)
        request_id = f"{dice.getrandbits(128):032x}"
        fp = f"{dice.getrandbits(48):012x}"
        kept[request_id] = Receipt(id=request_id, at=at, fp=fp, info="Pipeline is starting")
    state = state.but(receipts=state.receipts.but(kept=kept))
    assert size(state) <= BUDGET
    assert travelled(state) == state


def test_a_usual_state_is_small(world: "World") -> None:
    assert size(lived(world)) < 10_000


# The memo


def unpacked(memo: dict[str, Any]) -> Any:
    """Read what a memo says."""
    return Packed(zlib64=memo["packed"]).json_value


def test_the_memo_says_what_a_query_would(world: "World") -> None:
    state = lived(world)
    memo = state.projection()
    assert memo.keys() == {"id", "revision", "packed"}
    shown = unpacked(memo)
    listed = [receipt["id"] for receipt in shown["receipts"]]
    assert shown == state.answers(Ask(receipts=tuple(listed)))
    assert shown["revision"] == memo["revision"] == state.revision
    assert shown["location"] == "127.0.0.1:7000"


def test_the_memo_has_the_newest_receipts(world: "World") -> None:
    for number in range(30):
        world.send("dismiss_error", request_id=f"r{number}")
    listed = [receipt["id"] for receipt in unpacked(world.state.projection())["receipts"]]
    assert listed == [f"r{number}" for number in range(30 - MEMO_RECEIPTS, 30)]


@pytest.mark.parametrize("length", [0, 1_500, 2_500, 4_000, 100_000])
def test_the_memo_is_small_or_says_that_it_is_not(length: int, world: "World") -> None:
    dice = random.Random(length)
    for number in range(20):
        world.send("dismiss_error", request_id=f"{number}-{dice.getrandbits(200)}")
    noise = "".join(dice.choices(string.printable, k=length))
    error = Failure(message=noise, error_code="RunnerCheckError")
    state = world.state.but(pipeline=world.p.but(deployment_error=error))
    memo = state.projection()
    if memo.get("overflow"):
        assert memo == {"id": world.p.id, "revision": state.revision, "overflow": True}
        assert length > 2_000
    else:
        assert len(memo["packed"]) <= MEMO_BYTES
        assert length < 4_000
        assert unpacked(memo)["status"]["deployment_error"]["message"] == noise


def test_a_revision_for_every_change_and_only_then(world: "World") -> None:
    world.cooperate()
    before = world.state.revision
    world.send("pause")
    assert world.state.revision == before
    world.edit(description="d")
    assert world.state.revision == before + 1
    world.edit(description="d")
    assert world.state.revision == before + 1
    world.send("start")
    assert world.state.revision == before + 2
    assert world.state.descriptor()["revision"] == before + 2
    assert Packed(zlib64=world.state.descriptor()["all"]).json_value["description"] == "d"


def test_the_query_answers_for_the_ids_it_is_asked_about(world: "World") -> None:
    world.send("start", request_id="a")
    world.send("stop", request_id="b")
    listed = world.state.answers(Ask(receipts=("b", "unknown")))["receipts"]
    assert [receipt["id"] for receipt in listed] == ["b"]
    assert world.state.answers(Ask())["receipts"] == []


def test_times_are_shown_in_utc() -> None:
    at = datetime.fromisoformat("2025-01-01T14:00:00.5+02:00")
    assert rfc3339(at) == "2025-01-01T12:00:00.500000Z"


@pytest.mark.parametrize(
    "given", [[], [None], ["x"], [{}], [{"schema": "?"}], [{"journal": "%", "receipts": 1}], [{}, {}]]
)
def test_what_is_no_heritage_is_nothing(given: list[Any]) -> None:
    assert inherited(given) is None

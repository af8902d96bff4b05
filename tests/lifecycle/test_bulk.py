"""The rules of bulk operations: the limit, cancelling, what counts as arrived, and that the largest fits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.lifecycle.bulk import MAX_MESSAGE, MAX_PIPELINES, Bulk, Page, Result, judged
from sluicegate.lifecycle.ids import uuid7
from sluicegate.lifecycle.state import MAX_ENCODED

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.lists(st.tuples(st.sampled_from(["hand", "tell", "settle", "cancel"]), st.integers(0, 99)))


def make(many: int, at_once: int = 3, **about: Any) -> Bulk:
    """An operation on so many pipelines."""
    targets = [(f"p{number}", uuid7(NOW, str(number))) for number in range(many)]
    given = {"verb": "stop", "tag": "t", "arguments": {}, "actor": "me", "id": "i", "tenant_id": "t"} | about
    return Bulk.new(NOW, targets, at_once=at_once, **given)


def step(bulk: Bulk, what: str, which: int) -> Bulk:
    """Something that happens, to one of the pipelines that it can happen to."""
    if what == "hand":
        return bulk.handing_out(NOW)
    if what == "cancel":
        return bulk.cancelling(NOW + timedelta(seconds=which))
    if not bulk.working:
        return bulk
    name = bulk.working[which % len(bulk.working)]
    return bulk.telling(name) if what == "tell" else bulk.settling(name, Result(outcome="done"), NOW)


@given(st.integers(0, 12), st.integers(1, 5), STEPS)
def test_whatever_happens_the_limit_holds_and_all_come_to_an_end(
    many: int, at_once: int, steps: list[tuple[str, int]]
) -> None:
    bulk = make(many, at_once)
    ends: dict[str, str] = {}
    for what, which in steps:
        bulk = step(bulk, what, which)
        assert len(bulk.working) <= at_once
        now = {name: entry.result.outcome for name, entry in bulk.entries.items()}
        assert {name: now[name] for name in ends} == ends
        ends = {name: outcome for name, outcome in now.items() if outcome in ("done", "dropped")}
        assert (bulk.finished_at is not None) == (len(ends) == many)
        assert Bulk.decoded(bulk.encoded()) == bulk
    while bulk.finished_at is None:
        bulk = step(bulk.handing_out(NOW), "settle", 0)
    assert bulk.state == ("cancelled" if bulk.cancelled_at else "finished")
    assert sum(bulk.shown(Page())["counts"].values()) == many


def test_the_largest_operation_fits_into_a_message() -> None:
    names = [(str(number).rjust(63, "n"), uuid7(NOW, str(number))) for number in range(MAX_PIPELINES)]
    bulk = make(0).but(entries=Bulk.new(NOW, names, **_about()).entries, finished_at=None)
    for name in bulk.entries:
        result = Result(outcome="failed", status="Stopped", error_code="E", message=name[:5] * 60)
        bulk.entries[name] = bulk.entries[name].but(result=result, since=NOW)
    assert max(len(entry.result.message or "") for entry in bulk.entries.values()) == MAX_MESSAGE
    assert len(json.dumps(bulk.encoded())) < MAX_ENCODED


def _about() -> dict[str, Any]:
    return {
        "verb": "stop",
        "tag": "t",
        "at_once": 1,
        "arguments": {},
        "actor": "me",
        "id": "i",
        "tenant_id": "t",
    }


def test_a_message_names_the_very_pipeline() -> None:
    bulk = make(1, verb="start", arguments={"initial": "Paused"})
    message = bulk.message("p0")
    assert message["pipeline_id"] == bulk.entries["p0"].pipeline_id
    assert (message["request_id"], message["actor"]) == ("bulk-i", "me")
    assert message["arguments"]["initial"] == "Paused"


ERROR = {"error_code": "RunnerProvisionError", "message": "no " * 200}


@pytest.mark.parametrize(
    ("verb", "status", "desired", "at_rest", "error", "outcome"),
    [
        ("stop", "Stopped", "Stopped", True, None, "done"),
        ("stop", "Stopped", "Stopped", False, None, "done"),  # it compiles
        ("stop", "Running", "Suspended", False, None, None),
        ("stop", "Stopping", "Stopped", False, None, None),
        ("stop", "Stopped", "Running", False, None, None),  # started again before anybody looked
        ("start", "Running", "Running", False, None, "done"),
        ("start", "Paused", "Paused", False, None, "done"),
        ("start", "Standby", "Standby", False, None, "done"),
        ("start", "AwaitingApproval", "Running", False, None, "done"),
        ("start", "Stopped", "Running", False, None, None),  # waits for the compiler
        ("start", "Initializing", "Running", False, None, None),
        ("start", "Unavailable", "Running", False, None, None),
        ("start", "Stopping", "Stopped", False, ERROR, None),
        ("start", "Stopped", "Stopped", False, ERROR, None),  # it will be restarted
        ("start", "Stopped", "Stopped", True, ERROR, "failed"),
        ("start", "Stopped", "Stopped", True, None, "failed"),
    ],
)
def test_what_counts_as_arrived(
    verb: Any, status: str, desired: str, at_rest: bool, error: Any, outcome: str | None
) -> None:
    seen = {
        "deployment_status": status,
        "deployment_desired_status": desired,
        "deployment_error": error,
    }
    result = judged(verb, {"status": seen, "at_rest": at_rest, "to_be_stopped": True})
    assert (result and result.outcome) == outcome
    if result and error:
        assert (result.error_code, len(result.message or "")) == (ERROR["error_code"], MAX_MESSAGE)


@pytest.mark.parametrize("status", ["Stopped", "Provisioning", "Running"])
def test_a_stop_that_was_overtaken_by_a_start_has_failed(status: str) -> None:
    seen = {"deployment_status": status, "deployment_desired_status": "Running", "deployment_error": None}
    result = judged("stop", {"status": seen, "at_rest": False, "to_be_stopped": False})
    assert result == Result(outcome="failed", status=status, message="It was started again meanwhile.")

"""Each checker is silent about a clean run and finds what is planted into it."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import judge
from tests.chaos.history import ACCEPTED
from tests.chaos.invariants import (
    alone,
    apart,
    decided,
    kept,
    removed,
    replayed,
    shown,
    stopped,
    undisturbed,
)
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording, Run
from tests.workflows.test_replay import HISTORIES

P, Q, BYSTANDER, FOREIGN = "id-p", "id-q", "id-by", "id-foreign"
OFFSET = 1_700_000_000.0
Lines = dict[str, list[dict[str, Any]]]


class Recorded:
    """What a clean run of two pipelines and a bystander would have left, to be spoiled."""

    def __init__(self) -> None:
        """Record it: p is started at 10, stopped at 20, started at 40, and stopped for good at 60."""
        self.run = Run(
            seed=1,
            seconds=100,
            offset=OFFSET,
            began=5,
            healed=50,
            ended=100,
            created={P: "p", Q: "q", BYSTANDER: "by"},
            deleted=[Q],
            bystanders=[BYSTANDER],
            others={FOREIGN: "by"},
            events={P: [event(9, "Stopped"), event(10.5, "Provisioning"), event(21, "Stopped")]},
            settled=[{"name": "p", "id": P, "status": "Running", "live": 1}],
            stops=[stop("p", P, 60, 61), stop("by", BYSTANDER, 60, 61)],
            texts={"p": dict(decided.EDITED), "by": {"description": "", "program_code": "another"}},
            rows={"rows-0": [1, 2, 3]},
        )
        self.lines: Lines = {
            "history": [
                command("create", 8, 9),
                command("start", 10, 11),
                command("stop", 20, 20.5, force=True),
                command("start", 40, 41),
            ],
            "samples": [
                sample(0, by=1),
                sample(11, by=1, p=2),
                sample(20.8, by=1),
                sample(41, by=1, p=3),
                sample(60.5),
            ],
            "looks": [look("Running", since=11, at=15), look("Stopped", since=21, at=30)],
            "rows": [
                {"name": "rows-0", "rows": [1, 2], "taken": True},
                {"name": "rows-0", "rows": [3], "taken": False},
            ],
            "glimpses": [
                glimpse("/v0/pipelines", 200, json.dumps([{"id": FOREIGN, "name": "by"}])),
                glimpse("/v0/pipelines/p", 404, "unknown"),
            ],
        }

    def written(self, folder: Path) -> Recording:
        """Write it down."""
        recording = Recording(folder)
        recording.finish(self.run)
        for kind, lines in self.lines.items():
            recording.write(kind, lines)
        return recording


def event(at: float, status: str) -> dict[str, Any]:
    """An event of a pipeline that is wanted to be what it is."""
    return {
        "recorded_at": datetime.fromtimestamp(at + OFFSET, UTC).isoformat(),
        "deployment_resources_status": status,
        "deployment_resources_desired_status": "Stopped" if status == "Stopped" else "Provisioned",
    }


def stop(name: str, pipeline: str, asked: float, reached: float | None) -> dict[str, Any]:
    """A forced stop after the faults."""
    return {"name": name, "pipeline": pipeline, "asked": asked, "stopped": reached, "shown": "Stopped"}


def command(verb: str, began: float, ended: float, **arguments: Any) -> dict[str, Any]:
    """An accepted command on p."""
    return {
        "pipeline": "p",
        "verb": verb,
        "arguments": arguments,
        "request_id": f"{verb}@{began}",
        "began": began,
        "ended": ended,
        "outcome": ACCEPTED,
    }


def sample(at: float, *, held: bool = True, **live: int | list[int]) -> dict[str, Any]:
    """A look at processes: those of p and of the bystander, by pid."""
    ids = {"by": BYSTANDER, "p": P, "q": Q}
    found = {
        ids[name]: [[pid, 1, 1, held] for pid in (pids if isinstance(pids, list) else [pids])]
        for name, pids in live.items()
    }
    return {"at": at, "live": found}


def look(status: str, *, since: float, at: float, reason: str | None = None) -> dict[str, Any]:
    """A look at the status of p."""
    return {
        "id": P,
        "name": "p",
        "created_at": datetime.fromtimestamp(9 + OFFSET, UTC).isoformat(),
        "began": at - 0.1,
        "ended": at,
        "deployment_status": status,
        "deployment_status_since": datetime.fromtimestamp(since + OFFSET, UTC).isoformat(),
        "deployment_runtime_status_details": {"reason": reason} if reason else None,
    }


def glimpse(path: str, status: int, body: str, method: str = "GET") -> dict[str, Any]:
    """What the second tenant was told."""
    return {"method": method, "path": path, "status": status, "body": body}


Check = Callable[[Recording], Finding]
Spoil = Callable[[Recorded], object]


def appended(kind: str, *lines: dict[str, Any]) -> Spoil:
    """Add to a list, in the order of time where that matters."""

    def spoil(clean: Recorded) -> None:
        clean.lines[kind] = sorted([*clean.lines[kind], *lines], key=lambda line: line.get("at", 0))

    return spoil


def known(**what: Any) -> Spoil:
    """Replace what is known of the run."""
    return lambda clean: vars(clean.run).update(what)


def undone(clean: Recorded) -> None:
    """Edit p twice, with the text of the first in the end."""
    edits = [command("edit", 12, 13, description="old"), command("edit", 14, 15, description="new")]
    clean.lines["history"] += edits
    clean.run.texts["p"]["description"] = "old"


PLANTED: dict[str, tuple[Check, Spoil]] = {
    "I1: a start that was accepted is lost": (
        decided.check,
        appended("history", command("delete", 42, 43)),
    ),
    "I1: an edit that was accepted is not there": (
        decided.check,
        appended("history", command("edit", 12, 13, description="new")),
    ),
    "I1: a later edit is undone by an earlier one": (
        decided.check,
        undone,
    ),
    "I1: a pipeline is created twice": (decided.check, appended("history", command("create", 42, 43))),
    "I2: two processes at once": (alone.check, appended("samples", sample(45, by=1, p=[3, 4]))),
    "I2: a process without its lock": (
        alone.check,
        appended("samples", sample(45, held=False, p=3), sample(47, held=False, p=3)),
    ),
    "I3: a process is another": (undisturbed.check, appended("samples", sample(45, by=9, p=3))),
    "I3: a process is gone before its stop": (
        undisturbed.check,
        lambda clean: clean.lines.update(samples=[sample(0, by=1), sample(30)]),
    ),
    "I3: a process is not there": (undisturbed.check, lambda clean: clean.lines.update(samples=[])),
    "I4: an event leads away from a stop": (
        stopped.check_for_good,
        lambda clean: clean.run.events[P].append(event(30, "Provisioning")),
    ),
    "I4: a process comes back after a stop": (
        stopped.check_for_good,
        appended("samples", sample(30, by=1, p=7), sample(31, by=1)),
    ),
    "I4: a process outlives its pipeline's stop": (
        stopped.check_for_good,
        lambda clean: clean.lines["samples"].pop(),
    ),
    "I5: a forced stop has no end": (
        stopped.check_in_time,
        known(stops=[stop("p", P, 60, None)]),
    ),
    "I5: a forced stop takes too long": (
        stopped.check_in_time,
        known(stops=[stop("p", P, 60, 61 + stopped.BOUND)]),
    ),
    "I6: a folder remains": (removed.check, known(remains={Q: ["/home/pipelines/q"]})),
    "I6: a pipeline cannot be deleted": (removed.check, known(kept=[P])),
    "I6: a process remains": (removed.check, appended("samples", sample(70, q=8))),
    "I7: Running without a process": (
        shown.check,
        appended("looks", look("Running", since=11, at=61 + shown.SEEN_WITHIN)),
    ),
    "I7: Running since before there was a process": (
        shown.check,
        appended("looks", look("Running", since=-70, at=15)),
    ),
    "I7: Stopped while a process lives": (shown.check, appended("looks", look("Stopped", since=15, at=16))),
    "I7: a status from the future": (shown.check, appended("looks", look("Stopped", since=35, at=30))),
    "I7: Unavailable without a reason": (
        shown.check,
        appended("looks", look("Unavailable", since=15, at=16)),
    ),
    "I7: a status that stays wrong": (
        shown.check,
        known(settled=[{"name": "p", "id": P, "status": "Running", "live": 0}]),
    ),
    "I8: an acknowledged row is lost": (kept.check, known(rows={"rows-0": [1, 3]})),
    "I8: a row that nobody sent": (kept.check, known(rows={"rows-0": [1, 2, 4]})),
    "I8: a row is there twice": (kept.check, known(rows={"rows-0": [1, 1, 2]})),
    "I8: rows cannot be read": (kept.check, known(rows={})),
    "I9: a list of another tenant's": (
        apart.check,
        appended("glimpses", glimpse("/v0/pipelines", 200, json.dumps([{"id": "third", "name": "p"}]))),
    ),
    "I9: an id of another tenant's": (
        apart.check,
        appended("glimpses", glimpse("/v0/pipelines/by", 200, json.dumps({"id": BYSTANDER}))),
    ),
    "I9: a refusal that tells of another tenant's": (
        apart.check,
        appended("glimpses", glimpse("/v0/pipelines/p/stop", 400, "stopping", "POST")),
    ),
    "I9: the first is shown the second's": (
        apart.check,
        lambda clean: clean.lines["looks"][0].update(id=FOREIGN),
    ),
}


@pytest.mark.parametrize("check", judge.CHECKS, ids=lambda check: f"{check.__module__}.{check.__name__}")
def test_a_clean_run_is_found_clean(tmp_path: Path, check: Check) -> None:
    found = check(Recorded().written(tmp_path))
    assert found.violations == ()
    assert found.cases > 0


@pytest.mark.parametrize(("check", "spoil"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found(tmp_path: Path, check: Check, spoil: Spoil) -> None:
    spoiled = Recorded()
    spoil(spoiled)
    assert check(spoiled.written(tmp_path)).violations


def test_each_invariant_has_a_checker_and_something_planted() -> None:
    tested = {check for check, _ in PLANTED.values()}
    assert tested == set(judge.CHECKS)


def test_an_unavailable_pipeline_with_a_reason_is_fine(tmp_path: Path) -> None:
    recorded = Recorded()
    recorded.lines["looks"].append(look("Unavailable", since=15, at=16, reason="It does not answer."))
    assert shown.check(recorded.written(tmp_path)).violations == ()


def test_a_pipeline_that_was_created_by_a_front_end_whose_clock_is_ahead_is_fine(tmp_path: Path) -> None:
    recorded = Recorded()
    created = look("Stopped", since=15, at=9.5)
    recorded.lines["looks"].append(created | {"created_at": created["deployment_status_since"]})
    assert shown.check(recorded.written(tmp_path)).violations == ()


def test_a_stop_beside_a_start_says_nothing(tmp_path: Path) -> None:
    recorded = Recorded()
    recorded.lines["history"].append(command("start", 19, 22))
    recorded.lines["samples"].insert(3, sample(30, by=1, p=7))
    assert stopped.check_for_good(recorded.written(tmp_path)).violations == ()


def recorded_histories(folder: Path, spoil: Callable[[str], str], silent: tuple[str, ...] = ()) -> Recording:
    """A run that has left one history of the recorded ones, spoiled."""
    [path] = [path for path in HISTORIES if path.stem == "continued-before"]
    (folder / "histories").mkdir()
    (folder / "histories" / "1.json").write_text(spoil(path.read_text()))
    recorded = Recorded()
    recorded.run.silent = list(silent)
    return recorded.written(folder)


def test_a_history_that_replays_is_found_clean(tmp_path: Path) -> None:
    found = asyncio.run(replayed.check(recorded_histories(tmp_path, lambda text: text)))
    assert (found.violations, found.cases) == ((), 1)


def test_a_workflow_that_fails_its_tasks_is_found(tmp_path: Path) -> None:
    recorded = recorded_histories(tmp_path, lambda text: text, silent=("pipeline/p",))
    assert asyncio.run(replayed.check(recorded)).violations == ("pipeline/p fails its tasks",)


def test_a_history_of_other_code_is_found(tmp_path: Path) -> None:
    def another(text: str) -> str:
        return text.replace('"name": "compile"', '"name": "validate"')

    assert asyncio.run(replayed.check(recorded_histories(tmp_path, another))).violations


def test_a_state_that_does_not_decode_is_found(tmp_path: Path) -> None:
    def without_receipts(text: str) -> str:
        recorded = json.loads(text)
        renewed = recorded["history"]["events"][-1]["workflowExecutionContinuedAsNewEventAttributes"]
        [payload] = renewed["input"]["payloads"]
        state = json.loads(base64.b64decode(payload["data"]))
        del state["receipts"]
        payload["data"] = base64.b64encode(json.dumps(state).encode()).decode()
        return json.dumps(recorded)

    found = asyncio.run(replayed.check(recorded_histories(tmp_path, without_receipts)))
    assert any("cannot be read" in violation for violation in found.violations)

"""I7: the status shown was true when its `since` says; what cannot be known is Unavailable, with a reason."""

from collections.abc import Iterator
from typing import Any

from tests.chaos.invariants import timeline
from tests.chaos.invariants.finding import Finding
from tests.chaos.invariants.timeline import Life
from tests.chaos.recording import Recording, Run

SLACK = 0.5
SEEN_WITHIN = 120.0
"""Seconds for which a status may outlive its process: that a watch is gone shows after ninety at the latest,
and whoever takes its place, and Temporal, may stand still for some twelve, more than once."""
STEADY = ("Running", "Paused", "Standby")


def check(recording: Recording) -> Finding:
    """Of each look at a status: its `since` is not in the future; Stopped means that no process lived then;
    Running and Paused mean that one had lived shortly before then, and shortly before the look; Unavailable
    has a reason. And when all was quiet, each pipeline showed what its processes were.

    A pipeline that is as it was created is dated by the front end that created it, whose clock we turn."""
    run = recording.run()
    lives: dict[str, list[Life]] = {}
    for life in timeline.lives(recording.read("samples")):
        lives.setdefault(life.pipeline, []).append(life)
    cases, violations = 0, []
    for look in recording.read("looks"):
        if look["id"] in run.created:
            cases += 1
            violations += list(_untrue(run, look, lives.get(look["id"], [])))
    for settled in run.settled:
        cases += 1
        if not agrees(settled["status"], settled["live"]):
            violations.append(f"{settled['name']}: shows {settled['status']}, and has {settled['live']}")
    return Finding("I7", "statuses shown", cases, tuple(violations))


def agrees(status: str, live: int) -> bool:
    """Whether a pipeline at rest shows what its processes are."""
    return live == 0 if status == "Stopped" else status in STEADY and live == 1


def _untrue(run: Run, look: dict[str, Any], lives: list[Life]) -> Iterator[str]:
    status, since = look["deployment_status"], timeline.moment(run, look["deployment_status_since"])
    shown = f"{look['name']}: {status} since {since:.2f}, shown at {look['ended']:.2f}"
    untouched = look["deployment_status_since"] == look["created_at"]
    if since > look["ended"] + SLACK and not untouched:
        yield f"{shown}, which is before"
    if status == "Unavailable" and not (look["deployment_runtime_status_details"] or {}).get("reason"):
        yield f"{shown} without a reason"
    lived = any(life.seen < since < life.gone - SLACK for life in lives)
    if status == "Stopped" and lived and not untouched:
        yield f"{shown}, while a process lived"
    if status in STEADY:
        for end in (since + SLACK, look["ended"]):
            if not any(life.within(end - SEEN_WITHIN, end) for life in lives):
                yield f"{shown}, without any process for {SEEN_WITHIN:.0f} s before {end:.2f}"

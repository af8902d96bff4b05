"""I4: a stop accepted is a stop. I5: a forced stop reaches Stopped in bounded time."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tests.chaos import history
from tests.chaos.history import ACCEPTED, Operation
from tests.chaos.invariants import timeline
from tests.chaos.invariants.finding import Finding
from tests.chaos.invariants.timeline import Life
from tests.chaos.recording import Recording, Run

SLACK = 0.5
"""Seconds: an event is written in a workflow task that is a few milliseconds old, samples come in turn."""
BOUND = 120.0
"""Seconds for a forced stop when nothing is broken any more, on a machine that may be very busy."""


def check_for_good(recording: Recording) -> Finding:
    """From an accepted stop until the next start was called, no event of the pipeline leads away from
    Stopped, and once it is Stopped no process of it lives. A stop beside which a start was under way is
    left out, since either may have come first; so are pipelines of which no events were kept."""
    run = recording.run()
    names = {name: pipeline for pipeline, name in run.created.items()}
    lives = timeline.lives(recording.read("samples"))
    operations = history.read(recording.path("history"))
    cases, violations = 0, []
    for stop in operations:
        if stop.verb != "stop" or stop.outcome != ACCEPTED or stop.pipeline not in names:
            continue
        until = _next_start(stop, operations)
        if until is None:
            continue
        cases += 1
        pipeline = names[stop.pipeline]
        quiet = (stop.end + SLACK, min(until, run.ended))
        violations += _events_that_start(run, pipeline, quiet)
        violations += _processes_when_stopped(run, pipeline, quiet, lives)
    for ended in run.stops:
        cases += ended["stopped"] is not None
        violations += _begun_after(ended, lives)
    return Finding("I4", "stops that nothing but a start undid", cases, tuple(violations))


def _next_start(stop: Operation, operations: Sequence[Operation]) -> float | None:
    """When the first start after a stop was called; None where one was under way beside it."""
    starts = [
        one
        for one in operations
        if one.pipeline == stop.pipeline and one.verb == "start" and one.outcome in (ACCEPTED, None)
    ]
    if any(start.began <= stop.end + SLACK and start.end >= stop.began for start in starts):
        return None
    return min((start.began for start in starts if start.began > stop.end), default=math.inf)


def _events_that_start(run: Run, pipeline: str, quiet: tuple[float, float]) -> list[str]:
    found, events = [], run.events.get(pipeline, [])
    for before, event in pairwise(events):
        away = _is_stopped(before) and event["deployment_resources_desired_status"] == "Provisioned"
        if away and quiet[0] < timeline.moment(run, event["recorded_at"]) < quiet[1]:
            found.append(f"{pipeline}: started by nobody after a stop at {quiet[0]:.2f}: {event}")
    return found


def _is_stopped(event: dict[str, Any]) -> bool:
    both = event["deployment_resources_status"], event["deployment_resources_desired_status"]
    return both == ("Stopped", "Stopped")


def _processes_when_stopped(
    run: Run, pipeline: str, quiet: tuple[float, float], lives: Sequence[Life]
) -> list[str]:
    reached = [
        timeline.moment(run, event["recorded_at"])
        for event in run.events.get(pipeline, [])
        if _is_stopped(event)
    ]
    since = min((at for at in reached if quiet[0] - SLACK < at < quiet[1]), default=None)
    if since is None or since + SLACK >= quiet[1]:
        return []
    return [
        f"{pipeline}: Stopped at {since:.2f}, and {life} lives"
        for life in lives
        if life.pipeline == pipeline and life.within(since + SLACK, quiet[1])
    ]


def _begun_after(ended: dict[str, Any], lives: Sequence[Life]) -> list[str]:
    if ended["stopped"] is None:
        return []
    return [
        f"{ended['pipeline']}: Stopped for good at {ended['stopped']:.2f}, and {life} lives"
        for life in lives
        if life.pipeline == ended["pipeline"] and life.gone > ended["stopped"] + SLACK
    ]


def check_in_time(recording: Recording) -> Finding:
    """Each forced stop after the faults has led to Stopped within the bound; its host answers, so it may not
    say that it does not."""
    run = recording.run()
    violations = [
        f"{stop['name']}: still {stop['shown']} {BOUND:.0f} s after a forced stop"
        for stop in run.stops
        if stop["stopped"] is None or stop["stopped"] - stop["asked"] > BOUND
    ]
    return Finding("I5", "forced stops after the faults", len(run.stops), tuple(violations))

"""The control plane is killed whole while two hundred pipelines run: how long until all are in hand again."""

import time
from typing import NamedTuple

from benchmarks.measure import AtMost, Figure
from benchmarks.plane import Plane, ProcessorTime, command, create, each, pipelines_of, reached, settled
from benchmarks.wire import Wire

PIPELINES = 200
ROUNDS = 3


def measure(plane: Plane) -> list[Figure]:
    """Kill and start again; then every pipeline must follow a pause, which only a watched process can."""
    names = [f"kept-{number:03}" for number in range(PIPELINES)]
    api = plane.wire()
    each(lambda name: create(api, name), names)
    settled(api, "program_status", "Success", set(names))
    each(lambda name: command(api, name, "start"), names)
    settled(api, "deployment_status", "Running", set(names))
    spending = ProcessorTime(plane)
    rounds = [_round(plane, names, spending) for _ in range(ROUNDS)]
    api = plane.wire()
    each(lambda name: command(api, name, "stop?force=true"), names)
    settled(api, "deployment_status", "Stopped", set(names))
    measure = f"killed whole with {PIPELINES} running, until all follow again"
    whole = [r.up + r.followed for r in rounds]
    return [
        Figure(measure, whole, aims=[AtMost(15, 100)], unit="s", note="no process was restarted"),
        Figure("a recovery, of it: until API and worker are ready", [r.up for r in rounds], unit="s"),
        Figure(
            "a recovery, of it: until all follow",
            [r.followed for r in rounds],
            "the same where nothing was killed",
            [r.followed_later for r in rounds],
            unit="s",
        ),
        *spending.figures("a recovery of one of them"),
    ]


class _Round(NamedTuple):
    """Seconds."""

    up: float
    followed: float
    followed_later: float


def _round(plane: Plane, names: list[str], spending: ProcessorTime) -> _Round:
    before = {process.pid for process in pipelines_of(plane.home)}
    plane.kill()
    began = time.perf_counter()
    plane.run()
    up = time.perf_counter()
    api = plane.wire()
    spending.begin()
    asked = time.perf_counter()
    _each_follows(api, names, "pause", "Paused")
    followed = time.perf_counter()
    spending.end(PIPELINES)
    if {process.pid for process in pipelines_of(plane.home)} != before:
        raise RuntimeError("a pipeline's process was restarted or lost")
    told = time.perf_counter()
    _each_follows(api, names, "resume", "Running")
    return _Round(up - began, followed - asked, time.perf_counter() - told)


def _each_follows(api: Wire, names: list[str], verb: str, status: str) -> None:
    each(lambda name: command(api, name, verb), names)
    reached(api, "deployment_status", status, names)

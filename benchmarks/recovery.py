"""The control plane is killed whole while two hundred pipelines run: how long until all are in hand again."""

import time

import httpx

from benchmarks.measure import AtMost, Figure
from benchmarks.plane import Plane, command, create, each, pipelines_of, settled

PIPELINES = 200
ROUNDS = 3


def measure(plane: Plane) -> list[Figure]:
    """Kill and start again; then every pipeline must follow a pause, which only a watched process can."""
    names = [f"kept-{number:03}" for number in range(PIPELINES)]
    with plane.api() as api:
        each(lambda name: create(api, name), names)
        settled(api, "program_status", "Success", set(names))
        each(lambda name: command(api, name, "start"), names)
        settled(api, "deployment_status", "Running", set(names))
    took = [_round(plane, names) for _ in range(ROUNDS)]
    with plane.api() as api:
        each(lambda name: command(api, name, "stop?force=true"), names)
        settled(api, "deployment_status", "Stopped", set(names))
    measure = f"killed whole with {PIPELINES} running, until all follow again"
    return [Figure(measure, took, aims=[AtMost(15, 100)], unit="s", note="no process was restarted")]


def _round(plane: Plane, names: list[str]) -> float:
    before = {process.pid for process in pipelines_of(plane.home)}
    plane.kill()
    began = time.perf_counter()
    plane.run()
    with plane.api() as api:
        _each_follows(api, names, "pause", "Paused")
        took = time.perf_counter() - began
        if {process.pid for process in pipelines_of(plane.home)} != before:
            raise RuntimeError("a pipeline's process was restarted or lost")
        _each_follows(api, names, "resume", "Running")
    return took


def _each_follows(api: httpx.Client, names: list[str], verb: str, status: str) -> None:
    each(lambda name: command(api, name, verb), names)
    settled(api, "deployment_status", status, set(names))

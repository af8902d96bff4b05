"""How long a forced stop takes, beside killing the same program by hand."""

import signal
import subprocess
import time

from benchmarks.measure import Figure, Over
from benchmarks.plane import Pipeline, Plane
from benchmarks.starting import engine_running

SAMPLES = 15


def measure(plane: Plane) -> list[Figure]:
    """Stop a running pipeline by force, in turn with killing a bare engine."""
    measured, bare = [], []
    pipeline = Pipeline(plane)
    for number in range(SAMPLES + 1):
        pipeline.post("start")
        pipeline.wait("deployment_status", "Running")
        started = time.perf_counter()
        pipeline.post("stop?force=true")
        pipeline.wait("deployment_status", "Stopped")
        stopped = time.perf_counter()
        with engine_running() as (engine, *_):
            floor = _killed(engine)
        if number:
            measured.append((stopped - started) * 1e3)
            bare.append(floor)
    pipeline.remove()
    return [Figure("forced stop until Stopped", measured, "SIGKILL until reaped", bare, [Over(150)])]


def _killed(engine: subprocess.Popen[bytes]) -> float:
    started = time.perf_counter()
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    return (time.perf_counter() - started) * 1e3

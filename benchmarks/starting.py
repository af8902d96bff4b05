"""How long a user waits: `POST /start` until Running, beside the engine's own cold start from a shell."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

import psutil

from benchmarks.anatomy import START, Call
from benchmarks.measure import AtMost, Figure, Times
from benchmarks.plane import (
    LOOK_EVERY,
    PROGRAM,
    READY_WITHIN,
    Pipeline,
    Plane,
    ProcessorTime,
    command,
    create,
    each,
    reached,
    settled,
)
from benchmarks.wire import Wire
from sluicegate import config
from sluicegate.protocol import PORT_FILE, STORAGE_FOLDER, EngineConfig
from sluicegate.settings import Settings

SAMPLES = 25
WARM = "sluicegate warm engine"
"""What a warm engine calls itself."""
TOLERANT = {"fault_tolerance": {"model": "exactly_once", "checkpoint_interval_secs": None}}
"""A configuration with which an answer comes after the commit; nothing else goes on in between."""
CROWD = 100
ROUNDS = 3


class Bare(NamedTuple):
    """An engine without a control plane."""

    process: subprocess.Popen[bytes]
    address: str
    token: str
    storage: Path


def measure_cold(plane: Plane) -> list[Figure]:
    """Start and stop a pipeline where no engine is kept ready, in turn with the bare engine."""
    measured, bare, parts = _starts(plane, "a cold start")
    whole = Figure("POST /start until Running", measured, "cold start of the engine", bare, [Times(1.3)])
    return [whole, *parts]


def measure_warm(plane: Plane) -> list[Figure]:
    """The same where engines are kept ready."""
    measured, bare, parts = _starts(plane, "a warm start", before=_until_warm)
    aims = [AtMost(150)]
    whole = Figure("POST /start until Running, warm", measured, "cold start of the engine", bare, aims)
    return [whole, *parts]


def measure_crowd(plane: Plane) -> list[Figure]:
    """Start a hundred pipelines at once, in turn with as many bare engines, as many at a time."""
    names = [f"many-{number:03}" for number in range(CROWD)]
    at_once = Settings().provisions_at_once
    measured, bare = [], []
    api, spending = plane.wire(), ProcessorTime(plane)
    each(lambda name: create(api, name), names)
    settled(api, "program_status", "Success", set(names))
    for _ in range(ROUNDS):
        spending.begin()
        began = time.perf_counter()
        each(lambda name: command(api, name, "start"), names, at_once=32)
        reached(api, "deployment_status", "Running", names)
        measured.append((time.perf_counter() - began) * 1e3)
        spending.end(CROWD)
        each(lambda name: command(api, name, "stop?force=true"), names)
        settled(api, "deployment_status", "Stopped", set(names))
        bare.append(_cold_starts(at_once))
    each(lambda name: command(api, name, "clear"), names)
    settled(api, "storage_status", "Cleared", set(names))
    each(lambda name: api.ask("DELETE", f"/v0/pipelines/{name}"), names)
    floor = f"{CROWD} cold starts, {at_once} at a time"
    whole = Figure(f"{CROWD} starts at once until all run", measured, floor, bare, [Times(1.3)])
    return [whole, *spending.figures("a start among a hundred")]


class _Starts(NamedTuple):
    took: list[float]
    bare: list[float]
    parts: list[Figure]


def _starts(plane: Plane, whole: str, before: Callable[[], None] = lambda: None) -> _Starts:
    """Start and stop a pipeline, in turn with the bare engine; give both in milliseconds, and the parts."""
    measured, bare, calls = [], [], []
    pipeline = Pipeline(plane)
    for number in range(SAMPLES + 1):
        before()
        asked, started = time.time(), time.perf_counter()
        pipeline.post("start")
        pipeline.wait("deployment_status", "Running")
        runs, seen = time.perf_counter(), time.time()
        pipeline.post("stop?force=true")
        pipeline.wait("deployment_status", "Stopped")
        if number:
            calls.append(Call(asked, seen))
            measured.append((runs - started) * 1e3)
            bare.append(_cold_start())
    parts = pipeline.anatomy(START, whole, calls)
    pipeline.remove()
    return _Starts(measured, bare, parts)


def _until_warm() -> None:
    """Wait until the host has its warm engines, as it has for users who do not start without a pause."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        lines = [process.info["cmdline"] or [""] for process in psutil.process_iter(["cmdline"])]
        if sum(line[0] == WARM for line in lines) >= Settings().warm_engines:
            return
        time.sleep(0.1)
    raise RuntimeError("there are no warm engines; the worker's log says why")


@cache
def _plan(program: str = PROGRAM) -> dict[str, Any]:
    request = json.dumps({"program_code": program})
    compiler = [sys.executable, "-m", "sluicegate.engine", "compile"]
    answer = subprocess.run(compiler, input=request, capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout)["plan"])


def _cold_start() -> float:
    """Milliseconds from the fork until the engine says that it runs."""
    _plan()
    started = time.perf_counter()
    with engine_running():
        return (time.perf_counter() - started) * 1e3


def _cold_starts(at_once: int) -> float:
    """Milliseconds until a hundred run, all of which stay; so many start at the same time."""
    _plan()
    engines: list[Any] = []

    def start(_: int) -> None:
        engine = engine_running()
        engine.__enter__()
        engines.append(engine)

    try:
        started = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(start, range(CROWD)))
        return (time.perf_counter() - started) * 1e3
    finally:
        for engine in engines:
            engine.__exit__(None, None, None)


@contextmanager
def engine_running(program: str = PROGRAM, configured: dict[str, Any] | None = None) -> Iterator[Bare]:
    """Run the bare engine on a program for the length of the block, from when it says that it runs."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        (home / STORAGE_FOLDER).mkdir()
        deployment_id, token = str(uuid4()), "floor"
        EngineConfig(
            name="pipeline-floor",
            given_name="floor",
            pipeline_id=str(uuid4()),
            deployment_id=deployment_id,
            generation=1,
            program_version=1,
            auth_token=token,
            storage_config={"path": str(home / STORAGE_FOLDER)},
            runtime_config=config.runtime_config(configured),
            plan=_plan(program),
        ).write(home / "config.json")
        words = ["--config-file", str(home / "config.json"), "--bind-address", "127.0.0.1"]
        words += ["--initial", "running", "--deployment-id", deployment_id, "--bootstrap-policy", "allow"]
        engine = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.engine", "run", *words], cwd=home, stdout=subprocess.DEVNULL
        )
        try:
            _until_running(home / PORT_FILE, token)
            yield Bare(
                engine, f"127.0.0.1:{(home / PORT_FILE).read_text().strip()}", token, home / STORAGE_FOLDER
            )
        finally:
            engine.kill()
            engine.wait()


def _until_running(port_file: Path, token: str) -> None:
    deadline = time.monotonic() + 60
    engine: Wire | None = None
    while time.monotonic() < deadline:
        if engine is None and port_file.exists():
            engine = Wire(f"127.0.0.1:{port_file.read_text().strip()}", Authorization=f"Bearer {token}")
        if engine is not None and engine.read("/status")["runtime_status"] == "Running":
            return
        time.sleep(LOOK_EVERY)
    raise RuntimeError("the engine did not start; run `make demo` to see why")

"""Many pipelines on one machine: what memory each takes, what stays fast, and how all of it grows."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.measure import AtMost, Figure, percentile
from benchmarks.plane import Plane, command, create, each, settled, statuses
from benchmarks.wire import Wire

SIZES = (10, 100, 1_000, 10_000)
SAMPLES = 40
KIB = 1024
DAY = 86_400


class Point(NamedTuple):
    """What was measured with so many stopped pipelines."""

    pipelines: int
    admission_ms: float
    list_ms: float
    memory_kib: float
    """Of worker and API together."""
    temporal_kib: float
    daily_seconds: float
    """Processor seconds of worker and API that each pipeline costs in a day, while nobody commands any."""


class Growth(NamedTuple):
    """Figures, and what they grow by."""

    figures: list[Figure]
    points: list[Point]


def measure(plane: Plane, largest: int = SIZES[-1]) -> Growth:
    """Create ever more stopped pipelines, then a tenth as many more, which run."""
    sizes, running = [size for size in SIZES if size <= largest], largest // 10
    points, names = [], [f"scale-{number:05}" for number in range(max(sizes))]
    more = [f"more-{number:04}" for number in range(running)]
    api = plane.wire()
    create(api, "first")
    settled(api, "program_status", "Success", {"first"})
    base = _memory(plane)
    made = 0
    for size in sizes:
        each(lambda name: create(api, name, ""), names[made:size])
        settled(api, "program_status", "Success", set(names[:size]))
        made = size
        points.append(_point(plane, api, size, names[:size]))
    stopped = points[-1].memory_kib
    figures = [
        Figure(
            f"memory of each of {made:,} stopped pipelines",
            [(stopped - base) / made],
            aims=[AtMost(100)],
            unit="KiB",
            note=f"worker and API; Temporal has {points[-1].temporal_kib / KIB:.0f} MiB",
        ),
        *_running(plane, api, more, stopped),
    ]
    each(lambda name: command(api, name, "stop?force=true"), more)
    settled(api, "deployment_status", "Stopped", set(more))
    return Growth(figures, points)


def _running(plane: Plane, api: Wire, names: list[str], before: float) -> list[Figure]:
    """Create and start a thousand while somebody looks at one of them all the time."""
    each(lambda name: create(api, name, ""), names)
    settled(api, "program_status", "Success", set(names))
    over = threading.Event()
    looks: list[float] = []

    def look() -> None:
        looking = plane.wire()
        while not over.is_set():
            started = time.perf_counter()
            looking.ask("GET", f"/v0/pipelines/{names[0]}?selector=status")
            looks.append((time.perf_counter() - started) * 1e3)
            time.sleep(0.05)

    beside = ThreadPoolExecutor(1)
    watching = beside.submit(look)
    began = time.perf_counter()
    try:
        each(lambda name: command(api, name, "start"), names)
        settled(api, "deployment_status", "Running", set(names))
        took = time.perf_counter() - began
        time.sleep(30)  # what a start brings about is over, and everybody is looked at as ever
    finally:
        over.set()
        beside.shutdown()
    watching.result()  # or why it looked no longer
    after, temporal = _memory(plane), plane.part("temporal").memory_info().rss / KIB
    return [
        Figure(f"{len(names):,} stubs started, all run", [took], unit="s"),
        Figure(
            f"memory of each of {len(names):,} running pipelines",
            [(after - before) / len(names)],
            aims=[AtMost(256)],
            unit="KiB",
            note=f"worker and API; Temporal has {temporal / KIB:.0f} MiB",
        ),
        Figure(f"GET status while {len(names):,} start and run", looks, aims=[AtMost(100, 99)], note="stubs"),
        Figure("processor time of worker and API, of one core", [100 * _load(plane)], unit="%"),
    ]


def _point(plane: Plane, api: Wire, size: int, names: list[str]) -> Point:
    admissions, lists = [], []
    for number in range(SAMPLES):
        started = time.perf_counter()
        command(api, names[number % size], "dismiss_error")
        admissions.append((time.perf_counter() - started) * 1e3)
    for _ in range(5):
        time.sleep(0.3)
        started = time.perf_counter()
        statuses(api)
        lists.append((time.perf_counter() - started) * 1e3)
    temporal = plane.part("temporal").memory_info().rss / KIB
    daily = _load(plane) * DAY / size
    return Point(size, statistics.median(admissions), percentile(lists, 50), _memory(plane), temporal, daily)


def _memory(plane: Plane) -> float:
    """KiB of worker and API."""
    return sum(plane.part(part).memory_info().rss for part in ("worker", "api")) / KIB


def _load(plane: Plane, seconds: float = 20.0) -> float:
    """The share of one core that worker and API take, on average over a while."""
    before = plane.spent_by("worker") + plane.spent_by("api")
    time.sleep(seconds)
    return (plane.spent_by("worker") + plane.spent_by("api") - before) / seconds

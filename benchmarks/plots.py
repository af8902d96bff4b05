"""Pictures of the figures, for `docs/performance/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.measure import Figure
from benchmarks.scale import Point
from benchmarks.stepping import Cost

mpl.use("Agg")


def latencies(figures: Sequence[Figure], path: Path) -> None:
    """Draw every sample of what has a floor in milliseconds, beside its floor, in multiples of its median."""
    shown = [figure for figure in figures if figure.floor and figure.unit == "ms"]
    if not shown:
        return
    _, axes = pyplot.subplots(figsize=(9, 0.7 * len(shown) + 1.5))
    for row, figure in enumerate(reversed(shown)):
        for samples, offset, color in ((figure.samples, 0.15, "C0"), (figure.floor_samples, -0.15, "C7")):
            multiples = [sample / figure.floor_median for sample in samples]
            axes.plot(multiples, [row + offset] * len(multiples), "|", color=color, alpha=0.4, markersize=9)
    axes.set_yticks(range(len(shown)), [figure.measure for figure in reversed(shown)])
    axes.set_xscale("log")
    axes.set_xlabel("times the median of the floor (grey)")
    _save(axes, path)


def growth(points: Sequence[Point], path: Path) -> None:
    """Draw admission, list, memory, and what a pipeline costs in a day, against the number of pipelines."""
    if not points:
        return
    sizes = [point.pipelines for point in points]
    _, axes = pyplot.subplots(1, 4, figsize=(16, 3.5))
    admission, lists, memory, daily = axes
    admission.plot(sizes, [point.admission_ms for point in points], "o-")
    admission.set_title("admission, median ms")
    lists.plot(sizes, [point.list_ms for point in points], "o-")
    lists.set_title("list of all, median ms")
    memory.plot(sizes, [point.memory_kib / 1024 for point in points], "o-", label="worker and API")
    memory.plot(sizes, [point.temporal_kib / 1024 for point in points], "o-", label="Temporal")
    memory.set_title("memory, MiB")
    memory.legend()
    daily.plot(sizes, [point.daily_seconds for point in points], "o-")
    daily.set_title("processor seconds a pipeline and day")
    for one in axes:
        one.set_xscale("log")
        one.set_ylim(bottom=0)
        one.set_xlabel("stopped pipelines")
    _save(memory, path)


def steps(points: Sequence[Cost], path: Path) -> None:
    """Draw what a batch costs against the number of rows that the table has."""
    if not points:
        return
    sizes = [point.rows for point in points]
    _, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(sizes, [point.step_ms for point in points], "o-", color="C7", label="the whole step")
    axes.plot(sizes, [point.sums_ms for point in points], "o-", label="of it, sums by group")
    axes.plot(sizes, [point.linear_ms for point in points], "o-", label="of it, a filter with an expression")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows of the table")
    axes.set_ylabel("median ms")
    axes.legend()
    _save(axes, path)


def _save(axes: Any, path: Path) -> None:
    axes.figure.tight_layout()
    axes.figure.savefig(path, dpi=110)
    pyplot.close(axes.figure)

"""`python -m benchmarks`: measure, print one table, write the figures as JSON and pictures of them."""

import argparse
import json
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import (
    admission,
    checkpoints,
    idle,
    ingest,
    listing,
    page,
    plane,
    plots,
    reading,
    recovery,
    scale,
    starting,
    stepping,
    stopping,
    watching,
)
from benchmarks.measure import Figure, percentile, rounded
from benchmarks.scale import Growth
from benchmarks.stepping import Costs

OUT = Path(__file__).parents[1] / "docs" / "performance"

Point = scale.Point | stepping.Cost

engines = partial(plane.control_plane, SLUICEGATE_WARM_ENGINES="0")

GROUPS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], list[Callable[[Any], Any]]]] = {
    "calls": (engines, [admission.measure, reading.measure, watching.measure]),
    "starts": (engines, [starting.measure_cold, stopping.measure, starting.measure_crowd]),
    "warm": (plane.control_plane, [starting.measure_warm]),
    "crowd": (plane.stub_plane, [admission.measure_crowd]),
    "lists": (plane.stub_plane, [listing.measure]),
    "idle": (plane.stub_plane, [idle.measure]),
    "recovery": (plane.stub_plane, [recovery.measure]),
    "ingest": (nullcontext, [ingest.measure]),
    "engine": (nullcontext, [stepping.measure]),
    "checkpoint": (nullcontext, [checkpoints.measure]),
    "scale": (plane.stub_plane, [scale.measure]),
}
"""Each on a control plane of its own, so that none measures what another has left; three groups need none."""


def main() -> None:
    """Measure what is asked for; what was measured before of the rest is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"any of {', '.join(GROUPS)}; all if none")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the figures (default: %(default)s)")
    parser.add_argument(
        "--largest",
        type=int,
        choices=scale.SIZES,
        default=scale.SIZES[-1],
        help="how many stopped pipelines `scale` ends with; a tenth as many run (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    console = Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for group in arguments.groups or GROUPS:
        figures, points = _measured(group, console, arguments.largest)
        console.print(_table(figures))
        _write(arguments.out / f"{group}.json", figures, points)
        plots.latencies(figures, arguments.out / f"{group}.png")
        plots.growth(
            [point for point in points if isinstance(point, scale.Point)], arguments.out / "growth.png"
        )
        plots.steps(
            [point for point in points if isinstance(point, stepping.Cost)], arguments.out / "steps.png"
        )
    if arguments.out == OUT:
        page.update(OUT.with_suffix(".md"), OUT)
    console.print(f"Written to {arguments.out}")


def _measured(group: str, console: Console, largest: int) -> tuple[list[Figure], list[Point]]:
    running, measures = GROUPS[group]
    if group == "scale":
        measures = [partial(scale.measure, largest=largest)]
    figures: list[Figure] = []
    points: list[Point] = []
    with console.status(f"{group}: starting a control plane") as status, running() as described:
        for measure in measures:
            status.update(f"{group}: {getattr(measure, 'func', measure).__module__.rpartition('.')[2]}")
            found = measure(described)
            if isinstance(found, Growth | Costs):
                points += found.points
                found = found.figures
            figures += found
    return figures, points


def _write(path: Path, figures: list[Figure], points: list[Point]) -> None:
    """Write JSON with a figure on each line, which is how the samples are still readable."""
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "growth": [{key: rounded(value) for key, value in point._asdict().items()} for point in points],
    }
    head = json.dumps(about).removesuffix("}")
    rows = ",\n  ".join(json.dumps(figure.as_json()) for figure in figures)
    path.write_text(f'{head},\n "figures": [\n  {rows}\n ]}}\n')


def _table(figures: list[Figure]) -> Table:
    table = Table(title="Medians and 99th percentiles")
    for heading in ("measure", "", "median", "p99", "floor", "median", "p99", "aims"):
        table.add_column(heading, justify="left" if heading in ("measure", "", "floor", "aims") else "right")
    for figure in figures:
        floor = ["", ""]
        if figure.floor:
            floor = [f"{figure.floor_median:.4g}", f"{percentile(figure.floor_samples, 99):.4g}"]
        aims = [f"[{'green' if judged.met else 'red'}]{judged.words}[/]" for judged in figure.judged]
        table.add_row(
            figure.measure,
            figure.unit,
            f"{figure.median:.4g}",
            f"{percentile(figure.samples, 99):.4g}",
            figure.floor,
            *floor,
            "\n".join([*aims, *([f"[dim]{figure.note}[/]"] if figure.note else [])]),
        )
    return table


if __name__ == "__main__":
    main()

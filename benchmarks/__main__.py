"""`python -m benchmarks`: measure, print one table, write the figures as JSON."""

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import admission, listing, plane, starting, watching
from benchmarks.measure import Figure, percentile

OUT = Path(__file__).parents[1] / "docs" / "performance" / "bench.json"


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console()
    with (
        console.status("Starting a control plane") as status,
        plane.control_plane() as described,
        httpx.Client(base_url=described["api_url"], timeout=60) as api,
    ):
        status.update("Measuring admission")
        figures = [admission.measure(described, api)]
        status.update("Measuring starts")
        figures.append(starting.measure(api))
        status.update("Measuring watching")
        figures.append(watching.measure(described, api))
        status.update("Measuring lists")
        figures.append(listing.measure(described, api))
    console.print(_table(figures))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "figures": [figure.as_json() for figure in figures],
    }
    arguments.out.write_text(json.dumps(written, indent=1) + "\n")
    console.print(f"Written to {arguments.out}")


def _table(figures: list[Figure]) -> Table:
    table = Table(title="Milliseconds; the ratio is of medians")
    for heading in ("measure", "median", "p99", "floor", "median", "p99", "ratio", "aim"):
        table.add_column(heading, justify="left" if heading in ("measure", "floor") else "right")
    for figure in figures:
        table.add_row(
            figure.measure,
            f"{figure.median:.1f}",
            f"{percentile(figure.measured_ms, 99):.1f}",
            figure.floor,
            f"{figure.floor_median:.1f}",
            f"{percentile(figure.floor_ms, 99):.1f}",
            f"[{'green' if figure.met else 'red'}]{figure.ratio:.2f}[/]",
            figure.aims,
        )
    return table


if __name__ == "__main__":
    main()

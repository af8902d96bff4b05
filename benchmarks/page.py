"""The table in `docs/performance.md`, made from the figures that were written down; none is typed by hand."""

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def update(page: Path, folder: Path) -> None:
    """Put the table of all figures in a folder between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table(folder)}\n{END}{after}")


def table(folder: Path) -> str:
    """The figures, group after group."""
    lines = [
        "| measure | median | p99 | floor in the same run | its median | its p99 | aim |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("*.json")):
        lines += map(_row, json.loads(path.read_text())["figures"])
    return "\n".join(lines)


def _row(figure: dict[str, Any]) -> str:
    unit = figure["unit"]
    aims = "; ".join(f"{aim['words']} {'met' if aim['met'] else '**not met**'}" for aim in figure["aims"])
    floor = ["", "", ""]
    if "floor" in figure:
        floor = [figure["floor"], f"{figure['floor_median']:g} {unit}", f"{figure['floor_p99']:g} {unit}"]
    cells = [figure["measure"], f"{figure['median']:g} {unit}", f"{figure['p99']:g} {unit}", *floor, aims]
    note = f" ({figure['note']})" if "note" in figure else ""
    cells[0] += note
    return "| " + " | ".join(cells) + " |"

"""Figures are judged as their aims say, and the page shows what was written down."""

import json
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.measure import Aim, AtMost, Figure, Over, Share, Times, percentile

FIGURE = Figure("calls", [10.0, 20.0, 90.0], "bare calls", [5.0, 10.0, 15.0])


@pytest.mark.parametrize(
    ("aim", "words", "met"),
    [
        (Times(2.0), "median 2.00x, ≤ 2x", True),
        (Times(1.9), "median 2.00x, ≤ 1.9x", False),
        (Times(6.0, 99), "p99 6.00x, ≤ 6x", True),
        (Share(2.0), "200% of it, ≥ 200%", True),
        (Share(2.1), "200% of it, ≥ 210%", False),
        (Over(10.0), "+10 ms, ≤ 10", True),
        (Over(9.9), "+10 ms, ≤ 9.9", False),
        (AtMost(20), "median 20 ms, ≤ 20", True),
        (AtMost(89, 100), "most 90 ms, ≤ 89", False),
    ],
)
def test_an_aim_is_judged(aim: Aim, words: str, met: bool) -> None:
    assert aim.judge(FIGURE) == (words, met)


def test_a_median_is_one() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


def test_the_page_shows_each_figure_and_keeps_its_words(tmp_path: Path) -> None:
    judged = Figure("calls", FIGURE.samples, FIGURE.floor, FIGURE.floor_samples, [Times(1.9)], note="noisy")
    (tmp_path / "group.json").write_text(json.dumps({"figures": [judged.as_json()]}))
    text = tmp_path / "page.md"
    text.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    for _ in range(2):
        page.update(text, tmp_path)
    lines = text.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 7)
    row = "| calls (noisy) | 20 ms | 90 ms | bare calls | 10 ms | 15 ms | median 2.00x, ≤ 1.9x **not met** |"
    assert row in lines

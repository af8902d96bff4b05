"""The short form of `make chaos`: everything of it for half a minute, judged by all checkers."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import campaign, judge

SEED = 1


def _tell(words: str) -> None:
    sys.stdout.write(f"{words}\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_invariant_is_broken(tmp_path: Path, counted: Any) -> None:
    folders = (tmp_path / "plane", tmp_path / "recorded")
    recording = await campaign.run(SEED, campaign.SHORT, folders, _tell)
    report = await judge.judged(recording)
    assert not report.broken, judge.text(report)
    assert sum(report.faults.values()) > 0
    counted("commands judged under chaos", sum(report.commands.values()))
    counted("points at which processes were killed or stopped", len(report.points) - len(report.missed))

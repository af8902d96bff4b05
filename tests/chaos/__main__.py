"""`python -m tests.chaos [--seed N] [--minutes M] [--out FOLDER]`: break a control plane, and judge it.

`--judge FOLDER` judges what was recorded before, once more.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import campaign, judge
from tests.chaos.campaign import Size
from tests.chaos.recording import Recording


def _tell(words: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, help="where all is recorded")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="a recording to judge; nothing is run")
    return parser.parse_args()


async def _main(given: argparse.Namespace) -> int:
    recording = Recording(given.judge) if given.judge else await _recorded(given)
    report = await judge.judged(recording)
    sys.stdout.write(judge.text(report))
    return int(report.broken)


async def _recorded(given: argparse.Namespace) -> Recording:
    out = given.out or Path(tempfile.mkdtemp(prefix="chaos-report-"))
    _tell(f"seed {given.seed}, {given.minutes:g} minutes of faults; everything is recorded in {out}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return await campaign.run(given.seed, Size(given.minutes * 60), (Path(folder), out), _tell)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))

"""How often worker and API look for garbage."""

import subprocess
import sys

from sluicegate.garbage import THRESHOLDS


def test_what_is_there_at_the_start_is_never_looked_at_again() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gc; from sluicegate import garbage; garbage.collect_seldom();"
            "print(gc.get_threshold(), gc.get_freeze_count() > 1_000)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == f"{THRESHOLDS} True"

"""The table of errors says what the code does, and the code raises what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.errors import STATUS
from sluicegate import errors
from sluicegate.operate.error_table import ELSEWHERE, table

ROOT = Path(__file__).parents[2]
RULES = "\n".join(
    path.read_text()
    for room in ("sluicegate", "workflows", "activities")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.stem not in ("errors", "refusals", "error_table")
)
RAISING = "\n".join(
    path.read_text() for path in [*sorted((ROOT / "api").rglob("*.py")), ROOT / "sluicegate" / "errors.py"]
)
"""Where a code may also be only documented or defined."""


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == table(), "run: make docs"


def test_every_code_has_a_row_and_a_status() -> None:
    codes = errors.catalogue().keys()
    assert codes == STATUS.keys()
    assert set(re.findall(r"^\| `(\w+)`", table(), re.MULTILINE)) == codes
    assert ELSEWHERE.keys() <= codes


def test_every_code_says_where_it_surfaces() -> None:
    silent = [line for line in table().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not silent, "document these on a route, or say in ELSEWHERE where they surface"


@pytest.mark.parametrize("process", ["api.app", "worker"])
def test_every_process_knows_every_code(process: str) -> None:
    """A code whose module is not loaded would come back from a receipt as `Unexplained`."""
    asked = f"import {process}; from sluicegate import errors; print(*errors.catalogue())"
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(found.stdout.split()) == errors.catalogue().keys()


@pytest.mark.parametrize("code", errors.catalogue())
def test_every_code_is_raised_somewhere(code: str) -> None:
    raised = re.search(rf"raise (errors\.)?{code}\b|(?<!class )\b{code}\(", RAISING)
    assert raised or re.search(rf"\b{code}\b", RULES), f"nothing ever says {code}"

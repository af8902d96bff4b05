"""The registry of named points: whole, harmless while off, and exact when on."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate import faults

SOURCE = Path(faults.__file__).parents[1]
REACH = "import sys; from sluicegate import faults; [faults.reach(p) for p in sys.argv[1:]]; print('passed')"


def reaching(folder: Path | None, *points: str) -> "subprocess.Popen[str]":
    """A process that reaches points one after the other."""
    environment = {**os.environ, **({faults.VARIABLE: str(folder)} if folder else {})}
    return subprocess.Popen(
        [sys.executable, "-c", REACH, *points],
        cwd=SOURCE,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to arm points in."""
    (tmp_path / "armed").mkdir()
    (tmp_path / "hit").mkdir()
    return tmp_path


def test_an_armed_point_kills_once_and_says_so(folder: Path) -> None:
    (folder / "armed" / faults.FENCED).write_text("kill")
    killed = reaching(folder, faults.MARKED, faults.FENCED)
    assert killed.communicate()[0] == ""
    assert killed.returncode == -signal.SIGKILL
    [hit] = (folder / "hit").iterdir()
    assert hit.name.startswith(f"{faults.FENCED}.{killed.pid}.")
    assert reaching(folder, faults.FENCED).communicate()[0] == "passed\n"


def test_a_stopped_process_goes_on_when_told(folder: Path) -> None:
    (folder / "armed" / faults.FENCED).write_text("stop")
    stopped = reaching(folder, faults.FENCED)
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(stopped.pid, signal.SIGCONT)
    assert stopped.communicate()[0] == "passed\n"


def test_without_the_variable_nothing_is_looked_at(folder: Path) -> None:
    (folder / "armed" / faults.FENCED).write_text("kill")
    assert reaching(None, faults.FENCED).communicate()[0] == "passed\n"


def _activity_names() -> set[str]:
    found = set()
    for path in (SOURCE / "activities").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "activity.defn":
                found |= {ast.literal_eval(word.value) for word in node.keywords if word.arg == "name"}
    return found


_REACHING = ("faults.reach", "launcher.reach", "reach")


def _reached() -> set[str]:
    """The names of the points that the product's code passes."""
    found = set()
    for room in ("sluicegate", "activities", "api", "workflows"):
        for path in (SOURCE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in _REACHING:
                    found.add(ast.unparse(node.args[0]).removeprefix("faults.").strip("'"))
    return found


def test_every_activity_has_its_points() -> None:
    assert _activity_names() == set(faults.ACTIVITIES)


def test_every_point_between_is_passed_somewhere() -> None:
    named = {
        name for name, value in vars(faults).items() if name.isupper() and value in faults.BETWEEN
    } - _reached()
    assert named == {"READOPTING"}  # in worker.py
    assert "faults.reach(faults.READOPTING)" in (SOURCE / "worker.py").read_text()


def test_every_point_of_an_engine_is_passed_somewhere() -> None:
    points = {*faults.ENGINE, *faults.REMOTE}
    named = {name for name, value in vars(faults).items() if name.isupper() and value in points}
    assert named <= _reached()
    assert points.isdisjoint(faults.POINTS)

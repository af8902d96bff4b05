"""The release before the code at hand, as a folder of sources, and whether one may go back to it.

It is the newest tag `vX.Y.Z` behind this commit; while there is none, the commit that the table has.
"""

import ast
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2]
COMMITS = {"0.1.0": "edbe560efe6c0af2c6de27f9a5286a3172f7406f"}
"""Releases that were never tagged, by version, the newest last."""
_TAGS = "v[0-9]*.[0-9]*.[0-9]*"
_PATCHED = {"workflow.patched", "patched", "workflow.deprecate_patch", "deprecate_patch"}
_DECIDING = ("workflows", "activities", "sluicegate")
"""Where code lies that runs in workflows."""


class NoHistory(Exception):
    """The release before cannot be had; the text says why."""


@dataclass(frozen=True)
class Release:
    """Some sources to run."""

    name: str
    folder: Path


CURRENT = Release("the code at hand", SOURCE)


def previous(into: Path, repository: Path = SOURCE) -> Release:
    """Check the release before out into a folder. Raises NoHistory."""
    if shutil.which("git") is None:
        raise NoHistory("git is not installed")
    commit = newest_tag(repository)
    name = commit or list(COMMITS)[-1]
    commit = commit or COMMITS[name]
    packed = into.with_suffix(".tar")
    _git(repository, "archive", "--format=tar", "--output", str(packed), commit)
    with tarfile.open(packed) as archive:
        archive.extractall(into, filter="data")
    packed.unlink()
    return Release(name, into)


def newest_tag(repository: Path) -> str | None:
    """Name the newest tag of a release behind the newest commit, which may be a release itself."""
    _git(repository, "rev-parse", "--verify", "--quiet", "HEAD")
    try:
        return _git(repository, "describe", "--tags", "--abbrev=0", "--match", _TAGS, "HEAD^")
    except NoHistory:
        return None


def patches(folder: Path) -> set[str]:
    """Find the ids of all patch markers in some sources. Raises LookupError where one cannot be told."""
    trees = [ast.parse(path.read_text()) for room in _DECIDING for path in (folder / room).rglob("*.py")]
    constants = {
        name: value for tree in trees for node in tree.body for name, value in _constants(node) if value
    }
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    marked = [call.args[0] for call in calls if ast.unparse(call.func) in _PATCHED]
    return {_text(mark, constants) for mark in marked}


def _constants(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The texts that a statement of a module gives a name."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    value = getattr(node, "value", None)
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield from ((target.id, value.value) for target in targets if isinstance(target, ast.Name))


def _text(mark: ast.expr, constants: Mapping[str, str]) -> str:
    """What a literal says, or the constant of that name, in whichever module it is."""
    if isinstance(mark, ast.Constant):
        return str(mark.value)
    return constants[ast.unparse(mark).rpartition(".")[2]]


def newer_patches(release: Release, before: Release) -> set[str]:
    """Name the markers that a release may have written and the one before cannot read: it cannot be gone back
    to while there are any."""
    return patches(release.folder) - patches(before.folder)


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoHistory(f"git {words[0]} has failed: {done.stderr.strip() or 'no such commit'}")
    return done.stdout.strip()

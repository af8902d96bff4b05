"""Which release is the one before, and whether one may go back to it."""

import subprocess
from pathlib import Path

import pytest

from activities import calls
from tests.upgrade import releases
from tests.upgrade.releases import NoHistory, Release
from workflows import pipeline


def git(folder: Path, *words: str) -> None:
    """Run git there, as nobody in particular."""
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def commit(folder: Path, text: str) -> None:
    """Commit one file."""
    (folder / "file").write_text(text)
    git(folder, "add", "file")
    git(folder, "commit", "-m", text)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    try:
        git(folder, "init")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    commit(folder, "first")
    return folder


def test_the_newest_tag_behind_this_commit_is_the_release_before(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v0.9.0")
    commit(repository, "second")
    git(repository, "tag", "not-a-release")
    git(repository, "tag", "v1.0.0")
    assert releases.newest_tag(repository) == "v0.9.0"
    commit(repository, "third")
    found = releases.previous(tmp_path / "before", repository)
    assert found.name == "v1.0.0"
    assert (found.folder / "file").read_text() == "second"


def test_without_a_tag_the_table_counts_and_without_history_there_is_none(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, "second")
    assert releases.newest_tag(repository) is None
    with pytest.raises(NoHistory, match="git archive has failed"):
        releases.previous(tmp_path / "before", repository)
    with pytest.raises(NoHistory, match="git rev-parse has failed"):
        releases.previous(tmp_path / "before", tmp_path)


def test_a_newer_patch_marker_bars_the_way_back(tmp_path: Path) -> None:
    old, new = (Release(name, tmp_path / name) for name in ("old", "new"))
    for release in (old, new):
        (release.folder / "workflows").mkdir(parents=True)
        (release.folder / "workflows" / "p.py").write_text('if workflow.patched("one"):\n    pass\n')
    assert releases.newer_patches(new, old) == set()
    (new.folder / "activities").mkdir()
    (new.folder / "activities" / "c.py").write_text("ok = workflow.patched(\n    'two'\n)\nTHREE = 'three'\n")
    assert releases.newer_patches(new, old) == {"two"}
    assert releases.newer_patches(old, new) == set()
    (new.folder / "activities" / "d.py").write_text("ok = patched(c.THREE)\n")
    assert releases.newer_patches(new, old) == {"two", "three"}
    (new.folder / "activities" / "e.py").write_text("ok = patched(made())\n")
    with pytest.raises(LookupError):
        releases.newer_patches(new, old)


def test_the_markers_of_this_release_are_found() -> None:
    assert releases.patches(releases.SOURCE) == {
        pipeline.ANSWERS_FIRST,
        pipeline.PROMOTION,
        calls.ENDS_COUNT,
    }

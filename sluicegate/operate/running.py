"""Which `sluicegate dev` runs on a data folder: one at a time, and where it can be found.

`<home>/dev.lock` is locked for as long as the command lives; `<home>/dev.json` says what it started:
`{"pid", "ready", "api_url", "temporal_address", "temporal_ui_url", "home", "children": {name: pid}}`, written
by rename whenever a child comes or goes, and removed at the end.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self


class AlreadyRuns(Exception):
    """Another `sluicegate dev` holds the data folder."""

    def __init__(self, home: Path, other: "Running | None") -> None:
        who = f"process {other.pid}, API at {other.api_url}" if other else "it is just starting or ending"
        super().__init__(
            f"`sluicegate dev` already runs on {home} ({who}). "
            "Stop it first, or choose another folder with SLUICEGATE_HOME."
        )
        self.other = other


@dataclass(frozen=True)
class Running:
    """The content of `dev.json`."""

    pid: int
    api_url: str
    temporal_address: str
    temporal_ui_url: str
    home: str
    ready: bool = False
    children: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """Read what the command that runs, or ran last, has written."""
        try:
            return cls(**json.loads(_path(home).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """Replace the file."""
        aside = _path(Path(self.home)).with_suffix(".json.new")
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(_path(Path(self.home)))


@contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Hold the data folder; raises AlreadyRuns."""
    descriptor = os.open(home / "dev.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRuns(home, Running.read(home)) from error
        try:
            # What a command that was killed has left.
            _path(home).unlink(missing_ok=True)
            yield
        finally:
            _path(home).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _path(home: Path) -> Path:
    return home / "dev.json"

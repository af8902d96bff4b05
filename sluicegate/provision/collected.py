"""What was collected of a pipeline for support, the newest of it, kept beside its log until it is deleted."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z")
"""When it was collected, so that names sort by age."""
KEPT = 3


class Collected:
    """The collections of the pipeline whose folder this is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "collected"

    def add(self, name: str, data: bytes) -> None:
        """Keep one, and forget the oldest of too many. Raises FileNotFoundError where the pipeline has never
        been deployed here, or is deleted."""
        assert NAME.fullmatch(name)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        aside = self._folder / f"{name}.{os.getpid()}"
        aside.touch(mode=0o600)
        aside.write_bytes(data)
        aside.replace(self._folder / name)
        for path in list(self._paths())[KEPT:]:
            path.unlink(missing_ok=True)

    def all(self) -> dict[str, bytes]:
        """All that are kept, by name, newest first."""
        return {path.name: path.read_bytes() for path in self._paths()}

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            names = sorted(filter(NAME.fullmatch, os.listdir(self._folder)), reverse=True)
            yield from (self._folder / name for name in names)

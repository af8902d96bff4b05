"""Who this host is: an id made once, the layout of its folder, and the port of its log service.

`<home>/host.json` is the file; every worker of the same home reads the same identity, whoever was first.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Self
from uuid import uuid4

from sluicegate.lifecycle.values import Value
from sluicegate.provision.launcher import write_whole

LAYOUT = 1
"""Number of the folder's layout; a release that lays files out differently raises it and converts."""


class HomeError(Exception):
    """The host's folder cannot be used by this release; the text says what to do."""


class HostIdentity(Value):
    """The content of `host.json`."""

    host_id: str
    layout: int
    logs_port: int | None = None
    """Port that the log service had last, to be taken again so that addresses stay valid."""

    @classmethod
    def of(cls, home: Path) -> Self:
        """Read the identity of the host whose folder this is, making it the first time."""
        home.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
        with _Exclusive(home):
            found = cls._read(home / "host.json")
            if found is None:
                found = cls(host_id=str(uuid4()), layout=LAYOUT)
                found._write(home)
        return found

    def remember_logs_port(self, home: Path, port: int) -> Self:
        """Write down where the log service of this host listens now."""
        with _Exclusive(home):
            current = self._read(home / "host.json") or self
            changed = current.but(logs_port=port)
            if changed != current:
                changed._write(home)
        return changed

    @classmethod
    def _read(cls, path: Path) -> Self | None:
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        try:
            found = cls.model_validate_json(text)
        except ValueError as error:
            raise HomeError(f"{path} is damaged; restore it from a backup: {error}") from error
        if found.layout > LAYOUT:
            raise HomeError(
                f"{path.parent} has layout {found.layout}, written by a newer release; this release knows "
                f"layouts up to {LAYOUT}. Run the newer release, or name another folder."
            )
        return found

    def _write(self, home: Path) -> None:
        write_whole(home / "host.json", json.dumps(self.model_dump()))


class _Exclusive:
    """One worker at a time reads and writes the identity."""

    def __init__(self, home: Path) -> None:
        self._descriptor = os.open(home / "host.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

"""What a pipeline keeps on disk: its last desired status, its live database and its checkpoints.

status.json                     what was desired, of which deployment, program and live database
live/<deployment>.duckdb        the live database, named by the deployment that made it (see `origin`)
checkpoints/                    whole copies, see `checkpoints.store`
temp/                           what queries spill; emptied at every start
lock                            held by the process that uses the folder
"""

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from sluicegate.engine.checkpoints.manifest import HEAD
from sluicegate.engine.checkpoints.segments import sync
from sluicegate.engine.checkpoints.store import Store

NEEDED = ("desired_status", "deployment_id")
"""Keys that every status has had."""


class StorageError(Exception):
    """The storage cannot be used."""


class Storage:
    """One pipeline's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temp = path / "temp"
        self._live = path / "live"
        self.restoring = self._live / "restoring"
        """Where a database is put together that is not whole yet."""
        self._status = path / "status.json"
        for folder in (path, self._live):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = (path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"the storage at {path} is in use by another process") from error
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir()
        self.store = Store(path / "checkpoints")
        self.store.sweep()

    def read_status(self) -> dict[str, Any] | None:
        """Return what was last desired, None where nothing is known."""
        try:
            status: dict[str, Any] = json.loads(self._status.read_text())
            for key in NEEDED:
                status[key]
        except FileNotFoundError:
            return None
        except KeyError as error:
            raise StorageError(f"{self._status} is damaged: it lacks {error}") from error
        except (ValueError, TypeError) as error:
            raise StorageError(f"{self._status} is damaged: {error}") from error
        return status

    def write_status(self, status: dict[str, Any]) -> None:
        """Remember what is desired, down on the disk; one call at a time."""
        fresh = self._status.with_suffix(".new")
        fresh.write_text(json.dumps(status))
        sync(fresh)
        fresh.replace(self._status)
        sync(self.path)

    def live(self, deployment: str) -> Path:
        """Return where the database is that a deployment made."""
        return self._live / f"{deployment}.duckdb"

    def drop_other_live(self, deployment: str) -> None:
        """Remove the databases that other deployments made."""
        for file in self._live.iterdir():
            if not file.name.startswith(f"{deployment}.duckdb"):
                file.unlink()

    def put_live(self, fresh: Path, deployment: str) -> None:
        """Have a database that was put together beside it be the deployment's."""
        fresh.replace(self.live(deployment))
        sync(self._live)

    def drop_live(self, deployment: str) -> None:
        """Remove a database, and DuckDB's log of it."""
        for file in self._live.glob(f"{deployment}.duckdb*"):
            file.unlink()

    def drop_unmade(self, deployment: str) -> None:
        """Remove a database whose making was cut short, by a full disk or a kill: DuckDB would never open it
        again. It has held nothing yet, since its headers come first."""
        file = self.live(deployment)
        if file.exists() and file.stat().st_size < HEAD:
            file.unlink()

    def bytes_used(self) -> int:
        """Return how much the folder holds."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # DuckDB's own files come and go
                    total += os.stat(os.path.join(folder, name), follow_symlinks=False).st_size
        return total

"""What a pipeline keeps on disk: its last desired status, its live database and its checkpoints.

    status.json                     what was desired, of which deployment, program and live database
    live/<deployment>.duckdb        the live database, named by the deployment that made it (see `origin`)
    checkpoints/<uuid>/data.duckdb  a whole copy, beside its metadata.json
    temp/                           what queries spill; emptied at every start
    lock                            held by the process that uses the folder

A checkpoint is written under a name that begins with a dot and gets its own name by rename once everything
in it is on disk, so a folder without the dot is whole, whatever crashed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT = 2
"""Checkpoints kept: the newest, and one more in case its disk blocks go bad."""
PIECE = 1 << 20
"""Bytes copied at once."""


class StorageError(Exception):
    """The storage cannot be used."""


@dataclass(frozen=True)
class Checkpoint:
    """The metadata of one checkpoint."""

    uuid: str
    created_at: str
    program_version: int
    plan_digest: str
    processed_records: int
    steps: int
    size: int
    checksum: str

    def describe(self) -> dict[str, Any]:
        """Return the checkpoint as clients list it."""
        return {
            "uuid": self.uuid,
            "identifier": None,
            # 52 bits: every JSON reader keeps such an integer exactly.
            "fingerprint": int(self.plan_digest[:13], 16),
            "size": self.size,
            "steps": self.steps,
            "processed_records": self.processed_records,
        }


HEADERS = 3 * 4096
"""Bytes that a new database of DuckDB begins with."""


class Storage:
    """One pipeline's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temp = path / "temp"
        self._live = path / "live"
        self._checkpoints = path / "checkpoints"
        self._status = path / "status.json"
        for folder in (path, self._live, self._checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = (path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"the storage at {path} is in use by another process") from error
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir()

    def read_status(self) -> dict[str, Any] | None:
        """Return what was last desired, None where nothing is known."""
        try:
            status: dict[str, Any] = json.loads(self._status.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StorageError(f"{self._status} is damaged: {error}") from error
        return status

    def write_status(self, status: dict[str, Any]) -> None:
        """Remember what is desired."""
        fresh = self._status.with_suffix(".new")
        fresh.write_text(json.dumps(status))
        fresh.replace(self._status)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the whole checkpoints, the newest first."""
        found = []
        for metadata in self._checkpoints.glob("[!.]*/metadata.json"):
            try:
                found.append(Checkpoint(**json.loads(metadata.read_text())))
            except (ValueError, TypeError) as error:
                raise StorageError(f"{metadata} is damaged: {error}") from error
        return sorted(found, key=lambda checkpoint: checkpoint.created_at, reverse=True)

    def live(self, deployment: str) -> Path:
        """Return where the database is that a deployment made."""
        return self._live / f"{deployment}.duckdb"

    def drop_other_live(self, deployment: str) -> None:
        """Remove the databases that other deployments made."""
        for file in self._live.iterdir():
            if not file.name.startswith(f"{deployment}.duckdb"):
                file.unlink()

    def drop_unmade(self, deployment: str) -> None:
        """Remove a database whose making was cut short, by a full disk or a kill: DuckDB would never open it
        again. It has held nothing yet, since its headers come first."""
        file = self.live(deployment)
        if file.exists() and file.stat().st_size < HEADERS:
            file.unlink()

    def restore(self, checkpoint: Checkpoint, deployment: str) -> None:
        """Copy a checkpoint to where the deployment's database is; it appears there whole or not at all."""
        fresh = self._live / "restoring"
        _, checksum = _copy(self._data(checkpoint.uuid), fresh)
        if checksum != checkpoint.checksum:
            fresh.unlink()
            raise StorageError(f"checkpoint {checkpoint.uuid} is damaged: its checksum does not match")
        fresh.replace(self.live(deployment))

    def save(self, source: Path, describe: Callable[[int, str], Checkpoint]) -> Checkpoint:
        """Make a checkpoint of a closed database; `describe` is given its size and checksum."""
        part = self._checkpoints / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        checkpoint = describe(*_copy(source, part / "data.duckdb"))
        metadata = part / "metadata.json"
        metadata.write_text(json.dumps(asdict(checkpoint)))
        _sync(metadata)
        _sync(part)
        part.rename(self._checkpoints / checkpoint.uuid)
        _sync(self._checkpoints)
        for old in self.checkpoints()[KEPT:]:
            # Renamed first: a removal cut short must not leave half a checkpoint under its own name.
            doomed = self._checkpoints / f".{old.uuid}"
            (self._checkpoints / old.uuid).rename(doomed)
            shutil.rmtree(doomed)
        return checkpoint

    def bytes_used(self) -> int:
        """Return how much the folder holds."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # DuckDB's own files come and go
                    total += os.stat(os.path.join(folder, name), follow_symlinks=False).st_size
        return total

    def _data(self, uuid: str) -> Path:
        return self._checkpoints / uuid / "data.duckdb"


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file down to the disk; return its size and checksum."""
    digest = hashlib.sha256()
    size = 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(PIECE):
            digest.update(piece)
            writer.write(piece)
            size += len(piece)
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

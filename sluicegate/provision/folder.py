"""What lies on a host's disk for one pipeline, and the only code that reads or writes it (with the launcher).

    <home>/pipelines/<pipeline id>/
        control.json     the newest process that was started: generation, pid, start, boot, workflow
        record.json      what the pipeline was when a process was to be started last, without its secrets
        fence/<n>        an empty file for each stop: no generation up to the highest n may start any more
        lock             held by the live process through an inherited descriptor
        attempts/        per call of provision `<n>.<nonce>`: what the launcher is to do, how it ended
        pipeline.log     with the part that was rotated away beside it, and the number of a line
        collected/       what was collected for support, the newest of it
        run/<n>/         working directory of the process: config.json, port
        storage/         the pipeline's data
    <home>/removed/<pipeline id>     refuses late calls for a deleted pipeline, kept for some weeks
    <home>/trash/                    what is being deleted, out of everybody's way by one rename

Nothing here needs a lock of the caller's: every file is written whole by rename, a fence can only grow, and
what must happen once happens in the launcher. So a worker that freezes anywhere holds up nobody.
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import structlog

from sluicegate.lifecycle.effects import Deployment
from sluicegate.lifecycle.values import Value
from sluicegate.protocol import PORT_FILE
from sluicegate.provision.launcher import (
    fenced_generation,
    read_object,
    removal_marker,
    still_lives,
    sync_folder,
    write_whole,
)
from sluicegate.provision.logfile import LogFile

_log = structlog.get_logger(__name__)

EVERY_GENERATION = 2**62


class Locked(Exception):
    """Somebody holds the pipeline's lock."""


class Control(Value):
    """The record of a started process."""

    pipeline_id: str
    generation: int
    deployment_id: str
    workflow_id: str
    name: str
    log_position: int
    uid: int | None
    attempt: str
    pid: int
    started: int
    boot_id: str
    shim_pid: int
    shim_started: int

    @property
    def alive(self) -> bool:
        """Whether exactly this process lives."""
        return still_lives({"pid": self.pid, "started": self.started, "boot_id": self.boot_id})

    @property
    def watched(self) -> bool:
        """Whether its shim still lives, and so will write down how it ended."""
        shim = {"pid": self.shim_pid, "started": self.shim_started, "boot_id": self.boot_id}
        return still_lives(shim)


class Folder:
    """One pipeline's place on this host; it may not exist (yet, or any more)."""

    def __init__(self, home: Path, pipeline_id: str) -> None:
        self.pipeline_id = str(UUID(pipeline_id))  # a name from outside never becomes a path unchecked
        self.home = home
        self.root = home / "pipelines" / self.pipeline_id
        self.log = LogFile(self.root)

    @property
    def removed(self) -> bool:
        """Whether the pipeline was deleted."""
        return removal_marker(self.root).exists()

    @property
    def fenced(self) -> int:
        """The highest generation that may not start any more."""
        return fenced_generation(self.root)

    @property
    def control(self) -> Control | None:
        """The newest process that was started here, if any."""
        raw = read_object(self.root / "control.json")
        if raw is None:
            if (self.root / "control.json").exists():
                _log.warning("unreadable control file", pipeline_id=self.pipeline_id)
            return None
        try:
            return Control.model_validate(raw)
        except ValueError:
            _log.warning("control file of another form", pipeline_id=self.pipeline_id)
            return None

    def remember(self, deployment: Deployment) -> None:
        """Write down what a deployment is provisioned with. It need not outlast a loss of power, as the
        process will not."""
        if deployment.record is None:
            return
        rest = deployment.model_dump(mode="json", include={"plan", "runtime_config"})
        remembered = {"generation": deployment.generation, "record": {**deployment.record, **rest}}
        write_whole(self.root / "record.json", json.dumps(remembered), durable=False)

    def remembered(self, generation: int) -> dict[str, Any] | None:
        """Return the record that a generation was provisioned with, if it was written down."""
        found = read_object(self.root / "record.json") or {}
        return found.get("record") if found.get("generation") == generation else None

    def port(self, generation: int) -> int | None:
        """Read the port that a program has written down, whatever it may have put there instead."""
        try:
            path = self.root / "run" / str(generation) / PORT_FILE
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            text = os.read(descriptor, 16).strip()
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return int(text) if text.isdigit() and 0 < int(text) < 65_536 else None

    def furnish(self, passage: int) -> None:
        """Make the folder; `passage` is the mode of the directories on the way to the process's own."""
        for path in (self.root.parent, self.root):
            path.mkdir(mode=passage, parents=True, exist_ok=True)
        (self.root / "attempts").mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600))

    def fence(self, generation: int) -> None:
        """Forbid every generation up to this one to start, for ever."""
        fences = self.root / "fence"
        if self.fenced >= generation:
            return
        fences.mkdir(mode=0o700, parents=True, exist_ok=True)
        (fences / str(generation)).touch(mode=0o600)
        for folder in (fences, self.root, self.root.parent):
            sync_folder(folder)
        for name in os.listdir(fences):
            if int(name) < generation:
                (fences / name).unlink(missing_ok=True)

    def attempted(self, generation: int) -> bool:
        """Whether something may have been started for a generation up to this one since the last sweep."""
        return any(found <= generation for found, _ in self._attempts(".json"))

    def attempts(self, generation: int) -> list[str]:
        """Names of the attempts at exactly this generation."""
        return [path.stem for found, path in self._attempts(".json") if found == generation]

    def sweep(self, generation: int) -> None:
        """Forget the attempts up to this generation, of which nothing is left; keep how this one ended."""
        for found, path in self._attempts(""):
            if found < generation or (found == generation and path.suffix != ".exit"):
                path.unlink(missing_ok=True)

    def exit_status(self, attempt: str) -> int | None:
        """Return the shell status with which the shim saw an attempt end."""
        try:
            return int((self.root / "attempts" / f"{attempt}.exit").read_text())
        except (OSError, ValueError):
            return None

    def refusal(self, attempt: str) -> str:
        """Return the launcher's reason for not starting an attempt."""
        try:
            return (self.root / "attempts" / f"{attempt}.reason").read_text()
        except OSError:
            return "no reason was recorded"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the pipeline's lock, so that no process lives or starts; raise Locked where one does."""
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked(self.pipeline_id) from None
            yield
        finally:
            os.close(descriptor)

    def lock_is_free(self) -> bool:
        """Say whether no process has the lock, without keeping another looker from it."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def mark_removed(self) -> None:
        """Refuse every later call for this pipeline."""
        marker = removal_marker(self.root)
        marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker.touch(mode=0o600)
        sync_folder(marker.parent)

    def set_aside(self, path: Path) -> bool:
        """Take a tree of this pipeline out of everybody's way by one rename; say whether there was one."""
        trash = self.home / "trash"
        trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.rename(trash / f"{self.pipeline_id}.{uuid4().hex}")
        except FileNotFoundError:
            return False
        return True

    def empty_trash(self) -> None:
        """Delete what was set aside, also by a call that did not finish."""
        for leftover in (self.home / "trash").glob(f"{self.pipeline_id}.*"):
            _take_apart(leftover)

    def discard(self) -> None:
        """Delete the whole folder."""
        self.set_aside(self.root)
        self.empty_trash()

    def _attempts(self, suffix: str) -> Iterator[tuple[int, Path]]:
        try:
            names = os.listdir(self.root / "attempts")
        except FileNotFoundError:
            return
        for name in names:
            generation = name.split(".", 1)[0]
            if name.endswith(suffix) and generation.isdigit():
                yield int(generation), self.root / "attempts" / name


def every_folder(home: Path) -> Iterator[Folder]:
    """List the folders of this host's pipelines."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(home / "pipelines")):
            try:
                yield Folder(home, name)
            except ValueError:
                _log.warning("not a pipeline's folder", name=name)


def forget_removed(home: Path, older_than: float) -> None:
    """Drop the markers of pipelines deleted more than so many seconds ago, when no call can be so late."""
    with contextlib.suppress(FileNotFoundError):
        for marker in (home / "removed").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - marker.stat().st_mtime > older_than:
                    marker.unlink()


def _take_apart(path: Path) -> None:
    """Remove a tree in which a program may have forbidden its own directories."""
    for folder, folders, _ in os.walk(path):
        for name in folders:
            inner = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.lstat(inner).st_mode):
                    os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)

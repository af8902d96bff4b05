"""One attempt at a start: how it begins from nothing, and what became of it.

written ──┬──► begin: a shim, and behind it a launcher ──┬──► verdict: recorded, or refused
          └──► a member of the warm pool takes it on   ──┘
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sluicegate import faults
from sluicegate.provision import ProvisionError, ProvisionRejected, Superseded, inplace, launcher, spec
from sluicegate.provision.folder import Folder

SHIM = Path(__file__).with_name("shim.sh")

_MAIN = (
    "import sys; sys.path.append({folder!r}); import {module}; sys.path.pop(); "
    "sys.exit({module}.main(sys.argv[1:]))"
)

_START_BOUND = 15.0
"""Seconds for a launcher to take the lock and record itself, which takes 40 ms on an idle host."""

_FIRST_POLL, _LAST_POLL = 0.002, 0.02


@dataclass(frozen=True)
class Attempt:
    """What is to be carried out; it is written down as `attempts/<name>.json` in the folder."""

    folder: Folder
    generation: int
    name: str
    cookie: str
    """By which the processes of the deployment are found."""
    labels: str
    """What lines about it end with in the log."""
    told: Mapping[str, Any]
    """What is written down."""
    carried: dict[str, str]
    """What no file ever holds: the values of secrets, by the variables that carry them."""

    def begin(self) -> None:
        """Start its shim; the shell that we wait for has left it behind when it returns."""
        root = str(self.folder.root)
        if _runs_in_place(self.told):
            start = [sys.executable, "-c", main_of("inplace"), root, self.name, inplace.ROOM]
            environment = empty_environment(self.told["argv"])
        else:
            start = [sys.executable, "-I", "-S", "-c", main_of("launcher"), root, self.name]
            environment = {"PATH": os.environ.get("PATH", os.defpath), **points()}
        log = self.folder.log.open(self.labels)
        try:
            subprocess.run(
                ["/bin/sh", str(SHIM), root, self.name, self.cookie, self.labels, *start],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment | self.carried,
                start_new_session=True,
                check=True,
            )
        except subprocess.SubprocessError as error:
            raise ProvisionError(f"the shim could not be started: {error}") from error
        finally:
            os.close(log)
        faults.reach(faults.SHIM_STARTED)

    async def verdict(self) -> None:
        """Wait until the generation is started, by this attempt or another, or the launcher has refused."""
        deadline = monotonic() + _START_BOUND
        poll = _FIRST_POLL
        while True:
            status = self.folder.exit_status(self.name)  # before the control file, which is written first
            if already_started(self.folder, self.generation):
                return
            if status is not None:
                raise self._refusal(status)
            if monotonic() > deadline:
                raise ProvisionError("the launcher has not reported in time")
            await asyncio.sleep(poll)
            poll = min(poll * 1.5, _LAST_POLL)

    def _refusal(self, status: int) -> ProvisionError:
        """Turn a launcher's exit status into the error that it means."""
        if status in (launcher.FENCED, launcher.STARTED):  # started, and stopped again before we looked
            return Superseded("the generation was stopped or replaced while it was being started")
        reason = self.folder.refusal(self.name)
        if status == launcher.BUSY:
            return ProvisionError(f"the pipeline's lock is held by another process ({reason})")
        if status == launcher.CANNOT:
            return ProvisionRejected(f"the process could not be prepared: {reason}")
        tail = " / ".join(self.folder.log.tail(0, 3))
        return ProvisionError(f"the launcher ended with status {status}: {tail}")


def already_started(folder: Folder, generation: int) -> bool:
    """Say whether the generation's process was started; raise where it may not be (any more, or yet)."""
    control = folder.control
    recorded = control.generation if control else 0
    if folder.removed or folder.fenced >= generation or recorded > generation:
        raise Superseded(f"generation {generation} was stopped or replaced")
    if recorded == generation:
        return True
    if control and control.alive:
        raise ProvisionError(f"the process of generation {recorded} still runs")
    return False


def _runs_in_place(told: Mapping[str, Any]) -> bool:
    """Say whether the program can be run by the interpreter that launches it."""
    program, what, *_ = told["argv"]
    ours = program == sys.executable and (what == "-m" or not what.startswith("-"))
    return ours and spec.starts_as_usual(told)


def main_of(module: str) -> str:
    """Render the code that runs a module of this folder, without our package around it.

    Imported rather than run as a script, so that its compiled form is used: 8 ms of what a user waits for.
    """
    return _MAIN.format(folder=str(SHIM.parent), module=module)


def empty_environment(command: Sequence[str]) -> dict[str, str]:
    """Make the environment of a process that is to become a pipeline's, with nothing of any pipeline's."""
    return spec.common_environment(command) | {"HOME": "/nonexistent"} | points()


def points() -> dict[str, str]:
    """Let the launcher reach named points where we do; the program never sees the variable."""
    return {faults.VARIABLE: faults.FOLDER} if faults.FOLDER else {}

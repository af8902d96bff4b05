"""The embedded provisioner: each pipeline is a detached process of this host that outlives the worker.

    worker --> shim.sh (own session, adopted by init) --> launcher.py --exec--> the pipeline's program
                 writes how it ended                        takes the lock, judges, records itself

`folder` says what lies on the disk, `launcher` why a program starts at most once (I2), `processes` how all of
a deployment's processes are found. This module asks them in the right order:

* *provision* writes down an attempt, starts its shim and waits until control.json names the generation or
  the launcher has refused. So a provision that has returned has left a durable record, and one that died
  anywhere may simply be called again: the launchers settle between themselves who starts.
* *check* trusts only what is recorded. No control file of the generation, but an attempt: still starting,
  or its worker died; another provision settles it, so there is no end to report (None). Neither: nothing
  of this generation was ever started here, or the folder is lost, and an end in an unknown way is reported.
* *deprovision* fences, then ends, then makes sure: no process found, nobody has the lock.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from uuid import uuid4

import structlog

from sluicegate.lifecycle.effects import Addressed, Deployment
from sluicegate.protocol import PORT_FILE, STORAGE_FOLDER
from sluicegate.provision import (
    Adopted,
    Exit,
    Location,
    ProvisionError,
    ProvisionRejected,
    Superseded,
    ending,
    following,
    launcher,
    spec,
)
from sluicegate.provision.folder import (
    EVERY_GENERATION,
    Folder,
    Locked,
    every_folder,
    forget_removed,
)
from sluicegate.provision.logfile import labels_of
from sluicegate.provision.references import References
from sluicegate.provision.users import Users

_log = structlog.get_logger(__name__)

_SHIM = Path(__file__).with_name("shim.sh")

# Imported rather than run as a script, so that its compiled form is used: 8 ms of what a user waits for.
_LAUNCH = (
    f"import sys; sys.path.append({str(_SHIM.parent)!r}); "
    "import launcher; sys.exit(launcher.main(sys.argv[1:]))"
)

_START_BOUND = 15.0
"""Seconds for a launcher to take the lock and record itself, which takes 40 ms on an idle host."""

_FIRST_POLL, _LAST_POLL = 0.002, 0.02
_TAIL_LINES = 15
_MARKER_AGE = 30 * 86_400.0
"""Seconds to refuse calls for a deleted pipeline: no effect is retried for longer than histories are kept."""


@dataclass(frozen=True)
class ProcessSettings:
    """How this host runs its pipelines."""

    bind_address: str = "127.0.0.1"
    """What the programs bind."""
    advertised_address: str | None = None
    """Where they are reached, if not at `bind_address`."""
    grace: float = 5.0
    """Seconds between TERM and KILL."""
    own_users: bool = True
    """As root, run each pipeline as a user of its own where the program can be run so."""
    references: References = field(default_factory=References)
    """What configurations may refer to."""
    log_bytes: int = 1_000_000
    """Size from which a log is rotated; as much again is kept beside it."""


class ProcessProvisioner:
    """Runs pipelines as processes of this host; see the protocol for what each method promises."""

    def __init__(
        self, home: Path, host_id: str, command: Sequence[str], settings: ProcessSettings | None = None
    ) -> None:
        self.host_id = host_id
        self._home = home.resolve()
        self._command = list(command)
        self._settings = settings or ProcessSettings()
        self._users = Users(self._home, command, enabled=self._settings.own_users)

    async def provision(self, deployment: Deployment, token: str) -> None:
        """Start the deployment's process unless it was started before; return once it is recorded."""
        folder = self._folder(deployment)
        if _already_started(folder, deployment.generation):
            return
        if deployment.runtime_config.get("hosts", 1) > 1:
            raise ProvisionRejected("pipelines run on one host here; set runtime_config.hosts to 1")
        if shutil.which(self._command[0]) is None:
            raise ProvisionRejected(f"there is no program {self._command[0]!r} on this host")
        with _explained(folder, hopeless=ProvisionRejected):
            attempt = await asyncio.to_thread(self._attempt, folder, deployment, token)
        try:
            await self._await_verdict(folder, deployment.generation, attempt)
        finally:
            if folder.removed:  # a late call has made the folder again
                await asyncio.to_thread(folder.discard)

    async def locate(self, deployment: Addressed) -> Location | None:
        """Read the port that the live process of this generation has written down."""
        folder = self._folder(deployment)
        control = folder.control
        if control is None or control.generation != deployment.generation or not control.alive:
            return None
        port = _read_port(folder.root / "run" / str(control.generation) / PORT_FILE)
        if port is None:
            return None
        host = self._settings.advertised_address or self._settings.bind_address
        details = {"host": self.host_id, "pid": control.pid}
        if control.uid is not None:
            details["user"] = control.uid
        return Location(address=f"{host}:{port}", details=details)

    async def check(self, deployment: Addressed) -> Exit | None:
        """Say how the process of this generation ended; None while it lives or is still starting."""
        folder = self._folder(deployment)
        generation = deployment.generation
        control = folder.control
        if control is None or control.generation < generation:
            over = folder.removed or folder.fenced >= generation or not folder.attempts(generation)
            return Exit() if over else None
        if control.generation > generation:
            return Exit()
        if control.alive:
            return None
        await ending.exit_recorded(folder, control)
        status = folder.exit_status(control.attempt)
        tail = await asyncio.to_thread(folder.log.tail, control.log_position, _TAIL_LINES)
        return _exit(status, tail)

    async def deprovision(self, deployment: Addressed) -> None:
        """Fence the generation, then end every process up to it."""
        folder = self._folder(deployment)
        if folder.removed:
            return
        generation = deployment.generation
        with _explained(folder):
            await asyncio.to_thread(folder.fence, generation)
            if folder.removed:
                await asyncio.to_thread(folder.discard)
                return
            ended = await ending.end(folder, generation, grace=self._settings.grace)
            await asyncio.to_thread(folder.sweep, generation)
            if ended:
                _say(folder, "deprovisioned: nothing of the pipeline runs any more")

    async def clear_storage(self, deployment: Addressed) -> None:
        """Remove what the pipeline stored, by one rename while no process can start."""
        folder = self._folder(deployment)
        if not folder.root.exists():
            return
        with _explained(folder):
            if await asyncio.to_thread(_clear, folder, deployment.generation):
                _say(folder, "storage cleared")

    async def remove(self, deployment: Addressed) -> None:
        """Remove everything of the pipeline but a marker that refuses calls which come late."""
        folder = self._folder(deployment)
        with _explained(folder):
            await asyncio.to_thread(folder.mark_removed)
            if folder.root.exists():
                await ending.end(folder, EVERY_GENERATION, grace=self._settings.grace)
            await asyncio.to_thread(folder.discard)
            await asyncio.to_thread(self._users.release, folder.pipeline_id)

    def logs(self, pipeline_id: str, *, follow: bool = True) -> AsyncIterator[bytes]:
        """Yield the pipeline's log in chunks of whole lines."""
        return following.follow(Folder(self._home, pipeline_id), forever=follow)

    async def adopt(self) -> Sequence[Adopted]:
        """List the deployments of this host that nobody has stopped; tidy up after deleted pipelines."""
        return await asyncio.to_thread(self._adopt)

    async def rotate_logs(self) -> None:
        """Bound the logs of this host; to be called every few seconds."""
        await asyncio.to_thread(self._rotate_logs)

    def _folder(self, deployment: Addressed) -> Folder:
        try:
            return Folder(self._home, deployment.pipeline_id)
        except ValueError:
            raise ProvisionRejected(f"not a pipeline id: {deployment.pipeline_id!r}") from None

    def _attempt(self, folder: Folder, deployment: Deployment, token: str) -> str:
        """Write down an attempt and start its shim."""
        generation = deployment.generation
        uid = self._users.number(folder.pipeline_id)
        folder.furnish(self._users.passage)
        labels = labels_of(folder.pipeline_id, deployment.name)
        folder.log.say(f"provisioning deployment {deployment.deployment_id}, generation {generation}", labels)
        if ignored := spec.ignored(deployment):
            folder.log.say(f"env may not set {', '.join(ignored)}: left out", labels, level="WARN")
        secrets, carriers = spec.carried(self._settings.references.resolve(deployment))
        working = folder.root / "run" / str(generation)
        attempt = f"{generation}.{uuid4().hex[:12]}"
        told = {
            "argv": spec.arguments(self._command, deployment, working, self._settings.bind_address),
            "environment": spec.environment(deployment, self._command, working),
            "carried": carriers,
            "limits": spec.limits(deployment.runtime_config, folder.pipeline_id),
            "storage": spec.stores(deployment),
            "passage": self._users.passage,
            "uid": uid,
            "control": {
                **deployment.model_dump(include={"generation", "deployment_id", "workflow_id", "name"}),
                "pipeline_id": folder.pipeline_id,
                "log_position": folder.log.end(),
                "uid": uid,
            },
        }
        attempts = folder.root / "attempts"
        spec.configuration(deployment, folder.root, token).write(attempts / f"{attempt}.config")
        launcher.write_whole(attempts / f"{attempt}.json", json.dumps(told))
        _start_shim(folder, attempt, (spec.cookie(deployment), labels), secrets)
        return attempt

    async def _await_verdict(self, folder: Folder, generation: int, attempt: str) -> None:
        """Wait until the generation is started, by this attempt or another, or the launcher has refused."""
        deadline = monotonic() + _START_BOUND
        poll = _FIRST_POLL
        while True:
            status = folder.exit_status(attempt)  # before the control file, which is written first
            if _already_started(folder, generation):
                return
            if status is not None:
                raise _refusal(folder, attempt, status)
            if monotonic() > deadline:
                raise ProvisionError("the launcher has not reported in time")
            await asyncio.sleep(poll)
            poll = min(poll * 1.5, _LAST_POLL)

    def _adopt(self) -> list[Adopted]:
        found = []
        for folder in every_folder(self._home):
            if folder.removed:
                folder.discard()
                continue
            control = folder.control
            if control is None:
                continue
            alive = control.alive
            if alive or folder.fenced < control.generation:
                found.append(
                    Adopted(
                        pipeline_id=control.pipeline_id,
                        generation=control.generation,
                        workflow_id=control.workflow_id,
                        alive=alive,
                    )
                )
        forget_removed(self._home, _MARKER_AGE)
        return found

    def _rotate_logs(self) -> None:
        for folder in every_folder(self._home):
            try:
                folder.log.rotate(self._settings.log_bytes)
            except OSError as error:
                _log.warning("log not rotated", pipeline_id=folder.pipeline_id, error=str(error))


def _already_started(folder: Folder, generation: int) -> bool:
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


def _start_shim(folder: Folder, attempt: str, names: tuple[str, str], secrets: Mapping[str, str]) -> None:
    """Start the shim; the shell that we wait for has left it behind when it returns. The names are the
    deployment's cookie and the labels of its log; the secrets go along in the environment."""
    labels = names[1]
    start = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(folder.root), attempt]
    log = folder.log.open(labels)
    try:
        subprocess.run(
            ["/bin/sh", str(_SHIM), str(folder.root), attempt, *names, *start],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), **secrets},
            start_new_session=True,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise ProvisionError(f"the shim could not be started: {error}") from error
    finally:
        os.close(log)


def _refusal(folder: Folder, attempt: str, status: int) -> ProvisionError:
    """Turn a launcher's exit status into the error that it means."""
    if status in (launcher.FENCED, launcher.STARTED):  # started, and stopped again before we looked
        return Superseded("the generation was stopped or replaced while it was being started")
    if status == launcher.BUSY:
        return ProvisionError(f"the pipeline's lock is held by another process ({folder.refusal(attempt)})")
    if status == launcher.CANNOT:
        return ProvisionRejected(f"the process could not be prepared: {folder.refusal(attempt)}")
    tail = " / ".join(folder.log.tail(0, 3))
    return ProvisionError(f"the launcher ended with status {status}: {tail}")


def _clear(folder: Folder, generation: int) -> bool:
    """Set the storage aside while nothing can start, then delete it; say whether there was any."""
    with folder.locked():
        control = folder.control
        if control and control.generation > generation:
            raise Superseded(f"the storage belongs to generation {control.generation}")
        if control and control.alive:
            raise ProvisionError("the pipeline's process still runs")
        found = folder.set_aside(folder.root / STORAGE_FOLDER)
    folder.empty_trash()
    return found


def _exit(status: int | None, tail: Sequence[str]) -> Exit:
    """Read a shell's status: above 128 it means a signal, as far as there is such a signal."""
    if status is not None and status > 128:
        with contextlib.suppress(ValueError):
            return Exit(signal=signal.Signals(status - 128).name, log_tail=tail)
    return Exit(exit_code=status, log_tail=tail)


def _read_port(path: Path) -> int | None:
    """Read a port number from a file that a program wrote, whatever it may have put there instead."""
    try:
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


def _say(folder: Folder, text: str) -> None:
    control = folder.control
    folder.log.say(text, labels_of(folder.pipeline_id, control.name if control else ""))


@contextlib.contextmanager
def _explained(folder: Folder, *, hopeless: type[ProvisionError] = ProvisionError) -> Iterator[None]:
    """Turn what the operating system says into the protocol's errors."""
    try:
        yield
    except Locked:
        raise ProvisionError("the pipeline's lock is held by another process") from None
    except OSError as error:
        if folder.removed:
            raise Superseded("the pipeline was deleted") from None
        kind = hopeless if error.errno in launcher.HOPELESS else ProvisionError
        raise kind(f"on the host: {error}") from error

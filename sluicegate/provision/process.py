"""The embedded provisioner: each pipeline is a detached process of this host that outlives the worker.

    worker --> shim.sh (own session, adopted by init) --> launcher.py --exec--> the pipeline's program
                 writes how it ended                        takes the lock, judges, records itself

`folder` says what lies on the disk, `launcher` why a program starts at most once (I2), `processes` how all of
a deployment's processes are found, `pool` where a program comes from that is ready before it is needed. This
module asks them in the right order:

* *provision* writes down an attempt, starts its shim (or has a warm engine take it on) and waits until
  control.json names the generation or the launcher has refused. So a provision that has returned has left a
  durable record, and one that died anywhere may simply be called again: the launchers settle between
  themselves who starts.
* *check* trusts only what is recorded. No control file of the generation, but an attempt: still starting,
  or its worker died; another provision settles it, so there is no end to report (None). Neither: nothing
  of this generation was ever started here, or the folder is lost: an end without a trace.
* *deprovision* fences, then ends, then makes sure: no process found, nobody has the lock.
"""

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from sluicegate import faults
from sluicegate.lifecycle.effects import Addressed, Deployment
from sluicegate.protocol import STORAGE_FOLDER
from sluicegate.provision import (
    Adopted,
    Exit,
    Location,
    LogPlace,
    ProvisionError,
    ProvisionRejected,
    Superseded,
    ending,
    following,
    launcher,
    spec,
)
from sluicegate.provision.attempts import Attempt, already_started
from sluicegate.provision.collected import Collected
from sluicegate.provision.folder import (
    EVERY_GENERATION,
    Folder,
    Locked,
    every_folder,
    forget_removed,
)
from sluicegate.provision.logfile import labels_of
from sluicegate.provision.pool import Lost, Pool
from sluicegate.provision.references import References
from sluicegate.provision.users import Users

_log = structlog.get_logger(__name__)

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
    reach: spec.Reach = field(default_factory=spec.Reach)
    """What connectors may reach."""
    log_bytes: int = 1_000_000
    """Size from which a log is rotated; as much again is kept beside it."""
    pool: Pool | None = None
    """Where warm engines come from; whoever gives it keeps it."""


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
        self._pool = self._settings.pool

    async def provision(self, deployment: Deployment, token: str) -> None:
        """Start the deployment's process unless it was started before; return once it is recorded."""
        folder = self._folder(deployment)
        if already_started(folder, deployment.generation):
            return
        if deployment.runtime_config.get("hosts", 1) > 1:
            raise ProvisionRejected("pipelines run on one host here; set runtime_config.hosts to 1")
        if shutil.which(self._command[0]) is None:
            raise ProvisionRejected(f"there is no program {self._command[0]!r} on this host")
        try:
            with self._pool.start_in_progress() if self._pool else contextlib.nullcontext():
                with _explained(folder, hopeless=ProvisionRejected):
                    attempt = await self._begin(deployment, token)
                await attempt.verdict()
        finally:
            if folder.removed:  # a late call has made the folder again
                await asyncio.to_thread(folder.discard)

    async def locate(self, deployment: Addressed) -> Location | None:
        """Read the port that the live process of this generation has written down."""
        folder = self._folder(deployment)
        port = folder.port(deployment.generation)  # first, since this is what is waited for
        if port is None:
            return None
        control = folder.control
        if control is None or control.generation != deployment.generation or not control.alive:
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
            stopped = folder.fenced >= generation
            return Exit(stopped=stopped, traceless=not stopped) if over else None
        if control.generation > generation:
            return Exit(stopped=True)
        if control.alive:
            return None
        await ending.exit_recorded(folder, control)
        status = folder.exit_status(control.attempt)
        tail = await asyncio.to_thread(folder.log.tail, control.log_position, _TAIL_LINES)
        return _exit(status, tail).but(stopped=folder.fenced >= generation)

    async def deprovision(self, deployment: Addressed) -> None:
        """Fence the generation, then end every process up to it."""
        folder = self._folder(deployment)
        if folder.removed:
            return
        generation = deployment.generation
        with _explained(folder):
            await asyncio.to_thread(folder.fence, generation)
            faults.reach(faults.FENCED)
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
            faults.reach(faults.MARKED)
            if folder.root.exists():
                await ending.end(folder, EVERY_GENERATION, grace=self._settings.grace)
            await asyncio.to_thread(folder.discard)
            await asyncio.to_thread(self._users.release, folder.pipeline_id)

    def logs(
        self, pipeline_id: str, *, follow: bool = True, start: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the pipeline's log in chunks of whole lines."""
        folder = Folder(self._home, pipeline_id)
        if start is None:
            return following.follow(folder, forever=follow)
        return following.follow_from(folder, start, forever=follow)

    async def log_place(self, pipeline_id: str, cursor: str) -> LogPlace:
        """Say where a reader of the log begins."""
        return await asyncio.to_thread(following.place, Folder(self._home, pipeline_id), self.host_id, cursor)

    async def keep(self, pipeline_id: str, name: str, data: bytes) -> None:
        """Keep what was collected of a pipeline. Raises FileNotFoundError."""
        await asyncio.to_thread(Collected(Folder(self._home, pipeline_id).root).add, name, data)

    async def kept(self, pipeline_id: str) -> Mapping[str, bytes]:
        """Give what was collected of a pipeline and is kept."""
        return await asyncio.to_thread(Collected(Folder(self._home, pipeline_id).root).all)

    async def adopt(self) -> Sequence[Adopted]:
        """List the deployments of this host that nobody has stopped; tidy up after deleted pipelines."""
        return await asyncio.to_thread(self._adopt)

    async def recorded(self, deployment: Addressed) -> dict[str, Any] | None:
        """Return what the deployment was provisioned with. Raises Superseded where it is being stopped."""
        folder = self._folder(deployment)
        if folder.fenced >= deployment.generation:
            raise Superseded("it is being stopped")
        return await asyncio.to_thread(folder.remembered, deployment.generation)

    async def rotate_logs(self) -> None:
        """Bound the logs of this host; to be called every few seconds."""
        await asyncio.to_thread(self._rotate_logs)

    def _folder(self, deployment: Addressed) -> Folder:
        try:
            return Folder(self._home, deployment.pipeline_id)
        except ValueError:
            raise ProvisionRejected(f"not a pipeline id: {deployment.pipeline_id!r}") from None

    async def _begin(self, deployment: Deployment, token: str) -> Attempt:
        """Write down an attempt and have it carried out: by a warm engine, or else from nothing."""
        folder = self._folder(deployment)
        attempt = await asyncio.to_thread(self._write, folder, deployment, token)
        try:
            if self._pool and await self._pool.take_on(attempt):
                return attempt
        except Lost as lost:
            # Another attempt, since the shim of what was lost may yet write down how the first one ended.
            _log.warning("warm engine lost", pipeline_id=folder.pipeline_id, reason=str(lost))
            attempt = await asyncio.to_thread(self._write, folder, deployment, token)
        await asyncio.to_thread(attempt.begin)
        return attempt

    def _write(self, folder: Folder, deployment: Deployment, token: str) -> Attempt:
        """Write down an attempt."""
        generation = deployment.generation
        uid = self._users.number(folder.pipeline_id)
        folder.furnish(self._users.passage)
        folder.remember(deployment)
        labels = labels_of(folder.pipeline_id, deployment.name)
        folder.log.say(f"provisioning deployment {deployment.deployment_id}, generation {generation}", labels)
        if ignored := spec.ignored(deployment):
            folder.log.say(f"env may not set {', '.join(ignored)}: left out", labels, level="WARN")
        secrets, carriers = spec.carried(self._settings.references.resolve(deployment))
        working = folder.root / "run" / str(generation)
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
        name = f"{generation}.{uuid4().hex[:12]}"
        attempts = folder.root / "attempts"
        config = spec.configuration(deployment, folder.root, token, self._settings.reach)
        config.write(attempts / f"{name}.config")
        launcher.write_whole(attempts / f"{name}.json", json.dumps(told))
        faults.reach(faults.ATTEMPT_WRITTEN)
        return Attempt(folder, generation, name, spec.cookie(deployment), labels, told, secrets)

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


def _clear(folder: Folder, generation: int) -> bool:
    """Set the storage aside while nothing can start, then delete it; say whether there was any."""
    with folder.locked():
        control = folder.control
        if control and control.generation > generation:
            raise Superseded(f"the storage belongs to generation {control.generation}")
        if control and control.alive:
            raise ProvisionError("the pipeline's process still runs")
        found = folder.set_aside(folder.root / STORAGE_FOLDER)
        faults.reach(faults.SET_ASIDE)
    folder.empty_trash()
    return found


def _exit(status: int | None, tail: Sequence[str]) -> Exit:
    """Read a shell's status: above 128 it means a signal, as far as there is such a signal."""
    if status is not None and status > 128:
        with contextlib.suppress(ValueError):
            return Exit(signal=signal.Signals(status - 128).name, log_tail=tail)
    return Exit(exit_code=status, log_tail=tail)


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

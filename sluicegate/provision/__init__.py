"""Where pipelines run: the protocol that every provisioner keeps, in words and types.

A provisioner owns the processes of the pipelines bound to its host. It finds everything by pipeline id
alone and keeps no memory of its own that a crash could lose. Each method is idempotent, and may be called
late, twice, or by a worker that was asleep; the *generation* (an integer that grows with every deployment)
is what protects a newer deployment from an older call:

=============== ========================= ==================================================================
method          called while              promise
=============== ========================= ==================================================================
provision       Provisioning              at most one process of this generation is ever started, and none
                                          once a deprovision of this or a later generation was called (I2)
locate          Provisioning              where that process answers, as soon as it has bound its port
check           Provisioning, Provisioned whether that process lives, or how it ended
deprovision     Stopping                  fences the generation, then ends every process up to it; returns
                                          when none is left
clear_storage   Stopped, Clearing         removes what the pipeline stored; logs and fences stay
remove          after delete              removes everything labelled with the pipeline's id (I6)
logs            any                       the log so far, then what is appended to it
adopt           worker start              what runs here and to which workflow it belongs
recorded        the record is lost        what a deployment was provisioned with, without secrets
=============== ========================= ==================================================================
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sluicegate.lifecycle.effects import Addressed, Deployment
from sluicegate.lifecycle.values import Value

# ProvisionError                 the effect did not happen or is not known to have happened; try again
# ├── ProvisionRejected          trying again cannot help (configuration, missing binary, full disk quota)
# │   └── ReferenceUnresolved    the configuration refers to what this host does not give
# └── Superseded                 a later stop or start has fenced this generation; nothing to do any more


class ProvisionError(Exception):
    """The effect did not happen, or is not known to have happened; it may be tried again."""


class ProvisionRejected(ProvisionError):
    """Trying again cannot help; the text says what to change."""


class ReferenceUnresolved(ProvisionRejected):
    """A `${secret:…}` or `${env:…}` is unknown here or not allowed; the text names it, never a value."""


class Superseded(ProvisionError):
    """A later stop or start has fenced this generation."""


class Location(Value):
    """Where a live process answers."""

    address: str
    """`host:port`."""
    details: dict[str, Any] = {}
    """What a user may see of it in `deployment_resources_status_details`, such as host and pid."""


class Exit(Value):
    """How a process ended."""

    exit_code: int | None = None
    signal: str | None = None
    """Name of the signal that ended it, such as `SIGKILL`."""
    log_tail: Sequence[str] = ()
    """The last lines it wrote."""
    stopped: bool = False
    """Its generation was fenced, or a newer one was started: who still counts on it has missed that."""
    traceless: bool = False
    """Nothing of it is on its host: it was never started there, or its folder is lost."""

    def __str__(self) -> str:
        """Say it in one sentence, followed by the last log lines."""
        if self.stopped:
            return "It was stopped, or deployed again, since the backup was made that its record comes from."
        if self.traceless:
            return "The pipeline process has left no trace: it was never started, or its files are lost."
        how = "in an unknown way (its host was restarted, or nothing recorded its end)"
        if self.signal:
            how = f"by signal {self.signal}"
        elif self.exit_code is not None:
            how = f"with exit code {self.exit_code}"
        tail = "".join(f"\n  {line}" for line in self.log_tail)
        return f"The pipeline process ended {how}." + (f" Last log lines:{tail}" if tail else "")


class Adopted(Addressed):
    """A control file found on this host, and the workflow that it belongs to."""

    workflow_id: str
    alive: bool


class LogPlace(NamedTuple):
    """Where a reader of a log begins (contract §5.8)."""

    start: int
    """For `logs`."""
    epoch: str
    """Which log it is that the lines are counted in."""
    seq: int
    """How many lines are before it."""
    gap: int
    """How many of them the reader has not read, and cannot read any more."""


class Provisioner(Protocol):
    """See the module's table; every method raises ProvisionError when it may be tried again."""

    host_id: str

    async def provision(self, deployment: Deployment, token: str) -> None:
        """Start the deployment's process unless it exists; return once it is started, not ready.

        Raises Superseded when fenced, ProvisionRejected when it can never start.
        """

    async def locate(self, deployment: Addressed) -> Location | None:
        """Say where the process of this generation answers; None while it has not bound its port."""

    async def check(self, deployment: Addressed) -> Exit | None:
        """Return None while the process of this generation lives, else how it ended."""

    async def deprovision(self, deployment: Addressed) -> None:
        """Fence this generation and end every process up to it: TERM, then KILL; return when none is left."""

    async def clear_storage(self, deployment: Addressed) -> None:
        """Remove the pipeline's storage; the process is known to be gone."""

    async def remove(self, deployment: Addressed) -> None:
        """Remove everything that carries the pipeline's id."""

    def logs(
        self, pipeline_id: str, *, follow: bool = True, start: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the log so far in chunks of whole lines, then (follow) what is appended, until removed; from
        a position on only what stands in the log."""

    async def log_place(self, pipeline_id: str, cursor: str) -> LogPlace:
        """Say where a reader begins who has read as far as `<epoch>:<lines>`, or (empty) nothing."""

    async def keep(self, pipeline_id: str, name: str, data: bytes) -> None:
        """Keep what was collected of a pipeline, and forget what is oldest. Raises FileNotFoundError where it
        has never been deployed here."""

    async def kept(self, pipeline_id: str) -> Mapping[str, bytes]:
        """Give what was collected of a pipeline and is kept, newest first."""

    async def adopt(self) -> Sequence[Adopted]:
        """List the deployments of this host that nobody has stopped."""

    async def recorded(self, deployment: Addressed) -> dict[str, Any] | None:
        """Return the `record` of its `Deployment`, with its plan and configuration; None where none was
        written down. Raises Superseded where it is being stopped."""

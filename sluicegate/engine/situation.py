"""The situation of a deployment: what is desired of it, what it has on disk, and how far its opening is.

Opening, serving and suspending share it. What is desired outlives the process, in `status.json`.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.engine import errors
from sluicegate.engine.bootstrap.consent import Consent
from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import Store
from sluicegate.engine.clock import Clock
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.engine.storage import Storage
from sluicegate.engine.stored import Stored

if TYPE_CHECKING:
    from sluicegate.engine.bootstrap.concurrent import Transition

NO_BACKFILL = "Inactive"
NOTHING = Plan((), ())
"""Until the plan is read."""


@dataclass
class Situation:
    """Of one deployment."""

    deployment: Deployment
    clock: Clock
    desired: str
    announce: Callable[[str], None]
    """Says in a line of the log what has happened."""
    plan: Plan = NOTHING
    storage: Storage | None = None
    """None while the folder is not ours yet, and where there is none."""
    live_of: str = ""
    """The deployment that made the live database: this one, or the one that it was taken over from."""
    left: str | None = None
    """The deployment whose live database still lies here, until there is one of our own."""
    settled: bool = False
    """Whether the live database is whole and of our program: until then nothing has been written to it."""
    begins: str | None = None
    """The checkpoint to begin from, whatever was asked for: what the live database of before has become."""
    program: Mapping[str, Any] = field(default_factory=dict)
    """What tells the program of that database, or of our own, from others."""
    checkpoints: tuple[Manifest, ...] = ()
    """Those that `/checkpoints` and `/status` list, the newest first."""
    status: str = "Initializing"
    """What `/status` tells as long as the pipeline is being opened."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Its details: `reason`, `approval_diff`."""
    ahead: tuple[str, Path] | None = None
    """A checkpoint whose database has been put together already, and where; a standby does that."""
    delays: set[str] = field(default_factory=set)
    """Why no checkpoint can be made at present, as the wire has it: `Bootstrapping`, say. See `delay`."""
    heeding: list[Callable[[], None]] = field(default_factory=list)
    """Whom `signal` calls, beside those who wait."""
    stands_by: bool = False
    """Whether it stands by or is taking over: so until it has the marker of an activated standby."""
    ending: bool = False
    """Whether the process is about to end."""
    transition: "Transition | None" = None
    """Where the program before is served while the views of ours are computed."""
    backfill: str = NO_BACKFILL
    """How far that is, as `/stats` has it."""
    consent: Consent = field(init=False)
    """What the user has said about a bootstrap."""
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _remembering: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Begin with what the start said."""
        self.consent = Consent.at_start(self.deployment)

    @property
    def serving(self) -> Plan:
        """Return the program that is served."""
        return self.plan if self.transition is None else self.transition.plan

    @property
    def store(self) -> Store | None:
        """Return where checkpoints are kept, None where there is no storage."""
        return None if self.storage is None else self.storage.store

    async def moved(self) -> None:
        """Wait until something has changed that is desired; raises where the process is about to end."""
        self.check_going_on()
        await self._moved.wait()
        self.check_going_on()

    def check_going_on(self) -> None:
        """Raise where the process is about to end: an opening goes no further."""
        if self.ending:
            raise errors.terminating()

    def signal(self) -> None:
        """Have those look again who wait for `moved`; on the event loop."""
        self._moved.set()
        self._moved = asyncio.Event()
        for heed in self.heeding:
            heed()

    def delay(self, reason: str, *, over: bool = False) -> None:
        """Have no checkpoint be made for a reason, until that is over; on the event loop."""
        if over:
            self.delays.discard(reason)
        else:
            self.delays.add(reason)
        self.signal()

    def show(self, status: str, details: Mapping[str, Any] | None = None) -> None:
        """Have `/status` tell this as long as the pipeline is being opened."""
        self.status, self.details = status, details or {}

    def approve(self, *, silent: bool, concurrent: bool) -> None:
        """Take an approval of the bootstrap; on the event loop."""
        self.consent = Consent.by_approval(silent=silent, concurrent=concurrent)
        self.remember()
        self.signal()

    def wish(self, desired: str) -> None:
        """Desire something else, on the event loop. Where that cannot be kept, nothing changes."""
        before, self.desired = self.desired, desired
        try:
            self.remember()
        except OSError as error:
            self.desired = before
            message = f"The status cannot be kept on the disk, so {before} is still desired: {error}"
            raise EngineError(500, "StorageError", message, {"error": str(error)}) from error
        self.signal()

    def own(self) -> Stored:
        """Return the program of this deployment."""
        config = self.deployment.config
        return Stored(self.plan.digest(), config.program_version, config.plan)

    def served(self) -> Stored:
        """Return the program that the live database is of once it is ours."""
        return self.own() if self.transition is None else self.transition.stored

    def settle(self) -> None:
        """Have the database be ours from now on, and nothing be left of the one before; in a thread."""
        own = self.served()
        self.left, self.begins, self.settled = None, None, True
        self.program = own.told()
        self.remember()
        if self.storage is not None:
            self.storage.drop_other_live(self.live_of)

    def list_checkpoints(self) -> None:
        """Look which checkpoints there are, in a thread."""
        if self.store is not None:
            self.checkpoints = self.store.listing().manifests

    def remember(self) -> None:
        """Keep what is desired; the loop and a thread may do so at the same time."""
        if self.storage is None:
            return
        with self._remembering:  # from before it is looked at, or what comes meanwhile would be overwritten
            self.storage.write_status(
                {
                    "desired_status": self.desired,
                    **self.consent.to_status(),
                    "deployment_id": self.deployment.deployment_id,
                    "live": self.live_of,
                    "left": self.left,
                    "settled": self.settled,
                    "begins": self.begins,
                    "stands_by": self.stands_by,
                    **self.program,
                }
            )

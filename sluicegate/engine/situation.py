"""The situation of a deployment: what is desired of it, what it has on disk, and how far its opening is.

Opening, serving and suspending share it. What is desired outlives the process, in `status.json`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluicegate.engine import errors, origin
from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import Store
from sluicegate.engine.clock import Clock
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.plan import Plan
from sluicegate.engine.storage import Storage

NOTHING = Plan((), ())
"""Until the plan is read."""


@dataclass
class Situation:
    """Of one deployment."""

    deployment: Deployment
    clock: Clock
    desired: str
    plan: Plan = NOTHING
    storage: Storage | None = None
    """None while the folder is not ours yet, and where there is none."""
    live_of: str = ""
    """The deployment that made the live database."""
    checkpoints: tuple[Manifest, ...] = ()
    """Those that `/checkpoints` and `/status` list, the newest first."""
    status: str = "Initializing"
    """What `/status` tells as long as the pipeline is being opened."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Its details: `reason`, `approval_diff`."""
    ahead: tuple[str, Path] | None = None
    """A checkpoint whose database has been put together already, and where; a standby does that."""
    ending: bool = False
    """Whether the process is about to end."""
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

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

    def wish(self, desired: str) -> None:
        """Desire something else from now on; on the event loop."""
        self.desired = desired
        self.remember()
        self.signal()

    def list_checkpoints(self) -> None:
        """Look which checkpoints there are, in a thread."""
        if self.store is not None:
            self.checkpoints = self.store.listing().manifests

    def remember(self) -> None:
        """Keep what is desired."""
        if self.storage is not None:
            self.storage.write_status(
                {
                    "desired_status": self.desired,
                    "bootstrap_policy": self.deployment.bootstrap_policy,
                    "silent_bootstrap": self.deployment.silent_bootstrap,
                    "concurrent_bootstrap": self.deployment.concurrent_bootstrap,
                    "deployment_id": self.deployment.deployment_id,
                    "live": self.live_of,
                    **origin.program_of(self.deployment.config, self.plan.digest()),
                }
            )

"""Opening: from the start of a process until there is a database to take steps on.

    heed the past ─► fetch ─► choose ─► compare ─► restore ─► open, migrate
                       │                   │                      │
            remote, standby        bootstrap: diff,        bootstrap: what
                                   approval                changed is made anew

Each is a step of `Opening.run`, in this order; those that wait are coroutines, those that work are in
threads. A step that cannot go on raises, and that becomes the state of the pipeline. Between steps, and
wherever one waits (`Situation.moved`), an opening ends when the process is told to.

`fetch` is called once the folder is ours; it may bring checkpoints into the store, wait as a standby, and
leave a database put together in `situation.ahead`. `decide` is called where there is a state to begin from;
it may wait, and may refuse.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sluicegate import faults
from sluicegate.engine import inheritance, origin
from sluicegate.engine.bootstrap.deciding import decide
from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import CheckpointError
from sluicegate.engine.deployment import NO_CHECKPOINT
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.engine.situation import Situation
from sluicegate.engine.storage import Storage, StorageError
from sluicegate.engine.stored import Stored

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from sluicegate.engine.database import Database

ALLOWED_AT_START = {
    # What was desired when an earlier deployment ended: what this one may begin with.
    "Suspended": {"Running", "Paused"},
    "Running": {"Running", "Paused"},
    "Paused": {"Running", "Paused"},
    "Standby": {"Standby", "Running", "Paused"},
}


class Migration(Protocol):
    """How a database of one program becomes one of another."""

    def apply(self, connection: "DuckDBPyConnection") -> None:
        """Change it, within the transaction that then makes what is not there yet."""


Fetch = Callable[[Situation], Awaitable[None]]


class Opening:
    """The opening of one deployment."""

    def __init__(self, situation: Situation, fetch: Fetch) -> None:
        self._situation = situation
        self._fetch = fetch

    async def run(self) -> "Database | None":
        """Return the database, open; None where this deployment had been suspended already."""
        situation = self._situation
        await asyncio.to_thread(self._heed_the_past)
        await self._fetch(situation)
        situation.check_going_on()
        situation.remember()
        if self._ended_suspended():
            return None
        manifest = await asyncio.to_thread(self._choose)
        migration = None
        if manifest is not None:
            stored = Stored(manifest.plan_digest, manifest.program_version, manifest.plan)
            migration = await decide(situation, stored)
        situation.check_going_on()
        return await asyncio.to_thread(self._open, manifest, migration)

    def _heed_the_past(self) -> None:
        """Take the folder, and apply the start-up rule: the same deployment goes on as it was."""
        situation, deployment = self._situation, self._situation.deployment
        situation.plan = Plan.from_json(deployment.config.plan)
        if deployment.config.storage_config is None:
            return
        storage = Storage(Path(deployment.config.storage_config["path"]))
        past = self._past(storage)
        if past is not None:
            self._go_on_from(past, storage)
        situation.storage = storage  # from here on the status is written, and is this deployment's
        situation.list_checkpoints()

    def _past(self, storage: Storage) -> Mapping[str, Any] | None:
        """Return the status of before. Where it is damaged, a start that says what to begin from needs none,
        unless it is a restart: then there is a live database, which counts for more."""
        deployment = self._situation.deployment
        try:
            return storage.read_status()
        except StorageError as error:
            if deployment.checkpoint is None or storage.live(deployment.deployment_id).exists():
                advice = "`checkpoint=UUID` chooses what a new start begins from, `checkpoint=none` nothing"
                raise StorageError(f"{error}; {advice}") from error
            self._situation.announce(f"{error}; this start has said what it begins from, and goes on")
            return None

    def _go_on_from(self, past: Mapping[str, Any], storage: Storage) -> None:
        situation, before = self._situation, past["desired_status"]
        situation.program = {key: past.get(key) for key in ("program_version", "plan_digest")}
        live = str(past.get("live") or past["deployment_id"])
        if past["deployment_id"] == situation.deployment.deployment_id:
            situation.desired, situation.live_of, situation.left = before, live, past.get("left")
            situation.consent = situation.consent.or_remembered(past)
            situation.settled, situation.begins = past.get("settled", True), past.get("begins")
            situation.stands_by = past.get("stands_by", situation.deployment.initial == "standby")
            return
        if situation.desired not in ALLOWED_AT_START.get(before, set()):
            message = f"a pipeline that was {before} cannot start as {situation.desired}"
            raise EngineError(500, "InvalidStartupTransition", message, [before, situation.desired])
        # What an opening that was cut short has put together is nothing to go on with.
        whole = past.get("settled", True) and storage.live(live).exists()
        situation.left = live if whole else past.get("left")

    def _ended_suspended(self) -> bool:
        """Tell whether this deployment had finished suspending: its live database is gone."""
        situation = self._situation
        if situation.storage is None or situation.desired != "Suspended" or not situation.settled:
            return False
        return not situation.storage.live(situation.live_of).exists()

    def _choose(self) -> Manifest | None:
        """Return the checkpoint to begin from; None where there is a live database, or nothing at all."""
        situation, storage = self._situation, self._situation.storage
        if storage is None:
            if situation.deployment.checkpoint not in (None, NO_CHECKPOINT):
                raise CheckpointError("the pipeline has no storage, and so no checkpoint to start from")
            return None
        if not situation.settled:
            storage.drop_live(situation.deployment.deployment_id)  # an opening was cut short: it begins anew
        storage.drop_unmade(situation.live_of)
        if storage.live(situation.live_of).exists():
            if situation.program == situation.own().told():
                return None
            # A concurrent bootstrap was cut short: it begins again with what there was then.
            return inheritance.make_checkpoint(situation, storage, situation.live_of)
        if situation.begins is not None:
            return origin.found(storage.store.listing(), situation.begins)
        if origin.takes_over(situation.deployment) and inheritance.takes_over(situation, storage):
            return None
        return origin.chosen(situation.deployment, storage.store.listing())

    def _open(self, manifest: Manifest | None, migration: Migration | None) -> "Database":
        from sluicegate.engine.database import Database

        situation = self._situation
        live = temp = None
        if situation.storage is not None:
            live, temp = situation.storage.live(situation.live_of), situation.storage.temp
            if manifest is not None:
                self._restore(situation.storage, manifest)
        database = Database.open(live, temp, situation.deployment.config.runtime_config)
        database.prepare(situation.serving, situation.clock, situation.served(), migration)
        faults.reach(faults.RESTORE_PREPARED)
        situation.settle()
        faults.reach(faults.RESTORE_SETTLED)
        return database

    def _restore(self, storage: Storage, manifest: Manifest) -> None:
        """Put the database together where the live one is; it appears there whole or not at all."""
        ahead = self._situation.ahead
        if ahead is not None and ahead[0] == manifest.uuid:
            fresh = ahead[1]
        else:
            fresh = storage.restoring
            try:
                storage.store.assemble(manifest, fresh)
            except CheckpointError as error:
                raise origin.explained(error, storage.store.listing(), manifest.uuid) from error
        faults.reach(faults.RESTORE_ASSEMBLED)
        storage.put_live(fresh, self._situation.live_of)
        faults.reach(faults.RESTORE_PLACED)

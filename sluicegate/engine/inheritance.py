"""What the deployment before left behind: its live database goes on, or becomes a checkpoint.

Only with fault tolerance: what was acknowledged is in that database, be it newer than every checkpoint.
"""

from sluicegate.engine.checkpoints.manifest import Manifest, draft
from sluicegate.engine.situation import Situation
from sluicegate.engine.storage import Storage
from sluicegate.engine.stored import Stored


def is_left(situation: Situation, storage: Storage) -> bool:
    """Tell whether there is a database that was left."""
    if situation.left is None:
        return False
    storage.drop_unmade(situation.left)
    return storage.live(situation.left).exists()


def takes_over(situation: Situation, storage: Storage) -> bool:
    """Tell whether a database that was left goes on as ours.

    Where its program is another one it does not, and there is a checkpoint of it afterwards.
    """
    left = situation.left
    if left is None or not is_left(situation, storage):
        return False
    if situation.program == situation.own().told():
        situation.live_of, situation.left, situation.settled = left, None, True
        return True
    make_checkpoint(situation, storage, left)
    return False


def make_checkpoint(situation: Situation, storage: Storage, left: str) -> Manifest:
    """Turn a live database that was left into a checkpoint of its program, from which this deployment goes
    on, whenever that is cut short."""
    from sluicegate.engine.database import Database

    database = Database.open(storage.live(left), storage.temp, situation.deployment.config.runtime_config)
    try:
        program = database.program() or _told(situation)
        made = draft(situation.deployment.config.name, program, *database.progress())
        database.fold_and_close()
    except BaseException:
        database.close()
        raise
    whole = storage.store.save(storage.store.begin(storage.live(left)), made)
    assert whole is not None  # nobody tells it to go no further
    situation.left, situation.settled, situation.begins = None, False, whole.uuid
    situation.list_checkpoints()
    situation.remember()
    storage.drop_live(left)
    return whole


def _told(situation: Situation) -> Stored:
    """Return the program as the status has it, for a database that an earlier release has made."""
    before = situation.program
    return Stored(str(before.get("plan_digest")), int(before.get("program_version") or 0), None)

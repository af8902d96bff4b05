"""Who may push into a bucket, and which checkpoint was pushed last: `owner.json` (contract §9.5).

The object names the pipeline, the generation of its deployment, and the newest checkpoint. A push is done
when it has written the object over the very version that it had read, so of two pushes at once one comes
through, and a push of an earlier deployment, however late, never does. Who reads takes the newest from there,
and not from what else may lie in the bucket. Where a server knows no conditional writes the object is read
just before and just after it is written, which leaves a gap of milliseconds.
"""

import json
from dataclasses import asdict, dataclass, replace

from sluicegate.engine.checkpoints.manifest import is_uuid
from sluicegate.engine.remote.bucket import Bucket
from sluicegate.engine.remote.failures import Conflict, Damaged, Missing, Refused

KEY = "owner.json"
TRIES = 5
"""Of a claim: each further one follows a write of somebody else between reading and writing."""


@dataclass(frozen=True)
class Owner:
    """Whose a bucket is."""

    pipeline: str
    generation: int
    deployment_id: str
    newest: str | None = None

    def written(self) -> bytes:
        """Return the object's content."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Held:
    """An owner, and the version of the object that says so."""

    owner: Owner
    tag: str | None


async def read(bucket: Bucket) -> Held | None:
    """Return whose a bucket is, None where nobody has pushed; raises Damaged."""
    try:
        found = await bucket.read(KEY)
    except Missing:
        return None
    try:
        raw = json.loads(found.data)
        newest = raw.get("newest")
        if newest is not None and not is_uuid(newest):
            raise ValueError(f"{newest!r} is no uuid of a checkpoint")
        owner = Owner(str(raw["pipeline"]), int(raw["generation"]), str(raw["deployment_id"]), newest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"bucket '{bucket.place}': {KEY} is damaged, or not one of a pipeline") from error
    return Held(owner, found.tag)


async def claim(bucket: Bucket, me: Owner) -> Held:
    """Make a bucket one's own, or find that it is; raises Refused."""
    for _ in range(TRIES):
        held = await read(bucket)
        if held is not None:
            _check(bucket, held.owner, me)
            if held.owner.generation == me.generation and held.owner.deployment_id == me.deployment_id:
                return held
        try:
            wanted = me if held is None else replace(me, newest=held.owner.newest)
            await _write(bucket, wanted, None if held is None else held.tag)
        except Conflict:
            continue  # it is read again, and may be one's own: an answer may have been lost
    raise Refused(f"bucket '{bucket.place}' is being claimed by others at the same time")


async def commit(bucket: Bucket, held: Held, newest: str) -> None:
    """Make a checkpoint the newest; raises Refused where the bucket is another's by now."""
    wanted = replace(held.owner, newest=newest)
    try:
        await _write(bucket, wanted, held.tag)
    except Conflict:
        found = await read(bucket)
        if found is not None and found.owner == wanted:
            return  # it came through, and its answer was lost
        raise Refused(
            f"bucket '{bucket.place}' was taken over while a checkpoint was pushed, which does not count"
        ) from None


async def _write(bucket: Bucket, owner: Owner, over: str | None) -> None:
    await bucket.write(KEY, owner.written(), over=over)
    found = await read(bucket)
    if found is None or found.owner != owner:
        raise Conflict(f"bucket '{bucket.place}': {KEY} was written by somebody else at the same time")


def _check(bucket: Bucket, found: Owner, me: Owner) -> None:
    if found.pipeline != me.pipeline:
        raise Refused(
            f"bucket '{bucket.place}' belongs to {found.pipeline}: two pipelines cannot write the same "
            f"one, so give {me.pipeline} a bucket or a prefix of its own"
        )
    if found.generation > me.generation:
        raise Refused(
            f"bucket '{bucket.place}' belongs to a later deployment of this pipeline "
            f"({found.deployment_id}); this one pushes no more"
        )

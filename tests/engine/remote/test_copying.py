"""Checkpoints there and back: what is copied, what is not, and what is broken on the way."""

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluicegate.engine.checkpoints.manifest import BLOCK, Manifest
from sluicegate.engine.remote import layout, owner
from sluicegate.engine.remote.bucket import Bucket, Buckets, connected
from sluicegate.engine.remote.failures import Damaged, Missing, Refused, RemoteError
from sluicegate.engine.remote.owner import Owner
from sluicegate.engine.remote.pull import Pulled, Puller
from sluicegate.engine.remote.push import Pusher
from sluicegate.engine.remote.retention import Retention
from tests.engine.remote.breaking import breaking
from tests.engine.remote.conftest import LOOPBACK, config
from tests.engine.remote.copies import Shelf

ME = Owner("pipeline-1", generation=1, deployment_id="one")
NOBODY = "0190a0c2-0000-7000-8000-000000000000"


@pytest.fixture
def primary(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "primary")


@pytest.fixture
def standby(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "standby")


async def push(shelf: Shelf, bucket: Bucket, manifest: Manifest, me: Owner = ME, **more: Any) -> int:
    """Push a checkpoint; returns the bytes that were sent."""
    sent: list[int] = []
    given = config("http://127.0.0.1", "bucket", **more)
    said: list[str] = []
    await Pusher(me, shelf.store, given, said.append).push(bucket, manifest.uuid, sent.append)
    assert not said
    return sum(sent)


async def pull(
    shelf: Shelf, own: Bucket, wanted: str = "latest", seed: Bucket | None = None
) -> tuple[Pulled | None, int]:
    """Pull a checkpoint; returns it and the bytes that have come."""
    received: list[int] = []
    found = await Puller(shelf.store, transfers=4).pull(Buckets(own, seed), wanted, received.append)
    return found, sum(received)


async def test_only_what_has_changed_is_copied(primary: Shelf, standby: Shelf, bucket: Bucket) -> None:
    first = primary.grow(300)  # in two segments
    assert await push(primary, bucket, first) > 300 * BLOCK
    found, received = await pull(standby, bucket)
    assert found is not None
    assert (found.manifest, found.owner) == (first, "pipeline-1")
    assert received > 300 * BLOCK
    assert standby.content(first) == primary.file.read_bytes()
    second = primary.grow(2)
    assert await push(primary, bucket, second) < 3 * BLOCK
    found, received = await pull(standby, bucket)
    assert found is not None
    assert received < 3 * BLOCK
    assert standby.content(second) == primary.file.read_bytes()
    assert await push(primary, bucket, second) < BLOCK  # its manifest only
    assert (await pull(standby, bucket))[1] == 0


async def test_which_one_is_pulled(primary: Shelf, standby: Shelf, bucket: Bucket) -> None:
    assert await pull(standby, bucket) == (None, 0)
    first, second = primary.grow(), primary.grow()
    await push(primary, bucket, first)
    await push(primary, bucket, second)
    found, _ = await pull(standby, bucket, first.uuid)
    assert found is not None
    assert found.manifest.uuid == first.uuid
    assert await pull(standby, bucket, NOBODY) == (None, 0)
    await bucket.delete([owner.KEY])  # copied here by hand
    found, _ = await pull(standby, bucket)
    assert found is not None
    assert found.manifest.uuid == second.uuid


async def test_an_older_one_that_was_asked_for_stays(primary: Shelf, standby: Shelf, bucket: Bucket) -> None:
    old = primary.grow()
    await push(primary, bucket, old)
    newer = [standby.grow() for _ in range(3)]
    found, _ = await pull(standby, bucket, old.uuid)
    assert found is not None
    assert standby.content(old) == primary.file.read_bytes()
    assert [each.uuid for each in standby.store.listing().manifests] == [
        *(each.uuid for each in reversed(newer[1:])),
        old.uuid,
    ]


async def test_the_own_bucket_comes_first(
    primary: Shelf, standby: Shelf, bucket: Bucket, seed: Bucket
) -> None:
    first, second = primary.grow(), primary.grow()
    await push(primary, seed, second)
    found, _ = await pull(standby, bucket, seed=seed)
    assert found is not None
    assert (found.manifest.uuid, found.place) == (second.uuid, str(seed.place))
    await push(primary, bucket, first)
    found, _ = await pull(standby, bucket, seed=seed)
    assert found is not None
    assert (found.manifest.uuid, found.place) == (first.uuid, str(bucket.place))


async def test_the_read_bucket_comes_first_where_it_is_followed(
    primary: Shelf, standby: Shelf, bucket: Bucket, seed: Bucket
) -> None:
    before, since = primary.grow(), primary.grow()
    await push(primary, bucket, before)
    follow = partial(Puller(standby.store, 4).pull, Buckets(bucket, seed), "latest", following=True)
    found = await follow(received=lambda _: None)
    assert found is not None
    assert (found.manifest.uuid, found.place) == (before.uuid, str(bucket.place))
    await push(primary, seed, since)
    found = await follow(received=lambda _: None)
    assert found is not None
    assert (found.manifest.uuid, found.place) == (since.uuid, str(seed.place))


async def test_a_late_push_of_an_old_primary_does_not_count(
    primary: Shelf, standby: Shelf, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, late, newer = primary.grow(), primary.grow(), primary.grow()
    await push(primary, bucket, first)
    upload = bucket.replace

    async def meanwhile(key: str, data: bytes) -> None:
        monkeypatch.undo()
        await push(primary, bucket, newer, Owner("pipeline-1", generation=2, deployment_id="two"))
        await upload(key, data)

    monkeypatch.setattr(bucket, "replace", meanwhile)
    with pytest.raises(Refused, match="was taken over"):
        await push(primary, bucket, late)
    with pytest.raises(Refused, match="a later deployment"):
        await push(primary, bucket, late)
    assert layout.uuids(await bucket.list(layout.CHECKPOINTS)) == {first.uuid, newer.uuid}
    found, _ = await pull(standby, bucket)
    assert found is not None
    assert standby.content(found.manifest) == primary.content(newer)


async def test_a_bucket_has_one_pipeline(primary: Shelf, bucket: Bucket) -> None:
    made = primary.grow()
    await push(primary, bucket, made)
    before = await everything(bucket)
    with pytest.raises(Refused, match="give pipeline-2 a bucket or a prefix of its own"):
        await push(primary, bucket, primary.grow(), Owner("pipeline-2", 9, "nine"))
    assert await everything(bucket) == before


async def everything(bucket: Bucket) -> set[str]:
    """Return the names of all segments and checkpoints."""
    return {*await bucket.list(layout.SEGMENTS), *await bucket.list(layout.CHECKPOINTS)}


async def _truncated(bucket: Bucket, key: str) -> None:
    found = await bucket.read(key)
    await bucket.replace(key, found.data[: len(found.data) // 2])


async def _altered(bucket: Bucket, key: str) -> None:
    found = await bucket.read(key)
    await bucket.replace(key, found.data[:-9] + b"x" + found.data[-8:])


async def _removed(bucket: Bucket, key: str) -> None:
    await bucket.delete([key])


@pytest.mark.parametrize("which", [layout.SEGMENTS, layout.CHECKPOINTS])
@pytest.mark.parametrize("harm", [_truncated, _altered, _removed])
async def test_a_broken_object_is_found_and_harms_nothing(
    primary: Shelf, standby: Shelf, bucket: Bucket, which: str, harm: Callable[..., Any]
) -> None:
    first = primary.grow()
    await push(primary, bucket, first)
    await pull(standby, bucket)
    kept = standby.content(first)
    second = primary.grow()
    await push(primary, bucket, second)
    old = (first.uuid, first.segments[0][:36])
    [name] = {name for name in await bucket.list(which) if name[:36] not in old}
    key = f"{which}/{name}"
    good = await bucket.read(key)
    await harm(bucket, key)
    with pytest.raises((Damaged, Missing), match=name[:36]):
        await pull(standby, bucket)
    assert [each.uuid for each in standby.store.listing().manifests] == [first.uuid]
    assert standby.content(first) == kept
    assert not [path for path in standby.store.folder.rglob(".*")]
    await bucket.replace(key, good.data)
    await pull(standby, bucket)
    assert standby.content(second) == primary.file.read_bytes()


async def test_a_forged_manifest_reaches_no_other_file(
    primary: Shelf, standby: Shelf, bucket: Bucket, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("somebody's")
    made = primary.grow()
    await push(primary, bucket, made)
    path = f"./../../../{victim.name}"
    forged = replace(made, blocks=tuple(replace(place, segment=path) for place in made.blocks)).sealed()
    assert standby.store.segments.path(path).resolve() == victim
    await bucket.replace(layout.manifest(made.uuid), forged.to_text().encode())
    await bucket.replace(f"{layout.SEGMENTS}/{victim.name}", b"anything")
    with pytest.raises(Damaged, match=made.uuid):
        await pull(standby, bucket)
    assert victim.read_text() == "somebody's"


@pytest.mark.parametrize("blocks", [0, 1, 2.5])
async def test_a_segment_that_is_cut_short_here_is_brought_again(
    primary: Shelf, standby: Shelf, bucket: Bucket, blocks: float
) -> None:
    first = primary.grow(3)
    await push(primary, bucket, first)
    await pull(standby, bucket)
    [name] = first.segments
    os.truncate(standby.store.segments.path(name), int(blocks * BLOCK))
    found, received = await pull(standby, bucket)  # the very checkpoint that is here
    assert found is not None
    assert received > 3 * BLOCK
    assert standby.content(first) == primary.content(first)
    os.truncate(standby.store.segments.path(name), int(blocks * BLOCK))
    second = primary.grow(3)
    await push(primary, bucket, second)
    await pull(standby, bucket)
    assert standby.content(second) == primary.content(second)


async def test_an_owner_names_a_checkpoint_and_no_path(
    primary: Shelf, standby: Shelf, bucket: Bucket
) -> None:
    await push(primary, bucket, primary.grow())
    await bucket.replace(owner.KEY, replace(ME, newest="../../../secret").written())
    with pytest.raises(Damaged, match=owner.KEY):
        await pull(standby, bucket)


async def test_what_is_no_checkpoint_is_left_alone(standby: Shelf, bucket: Bucket) -> None:
    await bucket.replace(f"{layout.CHECKPOINTS}/{'z' * 36}{layout.ENDING}", b"{}")
    assert await pull(standby, bucket) == (None, 0)


async def test_what_is_broken_here_is_not_pushed(primary: Shelf, bucket: Bucket) -> None:
    made = primary.grow()
    path = primary.store.segments.path(made.segments[0])
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(RemoteError, match="is damaged"):
        await push(primary, bucket, made)
    assert await everything(bucket) == set()
    path.write_bytes(good)
    await push(primary, bucket, made)


async def test_what_is_not_here_is_not_pushed(primary: Shelf, bucket: Bucket) -> None:
    gone = primary.grow()
    primary.grow()
    primary.store.retain(1)
    with pytest.raises(RemoteError, match="it is gone"):
        await push(primary, bucket, gone)


async def test_a_full_disk(
    primary: Shelf, standby: Shelf, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = primary.grow()
    await push(primary, bucket, made)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=BLOCK))
    with pytest.raises(RemoteError, match=f"needs {3 * BLOCK} bytes .* where {BLOCK} are free"):
        await pull(standby, bucket)
    monkeypatch.undo()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sluicegate.engine.remote.receiving.Receiver.take", full)
    with pytest.raises(RemoteError, match="No space left on device"):
        await pull(standby, bucket)
    monkeypatch.undo()
    assert not [path for path in standby.store.folder.rglob("*") if path.is_file()]
    found, _ = await pull(standby, bucket)
    assert found is not None
    assert standby.content(made) == primary.file.read_bytes()


async def test_old_ones_go_with_what_only_they_need(primary: Shelf, bucket: Bucket) -> None:
    made = [primary.grow() for _ in range(4)]
    for each in made:
        await push(primary, bucket, each, retention_min_count=1)
    assert len(layout.uuids(await bucket.list(layout.CHECKPOINTS))) == 4  # they are too young
    await bucket.replace(layout.segment("0" * 64), b"a push was cut short")
    retention = Retention(config("http://127.0.0.1", "bucket", retention_min_count=2, retention_min_age=1))
    now = datetime.now(UTC)
    await retention.apply(bucket, made[-1].uuid, now + timedelta(hours=23))
    assert len(await bucket.list(layout.SEGMENTS)) == 5
    await retention.apply(bucket, made[-1].uuid, now + timedelta(days=2))
    assert layout.uuids(await bucket.list(layout.CHECKPOINTS)) == {each.uuid for each in made[2:]}
    kept = {name for each in made[2:] for name in each.segments}
    assert (await bucket.list(layout.SEGMENTS)).keys() == kept


async def test_a_push_counts_though_old_ones_cannot_be_removed(
    primary: Shelf, standby: Shelf, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_: Any) -> None:
        raise RemoteError("you may not delete")

    monkeypatch.setattr(bucket, "delete", refused)
    given = config("http://127.0.0.1", "bucket", retention_min_count=1, retention_min_age=0)
    said: list[str] = []
    pusher = Pusher(ME, primary.store, given, said.append)
    for _ in range(2):
        newest = primary.grow()
        await pusher.push(bucket, newest.uuid, lambda _: None)
    assert len(said) == 1
    assert "you may not delete" in said[0]
    found, _ = await pull(standby, bucket)
    assert found is not None
    assert found.manifest.uuid == newest.uuid


async def test_nothing_goes_that_a_damaged_one_may_need(primary: Shelf, bucket: Bucket) -> None:
    made = [primary.grow() for _ in range(3)]
    for each in made:
        await push(primary, bucket, each)
    await _truncated(bucket, layout.manifest(made[1].uuid))
    retention = Retention(config("http://127.0.0.1", "bucket", retention_min_count=2, retention_min_age=0))
    before = await bucket.list(layout.SEGMENTS)
    await retention.apply(bucket, made[-1].uuid, datetime.now(UTC) + timedelta(days=2))
    assert layout.uuids(await bucket.list(layout.CHECKPOINTS)) == {each.uuid for each in made[1:]}
    assert await bucket.list(layout.SEGMENTS) == before


async def test_nothing_is_removed_here_while_it_is_pushed(
    primary: Shelf, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = primary.grow()
    upload = bucket.upload

    async def slowly(key: str, path: Path) -> None:
        primary.grow()
        await asyncio.to_thread(primary.store.retain, 1)
        await upload(key, path)

    monkeypatch.setattr(bucket, "upload", slowly)
    await push(primary, bucket, made)


async def test_a_server_that_breaks_off_in_the_middle(
    primary: Shelf, standby: Shelf, server: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.engine.remote.bucket.RETRIES", 1)
    made = primary.grow(40)
    async with breaking(server) as way, connected(config(way.url, place), LOOPBACK) as buckets:
        way.limit = 1 << 20
        with pytest.raises(RemoteError, match=r"writing 'segments/\w+' failed"):
            await push(primary, buckets.own, made)
        assert await pull(standby, buckets.own) == (None, 0)
        way.limit = None
        await push(primary, buckets.own, made)
        way.limit = 1 << 20
        with pytest.raises(RemoteError, match=r"reading 'segments/\w+' failed"):
            await pull(standby, buckets.own)
        assert not standby.store.listing().manifests
        assert way.broken
        way.limit = None
        found, _ = await pull(standby, buckets.own)
    assert found is not None
    assert standby.content(made) == primary.file.read_bytes()

"""Whose a bucket is: one pipeline's, its latest deployment's, and nobody's who comes late."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from obstore.exceptions import NotSupportedError

from sluicegate.engine.remote import owner
from sluicegate.engine.remote.bucket import Bucket
from sluicegate.engine.remote.failures import Damaged, Refused
from sluicegate.engine.remote.owner import Owner

FIRST = Owner("pipeline-1", generation=3, deployment_id="three")
LATER = Owner("pipeline-1", generation=4, deployment_id="four")
OTHER = Owner("pipeline-2", generation=9, deployment_id="nine")
UUIDS = [f"0190a0c2-0000-7000-8000-{n:012}" for n in range(3)]


async def test_the_first_push_owns_the_bucket(bucket: Bucket) -> None:
    assert await owner.read(bucket) is None
    held = await owner.claim(bucket, FIRST)
    await owner.commit(bucket, held, UUIDS[0])
    assert (await owner.claim(bucket, FIRST)).owner == replace(FIRST, newest=UUIDS[0])
    with pytest.raises(Refused, match="belongs to pipeline-1"):
        await owner.claim(bucket, OTHER)


async def test_an_earlier_deployment_comes_too_late(bucket: Bucket) -> None:
    early = await owner.claim(bucket, FIRST)
    await owner.commit(bucket, early, UUIDS[0])
    early = await owner.claim(bucket, FIRST)
    late = await owner.claim(bucket, LATER)
    assert late.owner.newest == UUIDS[0]
    with pytest.raises(Refused, match="was taken over"):
        await owner.commit(bucket, early, UUIDS[2])
    await owner.commit(bucket, late, UUIDS[1])
    with pytest.raises(Refused, match="a later deployment"):
        await owner.claim(bucket, FIRST)
    found = await owner.read(bucket)
    assert found is not None
    assert found.owner == replace(LATER, newest=UUIDS[1])


async def test_of_many_at_once_one_owns_it(bucket: Bucket) -> None:
    many = [Owner(f"pipeline-{n}", generation=1, deployment_id=str(n)) for n in range(8)]
    answers = await asyncio.gather(*(owner.claim(bucket, each) for each in many), return_exceptions=True)
    assert [type(answer) for answer in answers].count(Refused) == len(many) - 1


async def test_something_else_of_that_name(bucket: Bucket) -> None:
    await bucket.replace(owner.KEY, b"[]")
    with pytest.raises(Damaged):
        await owner.claim(bucket, FIRST)


class Unconditional:
    """A server that knows no conditional writes."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def put_async(self, key: str, data: bytes, *, mode: Any = None) -> Any:
        """Write, unless there is a condition."""
        if mode is not None:
            raise NotSupportedError("no conditions")
        return await self._store.put_async(key, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_server_without_conditional_writes(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "_store", Unconditional(bucket._store))
    held = await owner.claim(bucket, FIRST)
    await owner.commit(bucket, held, UUIDS[0])
    with pytest.raises(Refused, match="belongs to pipeline-1"):
        await owner.claim(bucket, OTHER)
    early = await owner.claim(bucket, FIRST)
    await owner.claim(bucket, LATER)
    with pytest.raises(Refused, match="was taken over"):
        await owner.commit(bucket, early, UUIDS[2])
    with pytest.raises(Refused, match="a later deployment"):
        await owner.claim(bucket, FIRST)

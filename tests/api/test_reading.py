"""What the front end does when an answer gets lost, and what it remembers of what it wrote."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest

from api import listing, reading
from api.listing import Listing
from api.reading import Reader
from api.rpc import BufferFull, Late
from sluicegate import errors


@pytest.mark.parametrize("trouble", [BufferFull(), Late("The workflow is beginning a new history.")])
async def test_a_query_that_got_lost_is_asked_again(trouble: Exception) -> None:
    rpc = AsyncMock()
    rpc.query.side_effect = [trouble, {"id": "some"}]
    assert await Reader(rpc).kept("tenant", "name") == {"id": "some"}
    assert rpc.query.await_count == 2


async def test_nobody_who_answers_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "DESCRIPTOR_WITHIN", 0.2)
    rpc = AsyncMock()
    rpc.query.side_effect = Late("No answer came.")
    with pytest.raises(errors.NotAnsweredYet):
        await Reader(rpc).kept("tenant", "name")
    assert rpc.query.await_count > 1


async def test_names_that_nobody_lists_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    rpc, reader, looked_up = AsyncMock(), AsyncMock(), set[str]()

    async def nothing(_: str) -> AsyncIterator[Any]:
        nobody: tuple[Any, ...] = ()
        for found in nobody:
            yield found

    async def looked(workflow: str) -> None:
        looked_up.add(workflow.rpartition("/")[2])

    rpc.memos, reader.shown = nothing, looked
    listed = Listing(rpc, reader)
    with monkeypatch.context() as clock:
        clock.setattr(asyncio.get_running_loop(), "time", lambda: now)
        for number in range(1_000):
            now = number * 1.0
            listed.touch("tenant", f"p{number}", "again")
        assert await listed.projections("tenant") == []
    recent = {f"p{number}" for number in range(1_000) if now - number <= listing.TOUCHED_FOR}
    assert looked_up == recent | {"again"}

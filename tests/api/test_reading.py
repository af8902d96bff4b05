"""What the front end does when an answer gets lost, and what it remembers of what it wrote."""

import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest
from temporalio.api.common.v1 import Payload

from api import listing, reading
from api.listing import Listing
from api.projection import Projection
from api.reading import Reader
from api.rpc import BufferFull, Late, NoSuchWorkflow
from sluicegate import errors
from sluicegate.lifecycle.values import Packed


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


class Visibility:
    """What a listing reads: rows that come when the test says so, and looks at one pipeline."""

    def __init__(self) -> None:
        """Have a clock that the test turns."""
        self.now = 0.0
        self.rows: dict[str, Projection] = {}
        self.there: dict[str, Projection] = {}
        self.looked_up: list[str] = []
        self.decoded = 0
        rpc, self.reader = AsyncMock(), AsyncMock()
        rpc.memos, rpc.memo, self.reader.shown = self._memos, self._memo, self._shown
        self.listing = Listing(rpc, self.reader, clock=lambda: self.now)

    async def _memos(self, _: str) -> AsyncIterator[tuple[str, Payload]]:
        for name, row in self.rows.items():
            yield f"pipeline/tenant/{name}", Payload(data=row.model_dump_json().encode())

    async def _memo(self, payload: Payload) -> dict[str, Any]:
        self.decoded += 1
        return {"packed": Packed.of_json(json.loads(payload.data)).zlib64}

    async def _shown(self, workflow: str, within: float) -> Projection:
        name = workflow.rpartition("/")[2]
        self.looked_up.append(name)
        if name not in self.there:
            raise NoSuchWorkflow
        return self.there[name]

    async def names(self) -> list[str]:
        """List."""
        return [shown.name for shown in await self.listing.projections("tenant")]


@pytest.fixture
def visibility() -> Visibility:
    """Rows, looks and a clock."""
    return Visibility()


def row(name: str, revision: int = 1, number: int = 1) -> Projection:
    """A pipeline as it is shown."""
    return Projection(revision=revision, status={"id": f"id-{number}", "name": name})


async def test_what_is_written_while_a_list_is_read_shows_in_the_next(visibility: Visibility) -> None:
    visibility.rows["x"] = visibility.there["x"] = row("x")
    visibility.listing.touch("tenant", "x")
    shown = visibility._shown

    async def deleted_meanwhile(workflow: str, within: float) -> Projection:
        found = await shown(workflow, within)
        del visibility.there["x"]
        visibility.listing.touch("tenant", "x")
        return found

    visibility.reader.shown = deleted_meanwhile
    assert await visibility.names() == ["x"]
    visibility.reader.shown = shown
    assert await visibility.names() == []


async def test_names_that_nobody_lists_are_forgotten(visibility: Visibility) -> None:
    for number in range(1_000):
        visibility.now = number * 1.0
        visibility.listing.touch("tenant", f"p{number}", "again")
    assert await visibility.names() == []
    recent = {f"p{number}" for number in range(1_000) if visibility.now - number <= listing.TOUCHED_FOR}
    assert set(visibility.looked_up) == recent | {"again"}


async def test_what_was_just_created_is_listed_without_a_look(visibility: Visibility) -> None:
    visibility.listing.touch("tenant", "p", created=row("p"))
    assert await visibility.names() == ["p"]
    assert visibility.looked_up == []


async def test_what_visibility_does_not_show_in_time_is_looked_up(visibility: Visibility) -> None:
    for name in ("there", "deleted-elsewhere"):
        visibility.listing.touch("tenant", name, created=row(name))
    visibility.there["there"] = row("there", revision=4)
    visibility.now += listing.CREATED_FOR
    [shown] = await visibility.listing.projections("tenant")
    assert (shown.name, shown.revision) == ("there", 4)


async def test_a_creation_that_visibility_shows_is_shown_as_visibility_has_it(visibility: Visibility) -> None:
    visibility.listing.touch("tenant", "p", created=row("p"))
    visibility.rows["p"] = row("p", revision=3)
    visibility.now += 2 * listing.CREATED_FOR
    [shown] = await visibility.listing.projections("tenant")
    assert shown.revision == 3
    assert visibility.looked_up == []


async def test_a_new_pipeline_is_listed_in_the_place_of_a_deleted_one(visibility: Visibility) -> None:
    visibility.rows["p"] = row("p", revision=9, number=1)
    visibility.listing.touch("tenant", "p", created=row("p", number=2))
    [shown] = await visibility.listing.projections("tenant")
    assert shown.id == "id-2"


async def test_a_memo_that_has_not_changed_is_not_read_again(visibility: Visibility) -> None:
    visibility.rows = {name: row(name) for name in ("p", "q")}
    for _ in range(2):
        assert await visibility.names() == ["p", "q"]
        visibility.now += 2 * listing.FRESH_FOR
    assert visibility.decoded == 2
    visibility.rows["q"] = row("q", revision=2)
    [_, shown] = await visibility.listing.projections("tenant")
    assert (shown.revision, visibility.decoded) == (2, 3)


async def test_what_is_written_to_after_its_creation_is_looked_up(visibility: Visibility) -> None:
    visibility.listing.touch("tenant", "p", created=row("p"))
    visibility.listing.touch("tenant", "p")
    assert await visibility.names() == []
    assert visibility.looked_up == ["p"]

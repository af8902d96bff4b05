"""Listing pipelines from visibility, which is a little late and allows few calls a second.

One call a tenant is out at a time, and its answer serves everybody for a moment. What this process has
written since, and what vanished from one answer to the next (a pipeline that begins a new history is missing
for a moment), is looked up one by one, so that nobody misses their own writes. Only what it has just created
is known without a look, so that a list after a thousand creations costs no thousand calls.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from api.projection import Projection
from api.reading import Reader, workflow_id
from api.rpc import WRITE_WITHIN, NoSuchWorkflow, Temporal
from api.single_flight import SingleFlight
from sluicegate.errors import UnknownPipelineName

T = TypeVar("T")

FRESH_FOR = 0.75
"""Seconds that a list serves everybody; what another process has written shows within a second."""
TOUCHED_FOR = 30.0
"""Seconds after which visibility certainly shows what was written; on a busy cluster it may take some."""
CREATED_FOR = 0.5
"""Seconds for which a pipeline is listed as it was created, though visibility does not show it yet: so long
another process's delete of it may go unseen."""
AT_ONCE = 32
"""Pipelines that are looked up at the same time."""


class _Touch(NamedTuple):
    """A write of this process."""

    at: float
    created: Projection | None
    """What was created, where the write was a creation."""


class _Read(NamedTuple):
    """A memo as it came, and what it says; None where it did not fit."""

    data: bytes
    shown: Projection | None


@dataclass
class _Rows:
    """What visibility showed last of a tenant."""

    shown: dict[str, Projection | None] = field(default_factory=dict)
    """By name; None where the memo did not fit."""
    read: dict[str, _Read] = field(default_factory=dict)
    """What the memos of the last answer said, by workflow id: most are the same in the next one."""
    at: float = float("-inf")
    touched: dict[str, _Touch] = field(default_factory=dict)
    """What this process wrote last to each name; the newest last."""

    def touch(self, names: Iterable[str], touch: _Touch) -> None:
        """Remember names, and forget those that visibility shows by now, so that they never pile up."""
        for name in names:
            self.touched.pop(name, None)
            self.touched[name] = touch
        while touch.at - next(iter(self.touched.values()), touch).at > TOUCHED_FOR:
            del self.touched[next(iter(self.touched))]

    def settle(self, known: dict[str, Projection | None], touched: dict[str, _Touch], now: float) -> None:
        """Forget what was written to names of which visibility shows what is known of them; not what has been
        written since that was looked up."""
        for name, touch in touched.items():
            caught_up = name in known and _caught_up(self.shown.get(name), known[name])
            if self.touched.get(name) is touch and (caught_up or now - touch.at > TOUCHED_FOR):
                del self.touched[name]

    def created(self, now: float) -> dict[str, Projection]:
        """What was created and not written to since, as far as visibility shows it or cannot yet."""
        return {
            name: created
            for name, (at, created) in self.touched.items()
            if created and (now - at < CREATED_FOR or _caught_up(self.shown.get(name), created))
        }


class Listing:
    """Lists the pipelines of tenants."""

    def __init__(self, rpc: Temporal, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        """List through the given calls; look single pipelines up through the reader."""
        self._clock = clock
        self._rpc = rpc
        self._reader = reader
        self._tenants: defaultdict[str, _Rows] = defaultdict(_Rows)
        self._flight = SingleFlight[None, None](self._refresh)

    async def aclose(self) -> None:
        """Call off what is out."""
        await self._flight.aclose()

    def touch(self, tenant_id: str, *names: str, created: Projection | None = None) -> None:
        """Remember that pipelines were written to, so that the next list shows it."""
        touch = _Touch(self._clock(), created)
        self._tenants[tenant_id].touch(names, touch)

    async def pipelines(self, tenant_id: str, selector: str) -> list[dict[str, Any]]:
        """List all pipelines as GET answers, in the order of their creation."""
        found = sorted(await self.projections(tenant_id), key=lambda shown: shown.id)
        if selector != "all":
            return [shown.selected(selector) for shown in found]
        turns = asyncio.Semaphore(AT_ONCE)

        async def whole(shown: Projection) -> dict[str, Any] | None:
            async with turns:
                with suppress(UnknownPipelineName):  # deleted in this moment
                    return await self._reader.whole(tenant_id, shown)
            return None

        return [row for row in await _all(map(whole, found)) if row is not None]

    async def newest(self, tenant_id: str) -> list[Projection]:
        """Read the status of all pipelines of a tenant as visibility shows them now."""
        self._tenants[tenant_id].at = float("-inf")
        return await self.projections(tenant_id)

    async def projections(self, tenant_id: str) -> list[Projection]:
        """Read the status of all pipelines of a tenant, in no order."""
        rows = self._tenants[tenant_id]
        if self._clock() - rows.at > FRESH_FOR:
            await self._flight.ask(tenant_id, None)
        created, touched = rows.created(self._clock()), dict(rows.touched)
        too_large = {name for name, shown in rows.shown.items() if shown is None}
        looked_up = await self._look_up(tenant_id, (touched.keys() | too_large) - created.keys())
        newest = {name: _newer(rows.shown.get(name), one) for name, one in created.items()}
        merged = {**rows.shown, **newest, **looked_up}
        rows.settle({**created, **looked_up}, touched, self._clock())
        return [shown for shown in merged.values() if shown is not None]

    async def _refresh(self, tenant_id: str, _: tuple[None, ...]) -> None:
        """Read visibility, and look up whatever has vanished since."""
        rows = self._tenants[tenant_id]
        query = (
            f"WorkflowType = 'Pipeline' AND ExecutionStatus = 'Running' AND PipelineTenant = '{tenant_id}'"
        )
        shown: dict[str, Projection | None] = {}
        read: dict[str, _Read] = {}
        async for workflow, memo in self._rpc.memos(query):
            name = workflow.rpartition("/")[2]
            known = rows.read.get(workflow)
            if known is None or known.data != memo.data:
                known = _Read(memo.data, Projection.unpacked(await self._rpc.memo(memo)))
            read[workflow] = known
            shown[name] = _newer(shown.get(name), known.shown)
        vanished = rows.shown.keys() - shown.keys()
        shown |= {name: there for name, there in (await self._look_up(tenant_id, vanished)).items() if there}
        rows.shown, rows.read, rows.at = shown, read, self._clock()

    async def _look_up(self, tenant_id: str, names: set[str]) -> dict[str, Projection | None]:
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(name: str) -> Projection | None:
            async with turns:
                # A name that none can have was touched too, by a request that met with a refusal.
                with suppress(NoSuchWorkflow, UnknownPipelineName):
                    return await self._reader.shown(workflow_id(tenant_id, name), within=WRITE_WITHIN)
            return None

        return dict(zip(names, await _all(map(look, names)), strict=True))


async def _all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for all calls; the first that fails ends the others."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _newer(one: Projection | None, other: Projection | None) -> Projection | None:
    """Of two rows of one name: two runs, of which the older is about to vanish."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda shown: (shown.id, shown.revision))


def _caught_up(row: Projection | None, looked_up: Projection | None) -> bool:
    """Whether visibility shows what was looked up."""
    if row is None or looked_up is None:
        return row is looked_up
    return row.id == looked_up.id and row.revision >= looked_up.revision

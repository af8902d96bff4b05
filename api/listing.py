"""Listing pipelines from visibility, which is a little late and allows few calls a second.

One call a tenant is out at a time, and its answer serves everybody for a moment. What this process has
written since, and what vanished from one answer to the next (a pipeline that begins a new history is missing
for a moment), is looked up one by one, so that nobody misses their own writes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.projection import Projection
from api.reading import Reader, workflow_id
from api.rpc import NoSuchWorkflow, Temporal
from api.single_flight import SingleFlight
from sluicegate.errors import UnknownPipelineName

T = TypeVar("T")

FRESH_FOR = 0.25
TOUCHED_FOR = 30.0
"""Seconds after which visibility certainly shows what was written; on a busy cluster it may take some."""
AT_ONCE = 32
"""Pipelines that are looked up at the same time."""


@dataclass
class _Rows:
    """What visibility showed last of a tenant."""

    shown: dict[str, Projection | None] = field(default_factory=dict)
    """By name; None where the memo did not fit."""
    at: float = float("-inf")
    touched: dict[str, float] = field(default_factory=dict)
    """Names that this process wrote to, and when; the newest last."""

    def touch(self, names: Iterable[str], now: float) -> None:
        """Remember names, and forget those that visibility shows by now, so that they never pile up."""
        for name in names:
            self.touched.pop(name, None)
            self.touched[name] = now
        while now - next(iter(self.touched.values()), now) > TOUCHED_FOR:
            del self.touched[next(iter(self.touched))]


class Listing:
    """Lists the pipelines of tenants."""

    def __init__(self, rpc: Temporal, reader: Reader) -> None:
        """List through the given calls; look single pipelines up through the reader."""
        self._rpc = rpc
        self._reader = reader
        self._tenants: defaultdict[str, _Rows] = defaultdict(_Rows)
        self._flight = SingleFlight[None, None](self._refresh)

    async def aclose(self) -> None:
        """Call off what is out."""
        await self._flight.aclose()

    def touch(self, tenant_id: str, *names: str) -> None:
        """Remember that pipelines were written to, so that the next list shows it."""
        self._tenants[tenant_id].touch(names, asyncio.get_running_loop().time())

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

    async def projections(self, tenant_id: str) -> list[Projection]:
        """Read the status of all pipelines of a tenant, in no order."""
        rows = self._tenants[tenant_id]
        if asyncio.get_running_loop().time() - rows.at > FRESH_FOR:
            await self._flight.ask(tenant_id, None)
        doubtful = set(rows.touched) | {name for name, shown in rows.shown.items() if shown is None}
        looked_up = await self._look_up(tenant_id, doubtful)
        now = asyncio.get_running_loop().time()
        for name, at in list(rows.touched.items()):
            if now - at > TOUCHED_FOR or _caught_up(rows.shown.get(name), looked_up.get(name)):
                del rows.touched[name]
        merged = {**rows.shown, **looked_up}
        return [shown for shown in merged.values() if shown is not None]

    async def _refresh(self, tenant_id: str, _: tuple[None, ...]) -> None:
        """Read visibility, and look up whatever has vanished since."""
        rows = self._tenants[tenant_id]
        began = asyncio.get_running_loop().time()
        query = (
            f"WorkflowType = 'Pipeline' AND ExecutionStatus = 'Running' AND PipelineTenant = '{tenant_id}'"
        )
        shown: dict[str, Projection | None] = {}
        async for workflow, memo in self._rpc.memos(query):
            name = workflow.rpartition("/")[2]
            shown[name] = _newer(shown.get(name), Projection.unpacked(memo))
        vanished = rows.shown.keys() - shown.keys()
        shown |= {name: there for name, there in (await self._look_up(tenant_id, vanished)).items() if there}
        rows.shown, rows.at = shown, began

    async def _look_up(self, tenant_id: str, names: set[str]) -> dict[str, Projection | None]:
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(name: str) -> Projection | None:
            async with turns:
                # A name that none can have was touched too, by a request that met with a refusal.
                with suppress(NoSuchWorkflow, UnknownPipelineName):
                    return await self._reader.shown(workflow_id(tenant_id, name))
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

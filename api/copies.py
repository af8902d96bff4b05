"""Copies of the states of directory and tenants, at most two seconds old, for which no worker is needed.

A copy is looked at again when it is used and two seconds have passed; what is not used costs nothing. While
Temporal is away a copy counts for five seconds, then nobody knows any more: that is a 503, never a 401.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from api.rpc import BufferFull, NoSuchWorkflow, Temporal, Unanswered
from api.single_flight import SingleFlight
from sluicegate import errors, temporal
from sluicegate.access.ledger import L

FRESH_FOR = 2.0
"""Seconds; a key that was revoked is dead everywhere within this time and that of a look."""
STALE_AT_MOST = 5.0
"""Seconds for which a copy counts while nobody can be asked."""
LOOK_EVERY = 0.1
"""Seconds between two looks at one workflow, however many ask for what is not there."""
QUERY_WITHIN = 2.0


@dataclass(frozen=True)
class _Copy(Generic[L]):
    state: L
    at: float
    """When it was asked for: it is at least as new."""


class Copies(Generic[L]):
    """Copies of the states of one kind of workflow, by workflow id."""

    def __init__(
        self, rpc: Temporal, decode: Callable[[dict[str, Any]], L], empty: Callable[[str], L]
    ) -> None:
        """Read through the given calls; a workflow that is not there has the state that `empty` gives."""
        self._rpc = rpc
        self._decode = decode
        self._empty = empty
        self._kept: dict[str, _Copy[L]] = {}
        self._forgotten = 0
        self._reads = SingleFlight[None, L](self._fetch)
        self._looks = SingleFlight[None, L](self._look)

    async def aclose(self) -> None:
        """Call off what is out."""
        await self._looks.aclose()
        await self._reads.aclose()

    async def read(self, workflow_id: str) -> L:
        """Give the state as it was two seconds ago or later.

        Raises TemporalUnavailable and NotAnsweredYet, once what is known is too old to count.
        """
        kept = self._kept.get(workflow_id)
        if kept and _age(kept) <= FRESH_FOR:
            return kept.state
        try:
            return await self._reads.ask(workflow_id, None)
        except (errors.TemporalUnavailable, errors.NotAnsweredYet):
            if kept is None or _age(kept) > STALE_AT_MOST:
                raise
            return kept.state

    async def look(self, workflow_id: str) -> L:
        """Give the state as it is now: for what is missing from the copy and may just have been made.

        Whoever asks for nothing a thousand times a second waits for one of ten looks with all others.
        """
        return await self._looks.ask(workflow_id, None)

    def forget(self, workflow_id: str) -> None:
        """Look again at the next use, since it has been changed from here."""
        self._kept.pop(workflow_id, None)
        self._forgotten += 1

    async def _look(self, workflow_id: str, _: tuple[None, ...]) -> L:
        if kept := self._kept.get(workflow_id):
            await asyncio.sleep(LOOK_EVERY - _age(kept))
        return await self._reads.ask(workflow_id, None)

    async def _fetch(self, workflow_id: str, _: tuple[None, ...]) -> L:
        began, forgotten = _now(), self._forgotten
        try:
            memo = await self._rpc.describe(workflow_id, temporal.ACCESS_MEMO)
            state = await self._state(workflow_id, memo)
        except NoSuchWorkflow:
            state = self._empty(workflow_id)
        if forgotten == self._forgotten:
            self._kept[workflow_id] = _Copy(state, began)
        return state

    async def _state(self, workflow_id: str, memo: dict[str, Any]) -> L:
        kept = self._kept.get(workflow_id)
        if kept and kept.state.revision == memo["revision"]:
            return kept.state
        return self._decode(await self._queried(workflow_id) if "overflow" in memo else memo)

    async def _queried(self, workflow_id: str) -> dict[str, Any]:
        deadline = _now() + QUERY_WITHIN
        while (left := deadline - _now()) > 0:
            try:
                answer: dict[str, Any] = await self._rpc.query(workflow_id, "state", within=left)
            except BufferFull:
                await asyncio.sleep(random.uniform(0.002, 0.02))
            except Unanswered:
                break
            else:
                return answer
        raise errors.NotAnsweredYet


def _now() -> float:
    return asyncio.get_running_loop().time()


def _age(copy: _Copy[Any]) -> float:
    return _now() - copy.at

"""One call at a time per key, so that a thousand callers cost a server two calls, not a thousand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass
class _Lane(Generic[Item, Answer]):
    waiting: list[tuple[Item, asyncio.Future[Answer]]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class SingleFlight(Generic[Item, Answer]):
    """Gathers what is asked while a call is out into the next call.

    A caller only ever gets the answer of a call that began after it asked: whatever it did before asking is
    seen by that call.
    """

    def __init__(self, call: Callable[[str, tuple[Item, ...]], Awaitable[Answer]]) -> None:
        """Make the calls with the given function of a key and the distinct items asked for."""
        self._call = call
        self._lanes: dict[str, _Lane[Item, Answer]] = {}

    async def ask(self, key: str, item: Item) -> Answer:
        """Return the answer of the next call; who stops waiting disturbs nobody else."""
        lane = self._lanes.setdefault(key, _Lane())
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        lane.waiting.append((item, answer))
        if lane.task is None:
            lane.task = asyncio.create_task(self._fly(key, lane))
        return await answer

    async def _fly(self, key: str, lane: _Lane[Item, Answer]) -> None:
        try:
            while batch := [entry for entry in lane.waiting if not entry[1].done()]:
                lane.waiting = []
                await self._serve(key, batch)
        finally:
            del self._lanes[key]

    async def _serve(self, key: str, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        items = tuple(dict.fromkeys(item for item, _ in batch))
        try:
            answer = await self._call(key, items)
        except Exception as failure:  # noqa: BLE001 - it is raised again where it is waited for
            for _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(failure)
            return
        for _, waiter in batch:
            if not waiter.done():
                waiter.set_result(answer)

    async def aclose(self) -> None:
        """Call off what is out."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

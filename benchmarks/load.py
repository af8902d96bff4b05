"""Load from many callers at once: how many calls a second come through, and how long each takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Call = Callable[[int], Awaitable[None]]


class Load(NamedTuple):
    """What came through."""

    per_second: list[float]
    """Calls that ended in each whole second."""
    took_ms: list[float]


async def run(call: Call, callers: int, seconds: float) -> Load:
    """Have so many callers call, each one call after the other, for so long; each call gets its number."""
    began = time.perf_counter()
    ended: list[float] = []
    took: list[float] = []

    async def caller(number: int) -> None:
        turn = number
        while (started := time.perf_counter()) - began < seconds:
            await call(turn)
            now = time.perf_counter()
            ended.append(now - began)
            took.append((now - started) * 1e3)
            turn += callers

    await asyncio.gather(*map(caller, range(callers)))
    whole = range(int(seconds))
    return Load([float(sum(second <= at < second + 1 for at in ended)) for second in whole], took)

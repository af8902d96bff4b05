"""Heartbeats of effects that take a while, so that a dead worker is noticed within seconds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity

BEAT_EVERY = timedelta(seconds=2)
BEAT_TIMEOUT = timedelta(seconds=10)
"""Heartbeat timeout that goes with it; several beats may be lost under load."""


@asynccontextmanager
async def heartbeating(
    details: Callable[[], Sequence[str]] = tuple, *, every: timedelta = BEAT_EVERY
) -> AsyncIterator[None]:
    """Heartbeat for as long as the block runs; the next attempt finds the details of the last.

    The first comes after the first wait, so that an effect that takes no time costs no request.
    """

    async def beat() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            activity.heartbeat(*details())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()

"""Heartbeats of effects that take a while, so that a dead worker is noticed within seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity

BEAT_EVERY = timedelta(seconds=2)
BEAT_TIMEOUT = timedelta(seconds=10)
"""Heartbeat timeout that goes with it; several beats may be lost under load."""


@asynccontextmanager
async def heartbeating(every: timedelta = BEAT_EVERY) -> AsyncIterator[None]:
    """Heartbeat for as long as the block runs, after each wait, so that what takes no time has none."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()

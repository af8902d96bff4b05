"""The last minute of a pipeline, a sample a second (contract §5.7), without waking up an idle process.

What a sample says changes only where something happens. So samples are taken each second from when something
has happened until nothing has for a second; the seconds in between are filled in when somebody reads them.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from sluicegate.engine.observing.memory import Pressure, rss_bytes

KEPT = 60
"""Samples that are told: a minute."""
PERIOD = 1000
"""Milliseconds between samples."""
MEGABYTE = 1_000_000


class Sample(NamedTuple):
    """The pipeline at one moment; the names are those of the wire."""

    t: int
    """Milliseconds since the epoch."""
    r: int
    """Records processed."""
    m: int
    """Bytes of memory."""
    s: int
    """Bytes of storage."""


class Series:
    """The samples of one process."""

    def __init__(self, records: Callable[[], int], storage: Callable[[], int], pressure: Pressure) -> None:
        """Sample what the functions tell; `storage` looks at files, so it is called in a thread."""
        self._records = records
        self._storage = storage
        self._pressure = pressure
        self._samples: deque[Sample] = deque(maxlen=KEPT + 1)
        self._latest: Sample | None = None
        self._stored = 0
        self._moved = False
        self._sampling: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def touch(self) -> None:
        """Note that something has happened."""
        self._moved = True
        if self._sampling is None and not self._closed.is_set():
            self._sampling = asyncio.create_task(self._sample_while_it_moves())

    async def now(self) -> Sample:
        """Return how things are."""
        stored = await asyncio.to_thread(self._storage)
        memory = rss_bytes()
        self._pressure.look(memory)
        sample = Sample(time.time_ns() // 1_000_000, self._records(), memory, stored)
        if self._latest is not None:
            self._stored += self._latest.s * max(0, sample.t - self._latest.t)
        self._latest = sample
        if not self._samples or sample.t - self._samples[-1].t >= PERIOD // 2:
            self._samples.append(sample)
        return sample

    @property
    def storage_mb_secs(self) -> int:
        """Return the storage that has been used, over time, until the last look at it."""
        return self._stored // (MEGABYTE * 1000)

    async def history(self) -> list[Sample]:
        """Return the samples of the last minute, the oldest first."""
        await self.now()
        filled: list[Sample] = []
        for sample in self._samples:
            while filled and sample.t - filled[-1].t >= PERIOD * 3 // 2:
                before = filled[-1]._replace(t=filled[-1].t + PERIOD)
                filled.append(before)
                del filled[:-KEPT]
            filled.append(sample)
        return filled[-KEPT:]

    async def follow(self) -> AsyncIterator[Sample]:
        """Yield the samples of the last minute, then one a second until the process ends."""
        for sample in await self.history():
            yield sample
        while not await self._ends_before_the_next():
            yield await self.now()

    def close(self) -> None:
        """Take no more samples, and let nobody wait for one."""
        self._closed.set()

    async def _sample_while_it_moves(self) -> None:
        while self._moved:
            self._moved = False
            if await self._ends_before_the_next():
                break
            await self.now()
        self._sampling = None

    async def _ends_before_the_next(self) -> bool:
        """Wait for the next full second; tells whether the process ends before."""
        try:
            async with asyncio.timeout(1 - time.time() % 1):
                await self._closed.wait()
        except TimeoutError:
            return False
        return True

"""When the process is sampled, and which profile is told (contract §5.7, `samply_profile`)."""

import asyncio
import threading

from sluicegate.engine.errors import EngineError
from sluicegate.engine.workers import Workers

LONGEST = 600
"""Seconds: samples are kept in memory."""


class Sampling:
    """One profile at a time, and the last one that was made."""

    def __init__(self) -> None:
        self._workers = Workers(1)
        self._stop = threading.Event()
        self._recording: asyncio.Task[None] | None = None
        self._error: str | None = None
        self._last: bytes | None = None
        self._ends = 0.0

    def start(self, seconds: int) -> None:
        """Begin a profile; raises while there is one under way."""
        if self.is_running:
            message = "The process is being profiled already; ask for that profile, or try again after it"
            raise EngineError(409, "SamplyProfilingInProgress", message)
        self._ends = asyncio.get_running_loop().time() + seconds
        self._recording = asyncio.create_task(self._record(seconds))

    @property
    def is_running(self) -> bool:
        """Tell whether a profile is under way."""
        return self._recording is not None and not self._recording.done()

    @property
    def remaining(self) -> int:
        """Return in how many seconds it is worth while to ask again."""
        return max(1, round(self._ends - asyncio.get_running_loop().time()) + 1)

    def last(self) -> bytes:
        """Return the last profile; raises where there is none."""
        if self._error is not None:
            raise EngineError(
                500, "SamplyProfilingFailure", f"The profile failed: {self._error}", self._error
            )
        if self._last is None:
            message = "There is no profile yet; begin one with POST samply_profile?duration_secs=30"
            raise EngineError(400, "NoSamplyProfile", message)
        return self._last

    def close(self) -> None:
        """End a profile that is under way."""
        self._stop.set()

    async def _record(self, seconds: int) -> None:
        from sluicegate.engine.observing import stacks

        try:
            self._last = await self._workers.run(lambda: stacks.record(seconds, self._stop))
            self._error = None
        except Exception as error:  # noqa: BLE001 - whatever it is, who asks for the profile must be told
            self._error = f"{type(error).__name__}: {error}"

"""Threads for what may take long: so many at once, none of the loop's own, none that an end waits for."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """Does pieces of work, so many at the same time."""

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work. Who does not wait for it any more leaves it its place until it is done."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._places.release()
            if outcome.cancelled():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]

        def thread() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it is raised where the work is waited for
                error = raised
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:
                return  # the loop has ended, and with it whoever waited

        try:
            threading.Thread(target=thread, name="worker", daemon=True).start()
        except RuntimeError:  # no memory for a stack
            self._places.release()
            raise
        return await outcome

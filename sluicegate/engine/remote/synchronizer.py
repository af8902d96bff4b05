"""Pushing while the pipeline runs: when it is asked for, and every so often; one push at a time.

An automatic push comes `push_interval` after the end of the one before, if there is a checkpoint that is not
pushed yet and nobody else pushes. What became of pushes that were asked for, and of automatic ones, is told
apart (contract §2.8).
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sluicegate.engine.errors import EngineError
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.remote.asked import given
from sluicegate.engine.situation import Situation

if TYPE_CHECKING:
    from sluicegate.engine.remote.exchange import Exchange

NOTHING = "no checkpoints found; make a POST request to `/checkpoint` to make a new checkpoint"


class Synchronizer:
    """The pushes of one process."""

    def __init__(self, situation: Situation, metrics: Metrics) -> None:
        self._situation = situation
        self._metrics = metrics
        self._one = asyncio.Lock()
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._periodic: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._pushed: str | None = None
        """The checkpoint that was pushed last, on demand or not."""
        self._success: str | None = None
        self._failure: dict[str, str] | None = None
        self._last_periodic: str | None = None

    def begin(self) -> None:
        """Push now and then, where that is configured."""
        if given(self._situation.deployment.config.runtime_config) is None:
            return
        with suppress(EngineError):  # a push that is asked for tells what is wrong with the configuration
            seconds = self._buckets().config.push_interval
            if seconds is not None:
                self._periodic = asyncio.create_task(self._push_every(seconds))

    def ask(self) -> str:
        """Have the newest checkpoint pushed; returns its uuid, raises EngineError where there is none."""
        newest = self._newest()
        if newest is None:
            raise EngineError(400, "400", NOTHING)
        if newest not in self._asked:
            self._asked[newest] = asyncio.create_task(self._serve(newest))
        return newest

    def status(self) -> dict[str, Any]:
        """Return the answer of `GET /checkpoint/sync_status`."""
        return {
            "success": self._success,
            "failure": self._failure,
            "periodic": self._last_periodic,
            "running": list(self._asked),
        }

    async def remote(self) -> list[dict[str, str]]:
        """Return the answer of `GET /checkpoints/remote`; raises RemoteError."""
        return [{"uuid": uuid} for uuid in await self._buckets().listed()]

    async def end(self) -> None:
        """Break off what is under way: it leaves no half of a checkpoint that counts."""
        tasks = [*self._asked.values(), *([self._periodic] if self._periodic is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _newest(self) -> str | None:
        checkpoints = self._situation.checkpoints
        return checkpoints[0].uuid if checkpoints else None

    def _buckets(self) -> "Exchange":
        if self._exchange is None:
            from sluicegate.engine.remote.exchange import Exchange

            self._exchange = Exchange(self._situation, self._metrics)
        return self._exchange

    async def _serve(self, uuid: str) -> None:
        try:
            await self._push(uuid)
        except Exception as error:  # noqa: BLE001 - whatever it is, the status must tell it
            self._failure = {"uuid": uuid, "error": _said(error)}
        else:
            self._success = uuid
        finally:
            del self._asked[uuid]

    async def _push_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            newest = self._newest()
            if newest is None or newest == self._pushed or self._asked:
                continue
            with suppress(Exception):  # it is told, and tried again the next time
                await self._push(newest)
                self._last_periodic = newest

    async def _push(self, uuid: str) -> None:
        async with self._one:
            try:
                await self._buckets().push(uuid)
            except Exception as error:
                self._situation.announce(f"could not push checkpoint {uuid} ({_said(error)})")
                raise
            self._pushed = uuid


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

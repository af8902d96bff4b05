"""Transactions of the API: many pushes become one step (contract §2.9).

    none ──start──► in progress ──commit──► committing ──► none

What comes in meanwhile, from whatever side, is checked and held (`holding`); the commit is the step that
applies it. So nothing of a transaction is in the database before its commit, and all of it after.
"""

import asyncio
from collections.abc import Callable

from sluicegate.engine.errors import EngineError
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.steps import Steps


class Transactions:
    """The transactions of one pipeline, of which there is one at a time."""

    def __init__(self, steps: Steps, metrics: Metrics, over: Callable[[], None]) -> None:
        """Hold and release steps; `over` is called when a transaction has ended."""
        self._steps = steps
        self._state = metrics.transaction
        self._over = over
        self._committing: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Begin one; returns its number."""
        if self._state.is_open:
            message = "A transaction is in progress already; commit it first"
            raise EngineError(409, "TransactionInProgress", message, {})
        self._state.begin()
        try:
            self._state.number = await self._steps.hold()
        except BaseException:
            self._end()
            raise
        return self._state.number

    def commit(self) -> None:
        """Have the transaction committed, as soon as the step that runs has ended."""
        if not self._state.number or self._state.is_committing:
            raise EngineError(400, "NoTransactionInProgress", "There is no transaction to commit", {})
        self._state.is_committing = True
        self._committing = asyncio.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            await self._steps.release()
        finally:
            self._end()

    def _end(self) -> None:
        self._state.end()
        self._over()

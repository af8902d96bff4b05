"""A workflow that lives by changes alone: what the directory and the tenants have in common.

Every change is an update, decided by the state itself, shown in the memo in the task that made it; the state
moves into a new history before the old one grows long. Nothing is waited for, so no handler is ever cut off.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic

from temporalio import workflow

from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.ledger import L

RENEW_AFTER = 300
"""History events: some sixty changes, each with a memo of at most 32 KiB."""


class Entity(Generic[L]):
    """The state of one workflow."""

    def __init__(self, state: L) -> None:
        """Take up a state."""
        self.state = state
        self._shown: L | None = None

    async def live(self, over: Callable[[], bool]) -> None:
        """Show every change, until it is over; begins a new history in time."""
        while True:
            self._show()
            if over():
                return
            if self._old:
                shown = {temporal.ACCESS_MEMO: ledger.memo(self.state)}  # else it shows what it began with
                workflow.continue_as_new(ledger.encoded(self.state), memo=shown)
            try:
                await workflow.wait_condition(lambda: self.state is not self._shown or self._old)
            except asyncio.CancelledError:  # else all that it remembers would be gone with it
                workflow.logger.warning("nothing is cancelled: this lives as long as what it is about")

    def check(self, change: Any) -> None:
        """Refuse, before there is any history of it, what `change` would refuse, and what leaves no room."""
        with temporal.refusing():
            after = self.state.changed(change).state
            if after is not self.state:
                ledger.check_room(self.state, after)

    def change(self, change: Any) -> dict[str, Any]:
        """Change the state; gives what the caller is to be told."""
        with temporal.refusing():
            self.state, answer = self.state.changed(change)
        return answer

    @property
    def _old(self) -> bool:
        info = workflow.info()
        return info.get_current_history_length() >= RENEW_AFTER or info.is_continue_as_new_suggested()

    def _show(self) -> None:
        if self.state is not self._shown:
            self._shown = self.state
            workflow.upsert_memo({temporal.ACCESS_MEMO: ledger.memo(self.state)})

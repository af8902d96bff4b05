"""The workflow of the installation's one directory: which tenants there are. See `access.directory`."""

from typing import Any

from temporalio import workflow

from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryChange, DirectoryState
from sluicegate.entity import Entity


@workflow.defn(name="Directory")
class DirectoryWorkflow:
    """The directory, for as long as the installation exists."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        """Take up the state, before any message is handled."""
        self._directory = Entity(DirectoryState.decoded(encoded))

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        """Live for ever."""
        await self._directory.live(over=lambda: False)

    @workflow.update(description="Create, rename, drop or point to a tenant.")
    def change(self, message: DirectoryChange) -> dict[str, Any]:
        """See `DirectoryState.changed`."""
        return self._directory.change(message.change)

    @change.validator
    def _may_change(self, message: DirectoryChange) -> None:
        self._directory.check(message.change)

    @workflow.query(description="All that is remembered, encoded.")
    def state(self) -> dict[str, Any]:
        """See `ledger.encoded`."""
        return ledger.encoded(self._directory.state)

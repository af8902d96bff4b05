"""The workflow of one tenant: its members, API keys (hashes only) and trusts. See `access.tenant`."""

from typing import Any

from temporalio import workflow

from sluicegate.access import ledger
from sluicegate.access.tenant import TenantChange, TenantState
from sluicegate.entity import Entity


@workflow.defn(name="Tenant")
class TenantWorkflow:
    """One tenant, until it is dissolved."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        """Take up the state, before any message is handled."""
        self._tenant = Entity(TenantState.decoded(encoded))

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        """Live until the tenant is dissolved."""
        await self._tenant.live(over=lambda: self._tenant.state.dissolved)

    @workflow.update(description="Add, change or remove a member, an API key or a trust.")
    def change(self, message: TenantChange) -> dict[str, Any]:
        """See `TenantState.changed`."""
        return self._tenant.change(message.change)

    @change.validator
    def _may_change(self, message: TenantChange) -> None:
        self._tenant.check(message.change)

    @workflow.query(description="All that is remembered, encoded.")
    def state(self) -> dict[str, Any]:
        """See `ledger.encoded`."""
        return ledger.encoded(self._tenant.state)

"""Which workflows of ours live, those that begin a new history at that very moment included."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from sluicegate import temporal
from sluicegate.operate.verb import Unusable

_OPEN_OR_RENEWED = '(ExecutionStatus = "Running" OR ExecutionStatus = "ContinuedAsNew")'
"""While a workflow begins a new history, for a moment only its old one is listed."""


class Listed(NamedTuple):
    """A workflow that a list shows; it may have ended since."""

    workflow_id: str
    kind: str
    """Its type."""


async def listed(client: Client, query: str = "", seen: set[str] | None = None) -> AsyncIterator[Listed]:
    """List each workflow on our queue once that lives, and some that have ended since; leaves out those seen
    and adds to them. Raises Unusable where the server does not understand the query."""
    seen = set() if seen is None else seen
    wanted = f"{_OPEN_OR_RENEWED} AND ({query})" if query else _OPEN_OR_RENEWED
    try:
        async for row in client.list_workflows(wanted):
            if row.task_queue == temporal.PIPELINES and row.id not in seen:
                seen.add(row.id)
                yield Listed(row.id, row.workflow_type)
    except RPCError as problem:
        if problem.status is RPCStatusCode.INVALID_ARGUMENT:
            raise Unusable(f"The server does not take the query: {problem.message}") from problem
        raise


async def run_id(client: Client, workflow_id: str) -> str | None:
    """Give the run of a workflow that is open now; None where it has ended."""
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as problem:
        if problem.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return found.run_id if found.status is WorkflowExecutionStatus.RUNNING else None

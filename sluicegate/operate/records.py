"""What a backup keeps of each type of workflow, and what a restored workflow begins with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.access.ledger import Ledger
from sluicegate.access.tenant import TenantState
from sluicegate.lifecycle import state
from sluicegate.lifecycle.effects import Remains
from sluicegate.lifecycle.state import State

Raw = dict[str, Any]


class Newer(Exception):
    """A record was written by a newer release; the text says so."""


@dataclass(frozen=True)
class Record:
    """What a workflow is started with."""

    kind: str
    workflow_id: str
    argument: Raw
    memo: Mapping[str, Any] = field(default_factory=dict)
    attributes: TypedSearchAttributes = TypedSearchAttributes.empty
    summary: str | None = None
    pipeline_id: str | None = None
    revision: int = 0
    """Before it was restored: of two records of one pipeline the one with the higher revision counts."""

    async def start(self, client: Client) -> bool:
        """Start the workflow; tell whether its id was free."""
        try:
            await client.start_workflow(
                self.kind,
                self.argument,
                id=self.workflow_id,
                task_queue=temporal.PIPELINES,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo=self.memo,
                search_attributes=self.attributes,
                static_summary=self.summary,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True


def pipeline(restored: State, revision: int = 0) -> Record:
    """Give the record of a pipeline, which is listed and shown as it is from its first moment."""
    p = restored.pipeline
    return Record(
        kind="Pipeline",
        workflow_id=temporal.pipeline_workflow_id(p.tenant_id, p.name),
        argument=restored.encoded(),
        memo={temporal.MEMO: restored.projection()},
        attributes=TypedSearchAttributes(temporal.search_attributes(p)),
        summary=p.name,
        pipeline_id=p.id,
        revision=revision,
    )


def _pipeline(raw: Raw) -> Record:
    _check_schema(raw, state.SCHEMA)
    found = State.decoded(raw)
    return pipeline(found.restored(), found.revision)


def _ledger(kind: str, workflow_id: str, found: Ledger) -> Record:
    restored = ledger.restored(found)
    memo = {temporal.ACCESS_MEMO: ledger.memo(restored)}
    return Record(kind=kind, workflow_id=workflow_id, argument=ledger.encoded(restored), memo=memo)


def _directory(raw: Raw) -> Record:
    _check_schema(raw, ledger.SCHEMA)
    return _ledger("Directory", temporal.DIRECTORY, DirectoryState.decoded(raw))


def _tenant(raw: Raw) -> Record:
    _check_schema(raw, ledger.SCHEMA)
    found = TenantState.decoded(raw)
    return _ledger("Tenant", temporal.tenant_workflow_id(found.tenant_id), found)


def _cleanup(raw: Raw) -> Record:
    remains = Remains.model_validate(raw)
    return Record(
        kind="Cleanup",
        workflow_id=temporal.cleanup_workflow_id(remains.pipeline_id),
        argument=raw,
        summary=f"remove what {remains.name} left",
    )


RESTORED: Mapping[str, Callable[[Raw], Record]] = {
    "Directory": _directory,
    "Tenant": _tenant,
    "Cleanup": _cleanup,
    "Pipeline": _pipeline,
}
"""By type of workflow, in the order in which they are restored: who may do what comes first, and what is
still to be removed before whatever might take its place."""


def _check_schema(raw: Raw, known: int) -> None:
    if raw.get("schema", known) > known:
        raise Newer(f"a record has schema {raw['schema']}; this release knows schemas up to {known}")

"""What workflows begin with, and whether the code at hand still understands it.

A replay compares which commands code issues and never what is in a payload, so a state that can no longer be
read, or that loses something when it is written again, is only found by reading it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter

from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.access.tenant import TenantState
from sluicegate.lifecycle.bulk import Bulk
from sluicegate.lifecycle.cluster import ClusterHistory
from sluicegate.lifecycle.effects import ProgramText, Remains, ScheduledVerb
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.values import Value

Raw = dict[str, Any]


def _value(kind: type[Value]) -> Callable[[Raw], Raw]:
    return lambda raw: kind.model_validate(raw).model_dump(mode="json")


AGAIN: Mapping[str, Callable[[Raw], Raw]] = {
    "Pipeline": lambda raw: State.decoded(raw).encoded(),
    "Directory": lambda raw: ledger.encoded(DirectoryState.decoded(raw)),
    "Tenant": lambda raw: ledger.encoded(TenantState.decoded(raw)),
    "Cluster": lambda raw: ClusterHistory.decoded(raw).encoded(),
    "Bulk": lambda raw: Bulk.decoded(raw).encoded(),
    "Cleanup": _value(Remains),
    "Scheduled": _value(ScheduledVerb),
    "Validation": _value(ProgramText),
}
"""By type of workflow, how its argument is read and written again."""


async def problem(history: WorkflowHistory, converter: DataConverter) -> str | None:
    """Say what is wrong with what a history begins with, or ends with to begin a new one."""
    try:
        for kind, raw in await _states(history, converter):
            again = AGAIN[kind](raw)
            if lost := sorted(raw.keys() - again.keys()):
                return f"the state loses {', '.join(lost)}"
            if AGAIN[kind](again) != again:
                return "the state changes when it is read and written again"
    except Exception as failed:  # noqa: BLE001 - whatever reading raises is what is looked for
        return f"the state cannot be read: {type(failed).__name__}: {failed}"
    return None


async def _states(history: WorkflowHistory, converter: DataConverter) -> list[tuple[str, Raw]]:
    found: list[tuple[str, Raw]] = []
    for event in history.events:
        for name in ("workflow_execution_started", "workflow_execution_continued_as_new"):
            if event.HasField(f"{name}_event_attributes"):  # type: ignore[arg-type]
                about = getattr(event, f"{name}_event_attributes")
                [raw] = await converter.decode(about.input.payloads, [dict])
                found.append((about.workflow_type.name, raw))
    return found

"""I10: any recorded history replays, and any recorded state decodes, on the current code."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from sluicegate import temporal
from sluicegate.lifecycle.state import State
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording
from worker import WORKFLOWS

PIPELINE = "Pipeline"


async def check(recording: Recording) -> Finding:
    """Every history of every workflow of the run replays, and every state with which a pipeline's history
    began, or that it handed on, decodes to what encodes likewise."""
    paths = sorted((recording.folder / "histories").glob("*.json"))
    violations = [f"{workflow} fails its tasks" for workflow in recording.run().silent]

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in paths:
            yield load(path)

    replayer = Replayer(workflows=WORKFLOWS, plugins=[temporal.PLUGIN])
    async with replayer.workflow_replay_iterator(histories()) as results:
        async for result in results:
            if result.replay_failure is not None:
                violations.append(f"{result.history.workflow_id}: {result.replay_failure}")
            violations += await _undecodable(result.history)
    return Finding("I10", "histories replayed", len(paths), tuple(violations))


def load(path: Path) -> WorkflowHistory:
    """Read a history."""
    recorded = json.loads(path.read_text())
    return WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])


async def _undecodable(history: WorkflowHistory) -> list[str]:
    if not history.workflow_id.startswith("pipeline/"):
        return []
    converter = temporal.PLUGIN.data_converter
    found = []
    for event in history.events:
        started = event.workflow_execution_started_event_attributes
        renewed = event.workflow_execution_continued_as_new_event_attributes
        for payloads in (started.input.payloads, renewed.input.payloads):
            encoded: list[dict[str, Any]] = await converter.decode(payloads, [dict] * len(payloads))  # type: ignore[union-attr]
            found += encoded
    return [problem for raw in found if (problem := _problem(history.workflow_id, raw))]


def _problem(workflow_id: str, raw: dict[str, Any]) -> str | None:
    try:
        again = State.decoded(raw).encoded()
    except (LookupError, TypeError, ValueError) as error:
        return f"{workflow_id}: a state does not decode: {error}"
    lost = raw.keys() - again.keys()
    return f"{workflow_id}: a state loses {sorted(lost)}" if lost else None

"""I10: any recorded history replays, and any recorded state decodes, on the current code."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from sluicegate import temporal
from sluicegate.operate import beginnings
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
            history = load(path)
            if problem := await beginnings.problem(history, temporal.PLUGIN.data_converter):  # type: ignore[arg-type]
                violations.append(f"{history.workflow_id}: {problem}")
            if len(history.events) > 1:  # the SDK never comes back from a run that has just begun
                yield history

    replayer = Replayer(workflows=WORKFLOWS, plugins=[temporal.PLUGIN])
    async with replayer.workflow_replay_iterator(histories()) as results:
        async for result in results:
            if result.replay_failure is not None:
                violations.append(f"{result.history.workflow_id}: {result.replay_failure}")
    return Finding("I10", "histories replayed", len(paths), tuple(violations))


def load(path: Path) -> WorkflowHistory:
    """Read a history."""
    recorded = json.loads(path.read_text())
    return WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])

"""Every recorded history replays on today's code, and every recorded state decodes (I10)."""

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from sluicegate import temporal
from sluicegate.lifecycle.state import State
from workflows.cleanup import CleanupWorkflow
from workflows.pipeline import PipelineWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.json"))
SCENARIOS = {
    "started-and-stopped",
    "early-start",
    "failed-compile",
    "failed-provision",
    "stop-while-provisioning",
    "continued-before",
    "continued-after",
    "renamed",
    "restarted",
    "scheduled",
    "deleted",
    "activated-and-approved",
}


def load(path: Path) -> WorkflowHistory:
    """Read a recorded history."""
    recorded = json.loads(path.read_text())
    return WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])


def test_all_scenarios_are_recorded() -> None:
    assert {path.stem for path in HISTORIES} == SCENARIOS


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    replayer = Replayer(workflows=[PipelineWorkflow, CleanupWorkflow], plugins=[temporal.PLUGIN])
    await replayer.replay_workflow(load(path))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_state_decodes_and_loses_nothing(path: Path) -> None:
    converter = temporal.PLUGIN.data_converter
    found: list[dict[str, Any]] = []
    for event in load(path).events:
        started = event.workflow_execution_started_event_attributes
        renewed = event.workflow_execution_continued_as_new_event_attributes
        for payloads in (started.input.payloads, renewed.input.payloads):
            found += await converter.decode(payloads, [dict] * len(payloads))  # type: ignore[union-attr]
    assert found
    for encoded in found:
        again = State.decoded(encoded).encoded()
        assert State.decoded(again) == State.decoded(encoded)
        assert encoded.keys() <= again.keys()


@workflow.defn(name="Pipeline", sandboxed=False)
class Changed(PipelineWorkflow):
    """A careless change: one more command at the very beginning."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        super().__init__(encoded)

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        await workflow.sleep(1)
        await super().run(encoded)


async def test_a_changed_workflow_is_found_out() -> None:
    replayer = Replayer(workflows=[Changed], plugins=[temporal.PLUGIN])
    [path] = [path for path in HISTORIES if path.stem == "started-and-stopped"]
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(load(path))

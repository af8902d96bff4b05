"""`sluicegate replay`: finds every history that the code at hand would not go on with, and no other."""

import asyncio
import base64
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from temporalio import workflow
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.operate import beginnings, histories, replay
from sluicegate.operate.replay import Asked
from sluicegate.operate.verb import Unusable
from tests.conftest import TEMPORAL
from tests.workflows.operating import operator
from worker import WORKFLOWS

RECORDED = Path(__file__).parent / "histories"


def recorded(scenario: str) -> dict[str, Any]:
    """A history as a released version has recorded it, as the SDK writes it."""
    return dict(json.loads((RECORDED / "v0.1.0" / f"{scenario}.json").read_text())["history"])


def write(folder: Path, **found: Any) -> None:
    """Write files as an operator has exported them."""
    for name, history in found.items():
        (folder / f"{name}.json").write_text(json.dumps(history))


@pytest.fixture
def server_address(temporal_server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find the server of the module, as the command does."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder for histories."""
    folder = tmp_path / "exported"
    folder.mkdir()
    return folder


async def test_live_histories_replay_and_are_exported(
    running: Any, server_address: None, exported: Path, tmp_path: Path
) -> None:
    client = running.client
    directory = DirectoryState(revision=1)
    await client.start_workflow(
        "Directory", ledger.encoded(directory), id=temporal.DIRECTORY, task_queue=temporal.PIPELINES
    )
    ended = await operator(client, tmp_path, "replay", "--export", exported)
    assert (ended.status, ended.said.strip()) == (0, "2 replayed, 0 failed.")
    files = sorted(exported.iterdir())
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    for asked in (Asked(exported), Asked(query='WorkflowType="Directory"'), Asked(limit=1)):
        screen = Console(file=StringIO())
        assert await replay.carry_out(asked, screen) == 0
        how_many = 2 if asked.folder else 1
        assert screen.file.getvalue().strip() == f"{how_many} replayed, 0 failed."  # type: ignore[attr-defined]
    await client.get_workflow_handle(temporal.DIRECTORY).terminate("the test is over")


async def test_a_live_workflow_that_the_code_does_not_know_is_named(
    temporal_server: WorkflowEnvironment, decider: None, tmp_path: Path
) -> None:
    client = temporal_server.client
    handle = await client.start_workflow("OfAnotherRelease", {}, id="stranger", task_queue=temporal.PIPELINES)
    ended = await operator(client, tmp_path, "replay", "--query", 'WorkflowId="stranger"')
    await handle.terminate("the test is over")
    assert ended.status == 1, ended.said
    assert "stranger" in ended.said
    assert str(handle.first_execution_run_id) in ended.said
    assert "OfAnotherRelease" in ended.said


async def test_each_kind_of_misfit_is_found_among_others(
    temporal_server: WorkflowEnvironment, exported: Path
) -> None:
    good, reordered, unreadable = (recorded("started-and-stopped") for _ in range(3))
    scheduled = next(e for e in reordered["events"] if e["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED")
    scheduled["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "another"
    for number, history in enumerate((reordered, unreadable)):
        began = history["events"][0]["workflowExecutionStartedEventAttributes"]
        began["originalExecutionRunId"] = f"00000000-0000-0000-0000-00000000000{number}"
    payload = unreadable["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    state = json.loads(base64.b64decode(payload["data"]))
    state["pipeline"]["resources_status"] = "Melted"
    payload["data"] = base64.b64encode(json.dumps(state).encode()).decode()
    write(exported, a_good=good, b_reordered=reordered, c_unreadable=unreadable, d_other=["no", "history"])
    ended = await operator(temporal_server.client, exported.parent, "replay", exported)
    assert ended.status == 1, ended.said
    rows = [line for line in ended.said.splitlines() if line.startswith("│ ")]
    assert len([row for row in rows if not row.startswith("│  ")]) == 3, ended.said
    assert "Warning" not in ended.said
    found = "\n".join(rows)
    assert "00000000-0000-0000-0000-000000000000" in found
    assert "Nondeterminism" in found
    assert "00000000-0000-0000-0000-000000000001" in found
    assert "the state cannot be read: ValidationError" in found
    assert "d_other.json" in found
    assert "3 replayed, 3 failed." in ended.said


async def test_a_history_that_has_just_begun_holds_nobody_up(
    temporal_server: WorkflowEnvironment, exported: Path
) -> None:
    good = recorded("started-and-stopped")
    write(exported, a_begun={"events": good["events"][:1]}, b_good=good)
    ended = await operator(temporal_server.client, exported.parent, "replay", exported)
    assert (ended.status, ended.said.strip()) == (0, "2 replayed, 0 failed.")


async def test_exports_of_the_temporal_command_and_ui_are_read(running: Any, exported: Path) -> None:
    address = running.client.service_client.config.target_host
    shown = await asyncio.create_subprocess_exec(
        *(TEMPORAL, "workflow", "show", "--address", address, "--workflow-id", running.handle.id),
        *("--output", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await shown.communicate()
    whole = json.loads(said)
    write(exported, command=whole, ui=whole["events"])
    read = [history async for history in histories.of_folder(exported)]
    assert [found.workflow_id for found in read if not isinstance(found, histories.Unreadable)] == [
        running.handle.id
    ] * 2


async def test_a_state_that_loses_something_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = [histories._parsed(recorded("early-start"), "p")]
    converter = temporal.PLUGIN.data_converter
    assert await beginnings.problem(found, converter) is None  # type: ignore[arg-type]
    forgetful = {**beginnings.AGAIN, "Pipeline": lambda raw: {k: raw[k] for k in raw if k != "journal"}}
    monkeypatch.setattr(beginnings, "AGAIN", forgetful)
    assert await beginnings.problem(found, converter) == "the state loses journal"  # type: ignore[arg-type]


def test_every_type_of_workflow_is_covered() -> None:
    names = {workflow._Definition.must_from_class(kind).name for kind in WORKFLOWS}
    assert beginnings.AGAIN.keys() == names


async def test_what_cannot_be_tried_is_told_in_a_sentence(
    temporal_server: WorkflowEnvironment, tmp_path: Path
) -> None:
    ended = await operator(temporal_server.client, tmp_path, "replay", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert ended.status == 2, ended.said
    assert "cannot be reached" in ended.said
    assert "Traceback" not in ended.said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(folder=Path("nowhere")), "no exported history"),
        (Asked(query="Nonsense ="), "does not take the query"),
    ],
)
async def test_what_cannot_be_used_is_named(server_address: None, asked: Asked, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        await replay.carry_out(asked, Console(file=StringIO()))

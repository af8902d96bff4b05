"""Records the histories that `test_replay.py` replays: `pytest tests/workflows/record.py`, before a release.

They are recorded from released code and committed; a history of an older release is never recorded anew.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from sluicegate import __version__, temporal
from sluicegate.lifecycle.bulk import Result
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.policies import RestartPolicy, Schedule
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from tests.workflows import test_access as access
from tests.workflows import test_bulk as bulk
from tests.workflows.test_cluster import begin, tell
from workflows.cluster import ClusterWorkflow

FOLDER = Path(__file__).parent / "histories" / f"v{__version__}"
Eventually = Callable[..., Awaitable[Any]]


async def _reach(eventually: Eventually, subject: Any, key: str, value: str) -> None:
    async def there() -> bool:
        return bool((await subject.ask())["status"][key] == value)

    await eventually(there)


@pytest.fixture(scope="module")
async def temporal_server(private_home: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A server that leaves it to the workflow when to begin a new history."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
        plugins=[temporal.PLUGIN],
        search_attributes=list(temporal.SEARCH_ATTRIBUTES),
        dev_server_log_level="error",
    ) as environment:
        yield environment


async def _save(subject: Any, scenario: str, run_id: str | None = None) -> None:
    await _write(subject.client.get_workflow_handle(subject.handle.id, run_id=run_id), scenario)


async def _write(handle: Any, scenario: str) -> None:
    history = (await handle.fetch_history()).to_json_dict()
    recorded = json.dumps({"workflow_id": handle.id, "history": history}, indent=1)
    (FOLDER / scenario).parent.mkdir(parents=True, exist_ok=True)
    # Leave out who recorded it, and where.
    anonymous = re.sub(r"\d+@[\w.-]+", "worker", recorded)
    anonymous = re.sub(r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', anonymous)
    (FOLDER / f"{scenario}.json").write_text(anonymous + "\n")


async def test_started_and_stopped(running: Any, eventually: Eventually) -> None:
    await running.tell("pause")
    await _reach(eventually, running, "deployment_status", "Paused")
    await running.tell("resume")
    await _reach(eventually, running, "deployment_status", "Running")
    await running.tell("stop", force=True)
    await _reach(eventually, running, "deployment_status", "Stopped")
    await running.tell("clear")
    await _reach(eventually, running, "storage_status", "Cleared")
    await _save(running, "started-and-stopped")


async def test_early_start(create: Any, script: Any, eventually: Eventually) -> None:
    subject = await create(script=script(compile_gate=asyncio.Event()))
    await subject.tell("start", initial="Paused")
    subject.script.compile_gate.set()
    await _reach(eventually, subject, "deployment_status", "Paused")
    await _save(subject, "early-start")


async def test_failed_compile(create: Any, script: Any, eventually: Eventually) -> None:
    scripted = script(compile_gate=asyncio.Event())
    sql = {"exit_code": 1, "messages": [{"warning": False, "message": "no such table"}]}
    scripted.outcome = scripted.outcome.model_copy(update={"sql_compilation": sql, "plan": None})
    subject = await create(script=scripted)
    await subject.tell("start")
    scripted.compile_gate.set()
    await _reach(eventually, subject, "program_status", "SqlError")
    await _save(subject, "failed-compile")


async def test_failed_provision(create: Any, script: Any, eventually: Eventually) -> None:
    error = ApplicationError("exit code 3", type="ProvisionRejected", non_retryable=True)
    subject = await create(script=script(provision_error=error))
    await subject.tell("start")

    async def failed() -> bool:
        status = (await subject.ask())["status"]
        return status["deployment_status"] == "Stopped" and bool(status["deployment_error"])

    await eventually(failed)
    await _save(subject, "failed-provision")


async def test_stop_while_provisioning(create: Any, script: Any, eventually: Eventually) -> None:
    subject = await create(script=script(provision_gate=asyncio.Event()))
    await subject.tell("start")

    async def begun() -> bool:
        return bool(subject.script.provisioned)

    await eventually(begun)
    await subject.tell("stop", force=True)
    await _reach(eventually, subject, "deployment_status", "Stopped")
    subject.script.provision_gate.set()
    await _save(subject, "stop-while-provisioning")


@pytest.mark.parametrize("scenario", ["continued-before", "continued-after"])
async def test_continued_in_the_middle(running: Any, eventually: Eventually, scenario: str) -> None:
    first_run = (await running.handle.describe()).run_id

    async def renewed() -> bool:
        await running.tell("start", request_id=str(uuid4()))
        return bool((await running.handle.describe()).run_id != first_run)

    await eventually(renewed)
    await running.tell("stop", force=True)
    await _reach(eventually, running, "deployment_status", "Stopped")
    await _save(running, scenario, first_run if scenario == "continued-before" else None)


async def test_edited_renamed_deleted(create: Any, eventually: Eventually) -> None:
    subject = await create("before")
    await subject.edit(description="described")
    await subject.edit(name="after")
    await _save(subject, "renamed")
    subject.handle = subject.client.get_workflow_handle(f"pipeline/{subject.tenant_id}/after")
    await subject.delete()
    await _save(subject, "deleted")


async def test_activated_and_approved(create: Any, script: Any, eventually: Eventually) -> None:
    sync = {"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}
    subject = await create(script=script(asks=True), runtime_config=sync)
    await subject.tell("start", initial="Standby")
    await _reach(eventually, subject, "deployment_status", "AwaitingApproval")
    await subject.tell("approve", silent_bootstrap=True)
    await _reach(eventually, subject, "deployment_status", "Standby")
    await subject.tell("activate", initial="paused")
    await _reach(eventually, subject, "deployment_status", "Paused")
    await subject.tell("stop")
    await _reach(eventually, subject, "deployment_status", "Stopped")
    await _save(subject, "activated-and-approved")


async def test_health_of_the_control_plane(
    temporal_server: WorkflowEnvironment, decider: None, eventually: Eventually
) -> None:
    client = temporal_server.client
    begun = await begin(client)
    told = 0

    async def renewed() -> bool:
        nonlocal told
        await tell(client.get_workflow_handle_for(ClusterWorkflow.run, begun.id), runner=told % 2 == 0)
        told += 1
        described = await client.get_workflow_handle(begun.id).describe()
        return bool(described.run_id != begun.first_execution_run_id)

    await eventually(renewed)
    before = client.get_workflow_handle(begun.id, run_id=begun.first_execution_run_id)
    await _write(before, "cluster/continued-before")
    await _write(client.get_workflow_handle(begun.id), "cluster/continued-after")


@pytest.mark.parametrize("kind", ["Directory", "Tenant"])
async def test_who_may_do_what(temporal_server: WorkflowEnvironment, decider: None, kind: str) -> None:
    client = temporal_server.client
    begun = await access.begin(client, kind)
    await access.live(begun)
    while (await client.get_workflow_handle(begun.id).describe()).run_id == begun.first_execution_run_id:
        await access.change(begun, access.another(kind))
    await access.change(begun, access.another(kind))
    before = client.get_workflow_handle(begun.id, run_id=begun.first_execution_run_id)
    await _write(before, f"access/{kind.lower()}-before")
    await _write(client.get_workflow_handle(begun.id), f"access/{kind.lower()}-after")


async def test_restarted(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.edit(restart_policy=RestartPolicy(policy="on_failure", initial_backoff_secs=0.1))
    await subject.tell("start")
    await _reach(eventually, subject, "deployment_status", "Running")
    problem = Failure(message="the process was ended by signal 9", error_code="RunnerCheckError")
    subject.script.say(RuntimeStatus.RUNNING, RuntimeDesired.RUNNING, fatal=problem)

    async def restarted() -> bool:
        kept = await subject.handle.query("kept", result_type=dict)
        return bool(kept["restart_policy"]["restarts"] == 1 and await subject.status() == "Running")

    await eventually(restarted)
    await _save(subject, "restarted")


async def test_scheduled(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.edit(schedules={"yearly": Schedule(verb="start", cron="0 0 1 1 *")})

    async def placed() -> bool:
        return bool((await subject.handle.query("kept", result_type=dict))["in_place"])

    await eventually(placed)
    schedule = subject.client.get_schedule_handle(temporal.schedule_id(subject.id, "yearly"))
    await schedule.trigger()
    await _reach(eventually, subject, "deployment_status", "Running")
    await schedule.delete()
    await _save(subject, "scheduled")


async def test_bulk(create: Any, script: Any, eventually: Eventually) -> None:
    subjects = [await create(f"p{number}") for number in range(4)]
    client = subjects[0].client
    finished = await bulk.begin(client, subjects[:3], at_once=2)
    await finished.result()
    await _write(finished, "bulk/finished")
    # As another history takes it up: one pipeline is told, and one waits.
    midway = bulk.operation(subjects, at_once=3, verb="stop").handing_out(datetime.now(UTC))
    midway = midway.telling("p0").telling("p1").settling("p2", Result(outcome="done"), datetime.now(UTC))
    await subjects[0].tell("stop", request_id=midway.request_id)
    await subjects[1].tell("stop", request_id=midway.request_id)
    continued = await bulk.start(client, midway)
    await continued.result()
    await _write(continued, "bulk/continued")
    held = script(provision_gate=asyncio.Event())
    slow = await create("slow", script=held)
    cancelled = await bulk.begin(client, [slow, subjects[3]], at_once=1)
    await _reach(eventually, slow, "deployment_status", "Provisioning")
    await cancelled.signal("cancel")
    held.provision_gate.set()
    await cancelled.result()
    await _write(cancelled, "bulk/cancelled")

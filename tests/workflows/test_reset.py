"""A pipeline that no worker can go on with goes on after a reset, as docs/operations.md has it done."""

import asyncio
import re
from typing import Any
from uuid import uuid4

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.conftest import TEMPORAL
from worker import WORKFLOWS
from workflows.pipeline import PipelineWorkflow

FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


@workflow.defn(name="Pipeline", sandboxed=False)
class Careless(PipelineWorkflow):
    """A release with one more command, and no patch for it."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        super().__init__(encoded)

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        await super().run(encoded)

    @workflow.signal
    def dismiss_error(self, given: Any) -> None:
        super().dismiss_error(given)
        self._more = asyncio.create_task(workflow.sleep(0.01))


async def test_a_reset_takes_a_pipeline_up_before_the_task_that_does_not_replay(
    create: Any, temporal_server: WorkflowEnvironment, eventually: Any
) -> None:
    queue = f"reset-{uuid4()}"
    async with Worker(temporal_server.client, task_queue=queue, workflows=[Careless]):
        subject = await create(task_queue=queue)
        await subject.tell("start")

        async def runs() -> bool:
            return bool(await subject.status() == "Running" and subject.script.watches)

        await eventually(runs)
        await subject.tell("dismiss_error")
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        await subject.handle.signal("stop", {"request_id": "after", "arguments": {"force": True}})

        async def failure() -> str | None:
            for event in (await subject.handle.fetch_history()).events:
                if event.event_type == FAILED:
                    return str(event.workflow_task_failed_event_attributes.failure.message)
            return None

        [named] = re.findall(r"id: (\d+)", await eventually(failure))
        events = (await subject.handle.fetch_history()).events
        last = max(e.event_id for e in events if e.event_type == COMPLETED and e.event_id < int(named))
        where = ("--address", temporal_server.client.service_client.config.target_host)
        what = ("--workflow-id", subject.handle.id, "--event-id", str(last), "--reason", "does not replay")
        command = await asyncio.create_subprocess_exec(TEMPORAL, "workflow", "reset", *where, *what)
        assert await command.wait() == 0

        async def stopped() -> bool:
            return str(await subject.status()) == "Stopped"

        await eventually(stopped)
        assert [receipt["code"] for receipt in (await subject.ask("after"))["receipts"]] == [None]
        assert subject.script.provisioned == 1

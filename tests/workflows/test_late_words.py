"""What arrives in one and the same task of a workflow: nothing that is true for good is lost."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sluicegate.lifecycle.effects import Failure, Readopt
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from worker import WORKFLOWS

Eventually = Callable[..., Awaitable[Any]]
QUEUE = "decided-apart"
KILLED = Failure(message="the process was ended by signal 9", error_code="RunnerCheckError")


def deciding(server: WorkflowEnvironment) -> Worker:
    """A worker that decides for the pipelines of this test alone, so that it may be away."""
    return Worker(server.client, task_queue=QUEUE, workflows=WORKFLOWS)


async def test_that_a_process_has_ended_is_not_lost_to_a_host_that_comes_back(
    create: Any, temporal_server: WorkflowEnvironment, fake_host: Any, eventually: Eventually
) -> None:
    async with deciding(temporal_server):
        subject = await create(task_queue=QUEUE)
        await subject.tell("start")

        async def watched() -> bool:
            return bool(subject.script.watches == 1 and await subject.status() == "Running")

        await eventually(watched)
    await subject.handle.signal("readopt", Readopt(host=fake_host.host, generation=1))
    subject.script.say(RuntimeStatus.RUNNING, RuntimeDesired.RUNNING, fatal=KILLED)

    async def has_ended() -> bool:
        return not (await subject.handle.describe()).raw_description.pending_activities

    await eventually(has_ended)
    async with deciding(temporal_server):

        async def stopped() -> bool:
            return bool(await subject.status() == "Stopped")

        await eventually(stopped)
        assert (await subject.ask())["status"]["deployment_error"]["error_code"] == KILLED.error_code
    assert subject.script.watches == 1

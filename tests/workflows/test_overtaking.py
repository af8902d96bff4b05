"""A worker is killed and a query reaches the next one before the task does: the workflow goes on."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from sluicegate import overtaking, temporal
from sluicegate.lifecycle.effects import Readopt
from worker import WORKFLOWS

SOURCE = Path(__file__).parents[2]
ROUNDS = 5
"""At least one of so many queries overtakes a task."""
DECIDER = """
import asyncio, sys
from temporalio.client import Client
from temporalio.worker import Worker
from sluicegate import temporal
from worker import WORKFLOWS

async def main():
    client = await Client.connect(sys.argv[1], plugins=[temporal.PLUGIN])
    await Worker(client, task_queue=sys.argv[2], workflows=WORKFLOWS).run()

asyncio.run(main())
"""


@asynccontextmanager
async def doomed(client: Client, queue: str) -> AsyncIterator[None]:
    """A worker that is killed at the end, with what it has in its cache."""
    command = [sys.executable, "-c", DECIDER, client.service_client.config.target_host, queue]
    process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def at_rest(subject: Any) -> bool:
    """Whether nothing of a pipeline is under way."""
    described = (await subject.handle.describe()).raw_description
    pending = described.pending_activities or described.HasField("pending_workflow_task")
    return not pending and (await subject.memo())["status"]["program_status"] == "Success"


async def watched(subject: Any) -> bool:
    """Whether a pipeline runs and only its watch is under way."""
    described = (await subject.handle.describe()).raw_description
    busy = described.HasField("pending_workflow_task") or len(described.pending_activities) != 1
    return not busy and subject.script.watches == 1


async def overtaken(subject: Any, signal: str, *arguments: Any) -> "asyncio.Task[Any]":
    """Ask, then tell, with nobody there; give the question."""
    asked = asyncio.create_task(subject.handle.query("status", result_type=dict))
    await subject.handle.describe()  # by then the question is on its way to who was killed
    await subject.handle.signal(signal, args=arguments)
    return asked


async def answered(asked: "list[asyncio.Task[Any]]") -> None:
    """Wait for all answers. One that was held back for a task of the killed worker may be given up by the
    server."""
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, RPCError | dict), answer


async def replay(subjects: list[Any]) -> None:
    """Read every history again."""
    replayer = Replayer(workflows=WORKFLOWS, plugins=[temporal.PLUGIN])
    for subject in subjects:
        await replayer.replay_workflow(await subject.handle.fetch_history())


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What may have come ahead of a task."""
    found: list[Any] = []
    genuine = overtaking._first_time

    def noted(run_id: str, length: int) -> bool:
        found.append((run_id, length))
        return genuine(run_id, length)

    monkeypatch.setattr(overtaking, "_first_time", noted)
    return found


@pytest.mark.timeout(180)
async def test_queries_that_overtake_a_task(
    create: Any, temporal_server: WorkflowEnvironment, eventually: Any, refused: list[Any]
) -> None:
    queue = f"overtaken-{uuid4()}"
    async with doomed(temporal_server.client, queue):
        subjects = [await create(f"p{number}", task_queue=queue) for number in range(ROUNDS)]
        for subject in subjects:
            await eventually(partial(at_rest, subject))
    asked = [await overtaken(subject, "dismiss_error", {"request_id": "early"}) for subject in subjects]
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        await answered(asked)
        for subject in subjects:
            await subject.handle.signal("dismiss_error", {"request_id": "late"})
            assert len((await subject.ask("early", "late"))["receipts"]) == 2
    assert refused
    await replay(subjects)


@pytest.mark.timeout(180)
async def test_queries_that_overtake_a_host_that_has_come_back(
    create: Any, temporal_server: WorkflowEnvironment, eventually: Any, refused: list[Any], fake_host: Any
) -> None:
    """The watch is called off then, which the SDK tells the workflow in a portion of its own."""
    queue = f"adopted-{uuid4()}"
    async with doomed(temporal_server.client, queue):
        subjects = [await create(f"p{number}", task_queue=queue) for number in range(ROUNDS)]
        for subject in subjects:
            assert (await subject.tell("start"))["code"] is None
            await eventually(partial(watched, subject))
            # So long a history that the next task begins a new one, which a portion ahead of it does not.
            await subject.tell("dismiss_error")
    back = Readopt(host=fake_host.host, generation=1)
    asked = [await overtaken(subject, "readopt", back) for subject in subjects]
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        await answered(asked)
        for subject in subjects:
            assert (await subject.tell("dismiss_error"))["code"] is None
    assert refused
    await replay(subjects)


async def test_what_was_terminated_with_events_that_no_task_will_handle_is_still_asked(
    create: Any, temporal_server: WorkflowEnvironment, eventually: Any, refused: list[Any]
) -> None:
    queue = f"terminated-{uuid4()}"
    async with doomed(temporal_server.client, queue):
        subject = await create(task_queue=queue)
        await eventually(partial(at_rest, subject))
    await subject.handle.signal("dismiss_error", {"request_id": "early"})
    await subject.handle.terminate("by its operator")
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        assert await subject.status() == "Stopped"
    assert len(refused) == 2


class Fake:
    """A workflow that notes what reaches it."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.reached: list[WorkflowActivation] = []

    def activate(self, task: WorkflowActivation) -> None:
        """Note it."""
        self.reached.append(task)


class Told:
    """What the SDK tells one workflow, each time with all that it knows by then."""

    def __init__(self) -> None:
        """Nothing has begun."""
        self.run = str(uuid4())
        self._length = self._size = 0
        self._began = datetime(2026, 1, 1, tzinfo=UTC)

    def task(self, *, clock_stands: bool = False) -> WorkflowActivation:
        """A task that has begun, with a signal."""
        self._size += 1000
        self._began += timedelta(0 if clock_stands else 1)
        return self.ahead()

    def ahead(self) -> WorkflowActivation:
        """A signal whose task has not begun."""
        self._length += 4
        return self._now("signal_workflow")

    def cancelled(self) -> WorkflowActivation:
        """What was called off in the portion before."""
        return self._now("resolve_activity")

    def query(self, query_id: str = overtaking.ON_ITS_OWN) -> WorkflowActivation:
        """A query."""
        asked = self._now("query_workflow")
        asked.jobs[0].query_workflow.query_id = query_id
        return asked

    def _now(self, kind: str) -> WorkflowActivation:
        now = WorkflowActivation(run_id=self.run, history_length=self._length, history_size_bytes=self._size)
        now.timestamp.FromDatetime(self._began)
        getattr(now.jobs.add(), kind).SetInParent()
        return now


@pytest.fixture
def told() -> Told:
    """What a workflow is told."""
    return Told()


def guarded(fake: Fake, *given: WorkflowActivation) -> Any:
    """A workflow that has been told something."""
    workflow: Any = overtaking.instance(fake)  # type: ignore[arg-type]
    for task in given:
        workflow.activate(task)
    return workflow


def test_queries_after_tasks_are_answered(told: Told) -> None:
    fake = Fake()
    guarded(
        fake,
        told.task(),
        told.query(),
        told.task(clock_stands=True),
        told.query(),
        told.task(),
        told.cancelled(),
        told.query("with the task"),
        told.query(),
    )
    assert len(fake.reached) == 8


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_query_ahead_of_a_task_is_refused_wherever_the_workflow_comes_from(
    told: Told, asked_before: bool
) -> None:
    workflow = guarded(Fake(), told.task(), told.task(), *([told.query()] * asked_before), told.ahead())
    with pytest.raises(overtaking.Overtaken):
        workflow.activate(told.query())


def test_what_follows_from_the_portion_itself_does_not_clear_it(told: Told) -> None:
    workflow = guarded(Fake(), told.task(), told.ahead(), told.cancelled())
    with pytest.raises(overtaking.Overtaken):
        workflow.activate(told.query())


def test_what_has_seen_events_ahead_of_their_task_decides_nothing_more(told: Told) -> None:
    portions = told.task(), told.ahead(), told.cancelled()
    with pytest.raises(overtaking.Overtaken):
        guarded(Fake(), *portions).activate(told.query())
    workflow = guarded(Fake(), *portions, told.query())
    with pytest.raises(overtaking.Overtaken):
        workflow.activate(told.task())


def test_a_refusal_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    overtaking.keep_quiet()
    log = logging.getLogger("temporalio.worker._workflow")
    for problem in (overtaking.Overtaken(), ValueError("another")):
        try:
            raise problem
        except (overtaking.Overtaken, ValueError):
            log.exception("failed: %s", problem)
    assert [record.getMessage() for record in caplog.records] == ["failed: another"]

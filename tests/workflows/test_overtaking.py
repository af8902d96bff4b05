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

from api.rpc import Run, Temporal
from sluicegate import overtaking, temporal
from sluicegate.lifecycle.effects import Readopt
from sluicegate.lifecycle.state import Ask
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
    [*under_way] = (activity.activity_type.name for activity in described.pending_activities)
    return not described.HasField("pending_workflow_task") and under_way == ["watch"]


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


async def replay(client: Client, runs: list[tuple[str, str]]) -> None:
    """Read the histories of runs again."""
    replayer = Replayer(workflows=WORKFLOWS, plugins=[temporal.PLUGIN])
    for workflow_id, run_id in runs:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        await replayer.replay_workflow(await handle.fetch_history())


async def run_of(subject: Any) -> tuple[str, str]:
    """Name the present run."""
    return subject.handle.id, str((await subject.handle.describe()).run_id)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What may have come ahead of a task."""
    found: list[Any] = []

    class Noted(overtaking.Overtaken):
        def __init__(self) -> None:
            super().__init__()
            found.append(self)

    monkeypatch.setattr(overtaking, "Overtaken", Noted)
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
        runs = [await run_of(subject) for subject in subjects]
    asked = [await overtaken(subject, "dismiss_error", {"request_id": "early"}) for subject in subjects]
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        await answered(asked)
        for subject in subjects:
            await subject.handle.signal("dismiss_error", {"request_id": "late"})
            assert len((await subject.ask("early", "late"))["receipts"]) == 2
    assert refused
    await replay(temporal_server.client, runs)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("times", [1, 3])
async def test_queries_that_overtake_a_host_that_has_come_back(
    create: Any,
    temporal_server: WorkflowEnvironment,
    eventually: Any,
    refused: list[Any],
    fake_host: Any,
    times: int,
) -> None:
    """The watch is called off then. The SDK says so in a portion of its own, and later passes over the task
    that was for it."""
    queue = f"adopted-{uuid4()}"
    back = Readopt(host=fake_host.host, generation=1)
    async with doomed(temporal_server.client, queue):
        subjects = [await create(f"p{number}", task_queue=queue) for number in range(ROUNDS)]
        for subject in subjects:
            assert (await subject.tell("start"))["code"] is None
            await eventually(partial(watched, subject))
            # From 40 events on a new history is suggested, which a portion ahead of its task does not see.
            await subject.tell("dismiss_error")
            for _ in range(times - 1):
                await subject.handle.signal("readopt", back)
                await eventually(partial(watched, subject))
        runs = [await run_of(subject) for subject in subjects]
    asked = [await overtaken(subject, "readopt", back) for subject in subjects]
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        await answered(asked)
        for subject in subjects:
            assert (await subject.tell("dismiss_error"))["code"] is None
    assert refused
    await replay(temporal_server.client, runs)


async def test_what_was_terminated_with_events_that_no_task_will_handle_is_still_asked(
    create: Any, temporal_server: WorkflowEnvironment, eventually: Any
) -> None:
    queue = f"terminated-{uuid4()}"
    async with doomed(temporal_server.client, queue):
        subject = await create(task_queue=queue)
        await eventually(partial(at_rest, subject))
    await subject.handle.signal("dismiss_error", {"request_id": "early"})
    await subject.handle.terminate("by its operator")
    async with Worker(temporal_server.client, task_queue=queue, workflows=WORKFLOWS):
        rpc = Temporal(temporal_server.client)
        answer = await rpc.query(subject.handle.id, "status", Ask(), within=10, run=Run.ENDED)
        assert answer["status"]["deployment_status"] == "Stopped"
        assert await subject.status() == "Stopped"


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
        self._length = self._size = 0
        self._began = datetime(2026, 1, 1, tzinfo=UTC)

    def task(self, *, clock_stands: bool = False, replay: bool = False) -> WorkflowActivation:
        """A task that has begun, with a signal."""
        self.task_without_words(clock_stands=clock_stands)
        return self.ahead(replay=replay)

    def task_without_words(self, *, clock_stands: bool = False) -> None:
        """A task of which the workflow is told nothing."""
        self._length += 2
        self._size += 1000
        self._began += timedelta(0 if clock_stands else 1)

    def ahead(self, *, replay: bool = False) -> WorkflowActivation:
        """A signal whose task has not begun."""
        self._length += 2
        return self._now("signal_workflow", replay=replay)

    def cancelled(self) -> WorkflowActivation:
        """What was called off in the portion before."""
        return self._now("resolve_activity")

    def query(self, query_id: str = overtaking.ON_ITS_OWN, *, ended: bool = False) -> WorkflowActivation:
        """A query."""
        asked = self._now("query_workflow", replay=True)
        asked.jobs[0].query_workflow.query_id = query_id
        if ended:
            for name, value in overtaking.OF_AN_ENDED_RUN.fields.items():
                asked.jobs[0].query_workflow.headers[name].CopyFrom(value)
        return asked

    def _now(self, kind: str, *, replay: bool = False) -> WorkflowActivation:
        now = WorkflowActivation(
            history_length=self._length, history_size_bytes=self._size, is_replaying=replay
        )
        now.timestamp.FromDatetime(self._began)
        getattr(now.jobs.add(), kind).SetInParent()
        return now


@pytest.fixture
def told() -> Told:
    """What a workflow is told."""
    return Told()


@pytest.fixture
def fake() -> Fake:
    """What is guarded."""
    return Fake()


@pytest.fixture
def guarded(fake: Fake) -> Any:
    """The same, guarded."""
    return overtaking.instance(fake)  # type: ignore[arg-type]


def test_queries_after_tasks_are_answered(guarded: Any, fake: Fake, told: Told) -> None:
    guarded.activate(told.task(replay=True))
    guarded.activate(told.query())
    guarded.activate(told.task())
    guarded.activate(told.query("with the task"))
    guarded.activate(told.task(clock_stands=True))
    guarded.activate(told.query())
    guarded.activate(told.task())
    guarded.activate(told.cancelled())
    guarded.activate(told.query())
    assert len(fake.reached) == 9


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("asked_before", [False, True])
@pytest.mark.parametrize("follows", [False, True])
def test_a_query_ahead_of_a_task_is_refused_however_often_it_is_asked(
    guarded: Any, told: Told, replayed: bool, asked_before: bool, follows: bool
) -> None:
    guarded.activate(told.task(replay=replayed))
    if asked_before:
        guarded.activate(told.query())
    guarded.activate(told.ahead())
    if follows:
        guarded.activate(told.cancelled())
    for _ in range(2):
        with pytest.raises(overtaking.Overtaken):
            guarded.activate(told.query())


def test_so_is_one_after_a_task_without_words(guarded: Any, told: Told) -> None:
    guarded.activate(told.task(replay=True))
    told.task_without_words()
    guarded.activate(told.ahead())
    with pytest.raises(overtaking.Overtaken):
        guarded.activate(told.query())


def test_what_has_answered_ahead_of_a_task_decides_nothing_more(guarded: Any, told: Told) -> None:
    guarded.activate(told.task())
    guarded.activate(told.ahead())
    guarded.activate(told.cancelled())
    guarded.activate(told.query(ended=True))
    with pytest.raises(overtaking.Overtaken):
        guarded.activate(told.task())


def test_a_refusal_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    overtaking.keep_quiet()
    log = logging.getLogger("temporalio.worker._workflow")
    for problem in (overtaking.Overtaken(), ValueError("another")):
        try:
            raise problem
        except (overtaking.Overtaken, ValueError):
            log.exception("failed: %s", problem)
    assert [record.getMessage() for record in caplog.records] == ["failed: another"]

"""What it costs to have a start admitted: `POST /start` beside the bare signal RPC of the same server."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client

from benchmarks import load
from benchmarks.anatomy import ADMISSION, Call
from benchmarks.measure import AtMost, Figure, Share, Times
from benchmarks.plane import Pipeline, Plane, ProcessorTime, command, create, each, settled

SAMPLES = 300
WARM_UP = 20
CALLERS = 32
PIPELINES = 200
SECONDS = 6.0
ROUNDS = 3


def measure(plane: Plane) -> list[Figure]:
    """Start a running pipeline again and again, in turn with bare signals to a workflow nobody works on."""
    with asyncio.Runner() as runner:
        pipeline = Pipeline(plane)
        pipeline.post("start")
        pipeline.wait("deployment_status", "Running")
        floor = runner.run(_Floor.at(plane, 1))
        measured, bare, calls = [], [], []
        for number in range(WARM_UP + SAMPLES):
            asked, started = time.time(), time.perf_counter()
            pipeline.post("start")
            admitted, answered = time.perf_counter(), time.time()
            runner.run(floor.signal(0))
            signalled = time.perf_counter()
            if number >= WARM_UP:
                calls.append(Call(asked, answered))
                measured.append((admitted - started) * 1e3)
                bare.append((signalled - admitted) * 1e3)
        runner.run(floor.end())
    parts = pipeline.anatomy(ADMISSION, "an admission", calls)
    pipeline.remove()
    aims = [Times(4.5), Times(4.5, 99)]
    return [Figure("admission of POST /start, one caller", measured, "bare signal RPC", bare, aims), *parts]


def measure_crowd(plane: Plane) -> list[Figure]:
    """Start running pipelines from many callers at once: two hundred of them, and one alone."""
    names = [f"crowd-{number:03}" for number in range(PIPELINES)]
    api = plane.wire()
    each(lambda name: create(api, name), names)
    settled(api, "program_status", "Success", set(names))
    each(lambda name: command(api, name, "start"), names)
    settled(api, "deployment_status", "Running", set(names))
    with asyncio.Runner() as runner:
        crowd = runner.run(_crowd(plane, names))
    each(lambda name: command(api, name, "stop?force=true"), names)
    settled(api, "deployment_status", "Stopped", set(names))
    note = f"{crowd.refused} calls failed"
    return [
        Figure(
            f"admissions a second, {CALLERS} callers, {PIPELINES} pipelines",
            crowd.many.per_second,
            "bare signals",
            crowd.bare.per_second,
            [Share(0.25)],
            unit="/s",
            note=note,
        ),
        *crowd.spent,
        Figure(
            f"admission, {CALLERS} callers, one pipeline",
            crowd.one.took_ms,
            aims=[AtMost(300, 99), _NoneFailed(crowd.refused)],
            note=note,
        ),
    ]


class _NoneFailed:
    def __init__(self, failed: int) -> None:
        self._failed = failed

    def judge(self, figure: Figure) -> Any:
        """See `Aim`."""
        return AtMost(0, 100).judge(Figure("failed", [float(self._failed)], unit="failed"))


class _Crowd(NamedTuple):
    many: load.Load
    one: load.Load
    bare: load.Load
    spent: list[Figure]
    refused: int


async def _crowd(plane: Plane, names: list[str]) -> _Crowd:
    refused = 0
    api, loop = plane.wire(), asyncio.get_running_loop()
    spending = ProcessorTime(plane)
    with ThreadPoolExecutor(CALLERS) as callers:

        async def start(name: str) -> None:
            nonlocal refused
            answer = await loop.run_in_executor(callers, api.once, "POST", f"/v0/pipelines/{name}/start")
            refused += answer.status != 202

        floor = await _Floor.at(plane, PIPELINES)
        many, bare = load.Load([], []), load.Load([], [])
        for _ in range(ROUNDS):
            spending.begin()
            came = await load.run(lambda turn: start(names[turn % PIPELINES]), CALLERS, SECONDS)
            spending.end(len(came.took_ms))
            _add(many, came)
            _add(bare, await load.run(floor.signal, CALLERS, SECONDS))
        await floor.end()
        one = await load.run(lambda turn: start(names[0]), CALLERS, SECONDS)
    return _Crowd(many, one, bare, spending.figures("an admission of a crowd"), refused)


def _add(whole: load.Load, part: load.Load) -> None:
    whole.per_second.extend(part.per_second)
    whole.took_ms.extend(part.took_ms)


class _Floor:
    def __init__(self, client: Client, workflow_ids: list[str]) -> None:
        self._client = client
        self._ids = workflow_ids

    @classmethod
    async def at(cls, plane: Plane, many: int) -> "_Floor":
        client = await plane.client()
        ids = [f"floor-{uuid4()}" for _ in range(many)]
        for workflow_id in ids:
            await client.start_workflow("Nobody", id=workflow_id, task_queue="nobody")
        return cls(client, ids)

    async def signal(self, turn: int) -> None:
        request = SignalWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=self._ids[turn % len(self._ids)]),
            signal_name="start",
            request_id=str(uuid4()),
        )
        await self._client.workflow_service.signal_workflow_execution(request)

    async def end(self) -> None:
        for workflow_id in self._ids:
            await self._client.get_workflow_handle(workflow_id).terminate()

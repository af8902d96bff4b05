"""A run: a control plane, its clients, the faults, and the ending, written into a recording."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import plane as planes
from tests.chaos import schedule, workload
from tests.chaos.connection import Commander, Connection
from tests.chaos.ending import STEPS, Ending
from tests.chaos.errands import Errands
from tests.chaos.feeding import Feeder
from tests.chaos.nemesis import Nemesis
from tests.chaos.plane import Plane
from tests.chaos.recording import Recording, Run
from tests.chaos.runtime import ENGINE
from tests.chaos.schedule import Fault
from tests.chaos.workload import Pool
from tests.conformance.plane import SOURCE

Tell = Callable[[str], None]
TELL_EVERY = 10.0
COMPLETE = 600.0
"""Seconds of faults after which every named point must have been hit."""


@dataclass(frozen=True)
class Size:
    """How much goes on."""

    seconds: float
    pipelines: int = 40
    clients: int = 10
    bystanders: int = 4
    feeders: int = 3
    """Of pipelines with rows: every other one has fault tolerance."""
    every: float = schedule.EVERY

    @property
    def complete(self) -> bool:
        """Whether every named point must be hit."""
        return self.seconds >= COMPLETE


SHORT = Size(25.0, pipelines=8, clients=4, bystanders=3, feeders=2, every=1.5)
"""What the tests run."""


async def run(seed: int, size: Size, folders: tuple[Path, Path], tell: Tell) -> Recording:
    """Run it with everything of the control plane in the first folder, and record it into the second."""
    recording = Recording(folders[1])
    planned = schedule.scheduled(seed, size.seconds, size.every)
    recording.write("schedule", (fault.encoded() for fault in planned))
    known = Run(seed, size.seconds, time.time() - time.monotonic(), complete=size.complete)
    try:
        async with planes.running(folders[0]) as plane, _sampled(plane, recording):
            known.skipped = dict(plane.skipped)
            await _Campaign(plane, recording, known, size, tell).go(seed, planned)
    finally:
        known.ended = time.monotonic()
        recording.finish(known)
    return recording


@dataclass
class _Campaign:
    plane: Plane
    recording: Recording
    run: Run
    size: Size
    tell: Tell

    async def go(self, seed: int, planned: Sequence[Fault]) -> None:
        over = asyncio.Event()
        async with AsyncExitStack() as stack:
            founder = await stack.enter_async_context(_connected(self.plane, None, "founder", seed))
            first, second = [await _founded(founder, name) for name in ("first", "second")]

            async def errands(name: str, tenant: str = first) -> Errands:
                client = await stack.enter_async_context(_connected(self.plane, tenant, name, seed))
                return Errands(client, self.run, self.recording, over)

            await (await errands("bystander")).bystand(self.size.bystanders)
            self.tell(f"{self.size.bystanders} bystanders run; {len(planned)} faults begin")
            async with asyncio.TaskGroup() as tasks:
                for work in (
                    (await errands("validator")).validate(),
                    (await errands("scheduler")).keep_schedules(),
                    (await errands("bulk")).bulk(),
                    (await errands("steerer")).steer(),
                    (await errands("onlooker")).look(),
                    (await errands("stranger", second)).peep(["by-1", "by-2"]),
                ):
                    tasks.create_task(work)
                for number in range(self.size.feeders):
                    feeder = Feeder(await errands(f"feeder-{number}"), f"{ENGINE}-{number}")
                    tasks.create_task(feeder.checkpointed() if number % 2 else feeder.tolerant())
                pool = Pool(self.size.pipelines, self.run)
                for number in range(self.size.clients):
                    given = (self.plane.urls, first, number, (seed, self.recording))
                    client = Commander(*given)
                    stack.push_async_callback(client.aclose)
                    tasks.create_task(workload.live(client, pool, over))
                telling = tasks.create_task(self._tell_how_it_goes())
                await self._break(planned)
                over.set()
                telling.cancel()
            ending = await stack.enter_async_context(_connected(self.plane, first, "ending", seed))
            patient = self.size is not SHORT
            await self._end(Ending(self.plane, ending, self.run, self.recording, patient))

    async def _break(self, planned: Sequence[Fault]) -> None:
        nemesis = Nemesis(self.plane, self.recording, self.run.bystanders)
        self.run.began = time.monotonic()
        await nemesis.run(planned)
        await nemesis.heal()
        self.run.healed = time.monotonic()
        self.tell("the faults are over")

    async def _end(self, ending: Ending) -> None:
        for what, step in STEPS:
            began = time.monotonic()
            await step(ending)
            self.tell(f"{what}: {time.monotonic() - began:.0f} s")

    async def _tell_how_it_goes(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            counts = {kind: len(self.recording.read(kind)) for kind in ("history", "faults", "hits")}
            passed = time.monotonic() - self.run.began
            self.tell(
                f"{passed:4.0f} s: {counts['history']} commands, {counts['faults']} faults,"
                f" {counts['hits']} of them hit at points; {len(self.run.created)} pipelines so far"
            )


@asynccontextmanager
async def _connected(plane: Plane, tenant: str | None, name: str, seed: int) -> AsyncIterator[Connection]:
    client = Connection(plane.urls, tenant, name, seed)
    try:
        yield client
    finally:
        await client.aclose()


async def _founded(client: Connection, name: str) -> str:
    answer = await client.decided("POST", "/v0/tenants", json={"name": name})
    if answer is None or not answer.response.is_success:
        raise RuntimeError(f"the tenant {name} could not be made: {answer and answer.response.text}")
    return str(answer.response.json()["id"])


@asynccontextmanager
async def _sampled(plane: Plane, recording: Recording) -> AsyncIterator[None]:
    """Look at the processes for as long as the block runs."""
    command = [sys.executable, "-m", "tests.chaos.sampler", str(plane.home), str(recording.path("samples"))]
    sampler = await asyncio.create_subprocess_exec(*command, cwd=SOURCE)
    try:
        yield
    finally:
        sampler.terminate()
        await sampler.wait()

"""A watcher sees each transition once and in order, whatever happens to its connection and the front ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.client import Client
from sluicegate.lifecycle.values import Packed
from sluicegate.sse import Event

pytestmark = pytest.mark.timeout(120)

ENDS_WITHIN = 3.0
"""Seconds in which a front end ends its streams and then itself."""
TEN = [
    ("Stopped", None, "Provisioned", "Cleared"),
    ("Stopped", None, "Provisioned", "InUse"),
    ("Provisioning", None, "Provisioned", "InUse"),
    ("Provisioned", "Initializing", "Provisioned", "InUse"),
    ("Provisioned", "Running", "Provisioned", "InUse"),
    ("Provisioned", "Paused", "Provisioned", "InUse"),
    ("Provisioned", "Running", "Provisioned", "InUse"),
    ("Provisioned", "Running", "Stopped", "InUse"),
    ("Stopping", None, "Stopped", "InUse"),
    ("Stopped", None, "Stopped", "InUse"),
]
"""What a start, a pause, a resume and a forced stop bring about: resources, runtime, wanted, storage."""
LIFE = [("start", "Running"), ("pause", "Paused"), ("resume", "Running"), ("stop", "Stopped")]


class Line:
    """A line to front ends in turn, which can be cut."""

    def __init__(self, ports: list[int]) -> None:
        """Lead each connection to the next port."""
        self._ports = cycle(ports)
        self._ends: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead a connection on; hang up where nobody answers."""
        try:
            there, out = await asyncio.open_connection("127.0.0.1", next(self._ports))
        except ConnectionError:
            writer.close()
            return
        self.connections += 1
        self._ends |= {writer, out}
        await asyncio.gather(_pass(reader, out), _pass(there, writer))

    async def cut(self) -> None:
        """Cut what is connected, without a farewell."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(1 << 16):
            target.write(part)
            await target.drain()
    except ConnectionError:
        return  # cut
    finally:
        target.close()


@asynccontextmanager
async def line_to(*front_ends: Any) -> AsyncIterator[tuple[Line, str]]:
    """A line, and the address where it begins."""
    line = Line([httpx.URL(front_end.url).port or 0 for front_end in front_ends])
    async with await asyncio.start_server(line.lead, "127.0.0.1", 0) as server:
        yield line, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await line.cut()


class Watcher:
    """Watches with our client, in a thread, until the pipeline is deleted."""

    def __init__(self, url: str, name: str) -> None:
        """Begin."""
        self.seen: list[Event] = []
        self._task = asyncio.create_task(asyncio.to_thread(self._watch, url, name))

    def _watch(self, url: str, name: str) -> None:
        with Client(url) as client:
            for event in client.watch(name):
                self.seen.append(event)

    async def begun(self, eventually: Any) -> None:
        """Wait for the event that says how things stand."""

        async def anything() -> bool:
            return bool(self.seen)

        await eventually(anything)

    async def knows(self, event_id: str, eventually: Any) -> None:
        """Wait until an event is the last that it has seen."""

        async def seen() -> bool:
            return self.seen[-1].id == event_id

        await eventually(seen)

    async def all(self) -> list[Event]:
        """Give the transitions, once the pipeline is deleted and the watch has said so and ended."""
        async with asyncio.timeout(30):
            await self._task
        assert [event.kind for event in self.seen] == ["transition"] * (len(self.seen) - 1) + ["deleted"]
        return self.seen[:-1]


@pytest.fixture
async def shop(tuned: Any, pipeline_type: Any, eventually: Any) -> Any:
    """A compiled pipeline, called through the second front end."""
    made = pipeline_type(tuned.apis[1], f"watched-{uuid4().hex[:8]}", eventually)
    await made.create()
    assert (await made.api.get(made.path, params={"wait_for": "compiled"})).status_code == 200
    return made


async def journal(tuned: Any, name: str) -> list[str]:
    """The ids of the transitions of a pipeline, oldest first."""
    handle = tuned.client.get_workflow_handle(temporal.pipeline_workflow_id(DEFAULT_TENANT, name))
    kept = (await handle.query("events", result_type=Packed)).json_value
    return [event["event_id"] for event in kept][::-1]


async def begun_anew(tuned: Any, name: str) -> bool:
    """Whether a pipeline has had more than one history."""
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, name)
    return sum([1 async for _ in tuned.client.list_workflows(f"WorkflowId = '{workflow}'")]) > 1


async def live(shop: Any, disturb: Callable[[], Awaitable[None]]) -> None:
    """Start, pause, resume and stop, with a disturbance in the midst of each."""
    for verb, status in LIFE:
        answer = await shop.post(verb, **({"force": "true"} if verb == "stop" else {}))
        assert answer.status_code == 202, answer.text
        await disturb()
        await shop.reaches(status)


def standing(event: Event) -> tuple[str | None, ...]:
    """What a transition says, as in `TEN`."""
    keys = (
        "deployment_resources_status",
        "deployment_runtime_status",
        "deployment_resources_desired_status",
        "storage_status",
    )
    return tuple(event.data[key] for key in keys)


@pytest.mark.parametrize("disturbance", ["none", "cut", "killed", "ended"])
async def test_ten_transitions(tuned: Any, shop: Any, eventually: Any, disturbance: str) -> None:
    watched = tuned.front_ends if disturbance == "cut" else tuned.front_ends[:1]
    async with line_to(*watched) as (line, url):
        watcher = Watcher(url, shop.name)
        await watcher.begun(eventually)

        async def disturb() -> None:
            if disturbance == "cut":
                await line.cut()
            elif disturbance == "killed":
                tuned.front_ends[0].kill()
                tuned.front_ends[0].run()
            elif disturbance == "ended":
                await asyncio.to_thread(tuned.front_ends[0].end)
                tuned.front_ends[0].run()

        await live(shop, disturb)
        journaled = await journal(tuned, shop.name)
        await watcher.knows(journaled[-1], eventually)
        assert (await shop.post("clear")).status_code == 202
        assert (await shop.api.get(shop.path, params={"wait_for": "cleared"})).status_code == 200
        assert (await shop.api.delete(shop.path)).status_code == 200
        seen = await watcher.all()
    # The first says how things stand, the last two that storage is cleared and is clear.
    assert [standing(event) for event in seen[1:-2]] == TEN
    ids = [event.id for event in seen]
    assert ids[:-2] == journaled[-11:]
    assert (line.connections == 1) == (disturbance == "none")


async def test_histories_that_begin_anew(tuned: Any, shop: Any, eventually: Any) -> None:
    async with line_to(*tuned.front_ends) as (line, url):
        watcher = Watcher(url, shop.name)
        await watcher.begun(eventually)
        for round_number in range(7):  # the last of them on a line that holds
            for _ in range(10):
                assert (await shop.post("dismiss_error")).status_code in (200, 202)
            if round_number % 2:
                await line.cut()
        await eventually(lambda: begun_anew(tuned, shop.name))
        journaled = await journal(tuned, shop.name)
        await watcher.knows(journaled[-1], eventually)
        assert (await shop.api.delete(shop.path)).status_code == 200
        ids = [event.id for event in await watcher.all()]
    assert ids == journaled[journaled.index(str(ids[0])) :]
    assert len(ids) > 70


async def test_a_front_end_that_ends_ends_its_streams_first(tuned: Any, shop: Any, eventually: Any) -> None:
    front_end = tuned.front_ends[0]
    clock = asyncio.get_running_loop().time
    async with httpx.AsyncClient(base_url=front_end.url, timeout=30) as http:

        async def answers() -> bool:
            return (await http.get("/healthz")).is_success

        await eventually(answers)
        async with http.stream("GET", f"{shop.path}/watch") as stream:
            lines = stream.aiter_lines()
            assert "retry" in await anext(lines)
            began = clock()
            ending = asyncio.create_task(asyncio.to_thread(front_end.end))
            async for _ in lines:
                pass  # to its regular end: a broken one raises
            await ending
    assert clock() - began < ENDS_WITHIN
    assert front_end.process.returncode == -signal.SIGTERM  # not killed
    front_end.run()
    await shop.remove()

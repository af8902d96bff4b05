"""Watching: every transition once and in order, across cut connections, front ends, histories and ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api import lookouts
from api.app import create_app
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.lifecycle import journal
from sluicegate.lifecycle.values import Packed
from sluicegate.settings import Settings

pytestmark = pytest.mark.usefixtures("api_worker")


class Stream:
    """The events of one connection."""

    def __init__(self, answer: httpx.Response) -> None:
        """Read an answer that has begun."""
        self._lines = answer.aiter_lines()

    async def next(self, within: float = 20) -> dict[str, Any]:
        """Give the next event; comments and hints are passed over."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(within):
            async for line in self._lines:
                key, _, value = line.partition(": ")
                if key in ("id", "event"):
                    found[key] = value
                elif key == "data":
                    found["data"] = json.loads(value)
                elif not line and "data" in found:
                    return found
        raise EOFError

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Give the events up to the one that is wanted."""
        found = [await self.next()]
        while not wanted(found[-1]):
            found.append(await self.next())
        return found


@asynccontextmanager
async def watching(url: str, path: str, **options: Any) -> AsyncIterator[Stream]:
    """Watch over a connection of its own, which is cut at the end of the block."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(30)) as http,
        http.stream("GET", f"{path}/watch", **options) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        yield Stream(answer)


def resumed(event: dict[str, Any]) -> dict[str, Any]:
    """What a caller sends that has seen an event."""
    return {"headers": {"Last-Event-ID": event["id"]}}


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


async def recorded(client: Any, pipeline: Any) -> list[str]:
    """The ids of the journal, oldest first."""
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
    found = await client.get_workflow_handle(workflow).query("events", result_type=Packed)
    return [event["event_id"] for event in found.json_value][::-1]


def shows(**status: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda event: all(event["data"].get(key) == value for key, value in status.items())


COMPILED = shows(program_status="Success")
RUNS = shows(deployment_runtime_status="Running", deployment_runtime_desired_status="Running")
RESTS = shows(deployment_resources_status="Stopped", deployment_resources_desired_status="Stopped")


@pytest.fixture
async def pipeline(api_url: str, api_named: Any) -> AsyncIterator[Any]:
    """A compiled pipeline, called at a front end that listens."""
    async with httpx.AsyncClient(base_url=api_url) as http:
        made = api_named(http)
        await made.create()
        await made.reaches("Success", "program_status")
        yield made


async def test_each_transition_comes_once_and_in_order(pipeline: Any, api_url: str, api_server: Any) -> None:
    async with watching(api_url, pipeline.path) as stream:
        first = await stream.next()
        assert first["event"] == "transition"
        assert set(first["data"]) == {
            "event_id",
            "recorded_at",
            "deployment_resources_status",
            "deployment_resources_desired_status",
            "deployment_runtime_status",
            "deployment_runtime_desired_status",
            "deployment_has_error",
            "program_status",
            "storage_status",
        }
        assert first["data"]["event_id"] == first["id"]
        assert COMPILED(first)
        seen = [first]
        assert (await pipeline.post("start")).status_code == 202
        seen += await stream.until(RUNS)
        assert (await pipeline.post("stop", force="true")).status_code == 202
        seen += await stream.until(RESTS)
    journaled = await recorded(api_server.client, pipeline)
    assert ids(seen) == journaled[journaled.index(first["id"]) :]
    assert len(seen) >= 8


@pytest.mark.parametrize("by", ["header", "query"])
async def test_who_comes_back_misses_nothing_and_sees_nothing_twice(
    pipeline: Any, api_url: str, api_server: Any, by: str
) -> None:
    async with watching(api_url, pipeline.path) as stream:
        seen = [await stream.next()]
        await pipeline.post("start")
        seen.append(await stream.next())
    await pipeline.reaches("Running")
    await pipeline.post("stop", force="true")
    options = resumed(seen[-1]) if by == "header" else {"params": {"after": seen[-1]["id"]}}
    async with watching(api_url, pipeline.path, **options) as stream:
        seen += await stream.until(RESTS)
    journaled = await recorded(api_server.client, pipeline)
    assert ids(seen) == journaled[journaled.index(seen[0]["id"]) :]


async def test_a_cut_after_every_event_at_two_front_ends_in_turn(
    pipeline: Any, api_url: str, api_server: Any, api_settings: Settings, api_serving: Any
) -> None:
    """Each connection takes one event; a second watcher keeps the lookouts of both front ends busy."""
    async with api_serving(create_app(api_settings, api_server.client)) as other:
        urls = [api_url, f"http://{other}"]
        async with watching(urls[0], pipeline.path) as stream:
            seen = [await stream.next()]
        async with watching(urls[0], pipeline.path), watching(urls[1], pipeline.path):
            await pipeline.running()
            await pipeline.post("pause")
            await pipeline.reaches("Paused")
            await pipeline.post("stop", force="true")
            while len(seen) < 10:
                async with watching(urls[len(seen) % 2], pipeline.path, **resumed(seen[-1])) as stream:
                    seen.append(await stream.next())
                if RESTS(seen[-1]) and len(seen) > 6:
                    break
    journaled = await recorded(api_server.client, pipeline)
    begin = journaled.index(seen[0]["id"])
    assert ids(seen) == journaled[begin : begin + len(seen)]
    assert len(seen) > 6


async def test_a_burst_between_two_looks_loses_nothing(
    pipeline: Any, api_url: str, api_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookouts, "SOON", 1.0)
    monkeypatch.setattr(lookouts, "LATEST", 1.0)
    async with watching(api_url, pipeline.path) as stream:
        seen = [await stream.next()]
        for _ in range(20):
            assert (await pipeline.post("dismiss_error")).status_code == 200
        seen += [await stream.next() for _ in range(20)]
    journaled = await recorded(api_server.client, pipeline)
    assert ids(seen) == journaled[journaled.index(seen[0]["id"]) :]


async def test_a_cursor_that_is_not_kept_is_a_gap(pipeline: Any, api_url: str, api_server: Any) -> None:
    unknown = str(uuid4())
    async with watching(api_url, pipeline.path, headers={"Last-Event-ID": unknown}) as stream:
        gap = await stream.next()
        journaled = await recorded(api_server.client, pipeline)
        assert gap == {"event": "gap", "data": {"after": unknown, "oldest_kept": journaled[0]}}
        assert ids([await stream.next() for _ in journaled]) == journaled


async def test_more_than_is_kept_between_two_looks_is_a_gap(
    pipeline: Any, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(api_url, pipeline.path) as stream:
        seen = await stream.next()
        monkeypatch.setattr(lookouts, "SOON", 5.0)
        monkeypatch.setattr(lookouts, "LATEST", 5.0)
        monkeypatch.setattr(journal, "KEPT", 3)
        await asyncio.gather(*(pipeline.post("dismiss_error") for _ in range(10)))
        gap = await stream.next()
        assert gap["event"] == "gap"
        assert gap["data"]["after"] == seen["id"]
        assert (await stream.next())["id"] == gap["data"]["oldest_kept"]


@pytest.mark.parametrize("ending", ["deleted", "renamed"])
async def test_the_end_is_told_after_all_that_was_before(pipeline: Any, api_url: str, ending: str) -> None:
    async with watching(api_url, pipeline.path) as stream:
        await stream.next()
        assert (await pipeline.post("dismiss_error")).status_code == 200
        if ending == "deleted":
            assert (await pipeline.http.delete(pipeline.path)).status_code == 200
        else:
            renamed = await pipeline.http.patch(pipeline.path, json={"name": f"{pipeline.name}-2"})
            assert renamed.status_code == 200, renamed.text
        *before, end = await stream.until(lambda event: event["event"] == "deleted")
        assert {event["event"] for event in before} == {"transition"}
        assert end["data"] == {"name": pipeline.name}
        with pytest.raises(EOFError):
            await stream.next()


async def test_a_name_that_changes_hands_between_two_looks_is_an_end(
    pipeline: Any, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(api_url, pipeline.path) as stream:
        await stream.next()
        monkeypatch.setattr(lookouts, "SOON", 5.0)
        monkeypatch.setattr(lookouts, "LATEST", 5.0)
        await pipeline.post("dismiss_error")
        await stream.next()  # it has just been looked at, and will not be for five seconds
        await pipeline.http.delete(pipeline.path)
        await pipeline.create()
        assert [(await stream.next())["event"] for _ in range(2)] == ["gap", "deleted"]


async def test_watchers_are_counted_and_free_their_place(
    pipeline: Any, api_server: Any, api_settings: Settings, api_serving: Any, eventually: Any
) -> None:
    few = api_settings.model_copy(update={"watchers_per_tenant": 2})
    app = create_app(few, api_server.client)
    async with api_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as http:
        url = f"http://{address}"
        async with watching(url, pipeline.path), watching(url, pipeline.path):
            refused = await http.get(f"{pipeline.path}/watch")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["error_code"] == "TooManyWatchers"
            assert refused.json()["details"] == {"maximum": 2}
            assert app.state.backend.lookouts.watched == 1

        async def free() -> bool:
            return bool(app.state.backend.lookouts.watched == 0)

        await eventually(free)
        async with watching(url, pipeline.path) as stream:
            await stream.next()


async def test_a_waiting_caller_who_hangs_up_frees_its_place(
    pipeline: Any, api_server: Any, api_settings: Settings, api_serving: Any, eventually: Any
) -> None:
    app = create_app(api_settings, api_server.client)
    async with api_serving(app) as address:
        await pipeline.running()

        async def watched(count: int) -> bool:
            return bool(app.state.backend.lookouts.watched == count)

        async with httpx.AsyncClient(base_url=f"http://{address}") as http:
            waits = asyncio.create_task(http.get(pipeline.path, params={"wait_for": "stopped"}))
            await eventually(lambda: watched(1))
            waits.cancel()
        await eventually(lambda: watched(0))


async def test_the_end_of_a_front_end_ends_streams_and_waits(
    pipeline: Any, api_server: Any, api_settings: Settings, api_serving: Any
) -> None:
    app = create_app(api_settings, api_server.client)
    async with api_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as http:
        await pipeline.running()
        waits = asyncio.create_task(http.get(pipeline.path, params={"wait_for": "stopped"}))
        async with watching(f"http://{address}", pipeline.path) as stream:
            await stream.next()
            app.state.backend.lookouts.close()
            with pytest.raises(EOFError):
                await stream.next(5)
        answer = await waits
        assert (answer.status_code, answer.json()["error_code"]) == (503, "ShuttingDown")
        assert (await http.get(f"{pipeline.path}/watch")).json()["error_code"] == "ShuttingDown"


async def test_what_does_not_exist_cannot_be_watched(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v0/pipelines/missing/watch")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")
    malformed_cursors: list[dict[str, Any]] = [
        {"params": {"after": "x"}},
        {"headers": {"Last-Event-ID": "x"}},
    ]
    for options in malformed_cursors:
        malformed = await api.get("/v0/pipelines/missing/watch", **options)
        assert malformed.status_code == 400
        assert malformed.headers["content-type"].startswith("text/plain")

"""Many callers at once: no receipt is lost, no second process, and the last accepted intent holds."""

import asyncio
import os
import random
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from api.gateway import RECORDED
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.lifecycle.values import Packed

STARTS = 200
RACE_FOR = float(os.environ.get("RACE_SECONDS", "30"))


async def start_all(apis: list[httpx.AsyncClient], path: str) -> list[httpx.Response]:
    """Start one pipeline many times at once, through all APIs in turn."""

    async def start(number: int) -> httpx.Response:
        api, key = apis[number % len(apis)], {"Idempotency-Key": f"start-{number}"}
        return await api.post(f"{path}/start", headers=key)

    return list(await asyncio.gather(*map(start, range(STARTS))))


async def decisions(api: httpx.AsyncClient, locations: list[str], eventually: Any) -> dict[str, Any]:
    """Ask at each address, until it is known, how the request was decided; by request id."""

    async def decided(location: str) -> dict[str, Any]:
        async def known() -> httpx.Response | None:
            answer = await api.get(location)
            return None if answer.status_code == 202 else answer

        answer = await eventually(known)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    found = []
    for first in range(0, len(locations), 50):
        found += await asyncio.gather(*map(decided, locations[first : first + 50]))
    return {decision["request_id"]: decision for decision in found}


def assert_all_accepted(answers: list[httpx.Response], decided: dict[str, Any]) -> None:
    """Every start was answered 202 and has a receipt of its own that says the same."""
    assert {answer.status_code for answer in answers} == {202}
    assert len(decided) == STARTS
    assert {decision["status"] for decision in decided.values()} == {"accepted"}


async def test_two_hundred_starts_on_our_server(pipeline: Any, control_plane: Any, eventually: Any) -> None:
    answers = await start_all([pipeline.api], pipeline.path)
    locations = [answer.headers["location"] for answer in answers]
    assert_all_accepted(answers, await decisions(pipeline.api, locations, eventually))
    running = await pipeline.reaches("Running")
    assert control_plane.engine(running["id"]).is_running()


@pytest.mark.timeout(180)
async def test_two_hundred_starts_through_two_apis_on_a_stock_server(
    stock: Any, pipeline_type: Any, eventually: Any, engines_of: Any
) -> None:
    pipeline = pipeline_type(stock.apis[0], "crowded", eventually)
    await pipeline.create()

    async def compiled() -> bool:
        return bool((await pipeline.get())["program_status"] == "Success")

    await eventually(compiled)
    answers = await start_all(stock.apis, pipeline.path)
    locations = [answer.headers["location"] for answer in answers]
    assert_all_accepted(answers, await decisions(stock.apis[1], locations, eventually))
    await pipeline.reaches("Running")
    assert len(engines_of(stock.home)) == 1
    await pipeline.remove()
    assert engines_of(stock.home) == []


class Race:
    """Ten clients that start and stop one pipeline, and what they were answered."""

    def __init__(self, pipeline: Any) -> None:
        """Nothing has been asked yet."""
        self._pipeline = pipeline
        self.verbs: dict[str, str] = {}
        """By the address of each request that was answered 202."""
        self.words: dict[str, str] = {}
        """Of those answers."""
        self.refused: set[str] = set()

    async def run(self, seconds: float) -> None:
        """Race."""
        deadline = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._client(random.Random(seed), deadline) for seed in range(10)))

    async def _client(self, chance: random.Random, deadline: float) -> None:
        while asyncio.get_running_loop().time() < deadline:
            verb = chance.choice(["start", "stop"])
            answer = await self._pipeline.post(verb, **({"force": "true"} if verb == "stop" else {}))
            # A pace that stays below the 4,096 receipts that are kept within ten minutes.
            await asyncio.sleep(chance.uniform(0.05, 0.15))
            if answer.status_code == 202:
                location = answer.headers["location"]
                self.verbs[location], self.words[location] = verb, answer.json()
            else:
                self.refused.add(answer.json()["error_code"])


async def signals(client: Client, workflow_id: str) -> dict[str, str]:
    """The verbs in the histories of a workflow, first to last, by request id."""
    runs, run_id = [], ""
    while True:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id or None).fetch_history()
        sent = [event.workflow_execution_signaled_event_attributes for event in history.events]
        runs.append([one for one in sent if one.signal_name in ("start", "stop")])
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            break
    found: dict[str, str] = {}
    for one in (one for run in reversed(runs) for one in run):
        [message] = await client.data_converter.decode(one.input.payloads)
        found.setdefault(message["request_id"], one.signal_name)
    return found


@pytest.mark.slow
@pytest.mark.timeout(RACE_FOR + 150)
async def test_starts_racing_forced_stops(pipeline: Any, control_plane: Any, eventually: Any) -> None:
    """Ten clients start and stop one pipeline. Whatever was accepted is in the history, and the last of it
    holds; then one more intent is accepted, and it alone holds."""
    race = Race(pipeline)
    await race.run(RACE_FOR)
    assert len(race.verbs) > 3 * RACE_FOR
    assert race.refused <= {"IllegalPipelineAction"}
    decided = await decisions(pipeline.api, list(race.verbs), eventually)
    client = await Client.connect(control_plane.described["temporal_address"], plugins=[temporal.PLUGIN])
    last = await last_accepted(client, pipeline, race, decided)

    async def at_rest() -> dict[str, Any] | None:
        seen = await pipeline.get()
        return seen if seen["deployment_status"] == seen["deployment_desired_status"] else None

    rested = await eventually(at_rest, 30)
    assert rested["deployment_status"] == {"start": "Running", "stop": "Stopped"}[last], rested
    assert len(control_plane.engines(rested["id"])) == {"start": 1, "stop": 0}[last]

    async def started() -> bool:
        return bool((await pipeline.post("start")).status_code == 202)

    await eventually(started)
    await pipeline.reaches("Running")
    assert control_plane.engine(rested["id"]).is_running()
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    assert control_plane.engines(rested["id"]) == []


async def last_accepted(client: Client, pipeline: Any, race: Race, decided: dict[str, Any]) -> str:
    """Check answers, receipts and history against one another; give the verb that was accepted last."""
    workflow_id = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
    sent = await signals(client, workflow_id)
    for location, verb in race.verbs.items():
        request_id = location.rsplit("/", 1)[1]
        assert sent[request_id] == verb
        if race.words[location] != RECORDED:
            assert decided[request_id]["outcome"] == race.words[location], decided[request_id]
    times = [decided[request_id]["decided_at"] for request_id in sent if request_id in decided]
    assert len(times) == len(race.verbs)
    assert times == sorted(times)
    accepted = [i for i in sent if i in decided and decided[i]["status"] == "accepted"]
    found = await client.get_workflow_handle(workflow_id).query("events", result_type=Packed)
    causes = dict.fromkeys(event["request_id"] for event in reversed(found.json_value) if event["request_id"])
    assert list(causes)[-1] == accepted[-1], "what follows from a request comes after its own event"
    return sent[accepted[-1]]

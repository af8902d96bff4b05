"""Three hundred pipelines: a list is what exists, through the process that wrote at once, through another
within a second, also while histories begin anew and pipelines are deleted."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client

from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT
from tests.conformance.plane import front_end

MANY = 300
AT_ONCE = 16
BUSY, DOOMED = 20, 40
WITHIN = 10.0
"""Seconds until the other process shows what was written, however busy this machine is; the benchmark of
lists measures how long it takes."""
PATIENCE = 60.0
"""Seconds for an answer, to sixteen at once of a machine that has other tests to run."""


class House(NamedTuple):
    """Two API processes of one namespace."""

    writer: httpx.AsyncClient
    other: httpx.AsyncClient
    client: Client


@pytest.fixture(params=["stock", "tuned"])
async def house(
    request: pytest.FixtureRequest,
    api_deserted_server: Any,
    temporal_server: Any,
    api_working_with: Any,
    tmp_path: Path,
) -> AsyncIterator[House]:
    """On a server with stock flags, and on one with ours that suggests a new history after 40 events."""
    client = {"stock": api_deserted_server, "tuned": temporal_server}[request.param].client
    address = client.service_client.config.target_host
    environment = {**os.environ, "TEMPORAL_ADDRESS": address, "SLUICEGATE_HOME": str(tmp_path / "home")}
    async with AsyncExitStack() as parts:
        await parts.enter_async_context(api_working_with(client))
        writer, other = [
            await parts.enter_async_context(front_end(environment, tmp_path / f"{name}.log"))
            for name in ("writer", "other")
        ]
        writer.timeout = other.timeout = httpx.Timeout(PATIENCE)
        yield House(writer, other, client)


async def asked(api: httpx.AsyncClient, method: str, path: str, **given: Any) -> httpx.Response:
    """Ask, and again where the server is too busy to say, as its answer has it."""
    while (answer := await api.request(method, path, **given)).status_code == 503:
        assert "retry-after" in answer.headers, answer.text
    return answer


async def listed(api: httpx.AsyncClient, prefix: str) -> list[str]:
    """The names in a list, of those that are the test's own."""
    answer = await asked(api, "GET", "/v0/pipelines", params={"selector": "status"})
    assert answer.status_code == 200, answer.text
    names = [shown["name"] for shown in answer.json()]
    assert len(set(names)) == len(names)
    return [name for name in names if name.startswith(prefix)]


async def all_of(calls: list[Any]) -> None:
    """Await calls, so many at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(call: Any) -> None:
        async with turns:
            await call

    await asyncio.gather(*map(in_turn, calls))


async def create(api: httpx.AsyncClient, name: str) -> None:
    body = {"name": name, "program_code": ""}
    answer = await asked(api, "POST", "/v0/pipelines", json=body, headers={"Idempotency-Key": name})
    assert answer.status_code == 201, answer.text


async def delete(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.delete(f"/v0/pipelines/{name}")
    if answer.status_code == 503:  # nobody said in time whether it is gone
        answer = await asked(api, "DELETE", f"/v0/pipelines/{name}")
        assert answer.status_code in (200, 404), answer.text
    else:
        assert answer.status_code == 200, answer.text


async def write_much(api: httpx.AsyncClient, name: str) -> None:
    """Fill a history past what the server suggests, so that a new one begins."""
    for _ in range(15):
        answer = await asked(api, "POST", f"/v0/pipelines/{name}/dismiss_error")
        assert answer.status_code in (200, 202), answer.text  # decided, or on record where that takes long


async def runs(client: Client, name: str) -> int:
    """How many histories a pipeline has had."""
    workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, name)
    return sum([1 async for _ in client.list_workflows(f"WorkflowId = '{workflow}'")])


async def shows_within(api: httpx.AsyncClient, prefix: str, names: set[str], seconds: float) -> None:
    """Look until a list shows exactly these names. Raises what differs when it never does in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        began = asyncio.get_running_loop().time()
        found = set(await listed(api, prefix))
        if found == names:
            return
        assert began < deadline, {"missing": names - found, "too many": found - names}
        await asyncio.sleep(0.02)


class Churn:
    """Pipelines that are written to and deleted while both front ends are listed."""

    def __init__(self, house: House, prefix: str, names: list[str]) -> None:
        """Some of the names are busy, some doomed."""
        self.house, self.prefix = house, prefix
        self.names = set(names)
        self.busy, self.doomed = names[:BUSY], names[-DOOMED:]
        self.left = self.names - set(self.doomed)
        self.gone: set[str] = set()
        self.lists = 0

    async def run(self) -> None:
        """Write and delete, until it has been listed meanwhile."""
        await all_of(self._writes() + [self._delete(name) for name in self.doomed])
        while not self.lists:
            await all_of(self._writes())

    def _writes(self) -> list[Any]:
        return [write_much(self.house.writer, name) for name in self.busy]

    async def _delete(self, name: str) -> None:
        await delete(self.house.writer, name)
        self.gone.add(name)

    async def check(self) -> None:
        """List without end: nothing that is there is missing, nothing deleted shows."""
        while True:
            gone = set(self.gone)
            found = set(await listed(self.house.writer, self.prefix))
            assert not found & gone
            assert self.left <= found <= self.names
            assert set(await listed(self.house.other, self.prefix)) >= self.left
            self.lists += 1


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_three_hundred_pipelines(house: House, request: pytest.FixtureRequest) -> None:
    prefix = f"many-{uuid4().hex[:8]}-"
    names = [f"{prefix}{number:03}" for number in range(MANY)]
    await all_of([create(house.writer, name) for name in names])
    assert sorted(await listed(house.writer, prefix)) == names
    await shows_within(house.other, prefix, set(names), WITHIN)

    churn = Churn(house, prefix, names)
    listing = asyncio.create_task(churn.check())
    await churn.run()
    assert set(await listed(house.writer, prefix)) == churn.left
    await shows_within(house.other, prefix, churn.left, WITHIN)
    listing.cancel()
    with pytest.raises(asyncio.CancelledError):  # and not what a list was wrong with
        await listing
    if "tuned" in request.node.name:
        assert min([await runs(house.client, name) for name in churn.busy]) > 1
    await all_of([delete(house.writer, name) for name in sorted(churn.left)])
    assert await listed(house.writer, prefix) == []
    await shows_within(house.other, prefix, set(), WITHIN)

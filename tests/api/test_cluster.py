"""The health of the control plane over HTTP: true within seconds, and kept as events (contract §6.1)."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api.backend import Backend
from api.cluster import ClusterHealth
from sluicegate.lifecycle.stuck import Sight
from tests.api.conftest import Eventually, stock_server, working

SERVICE = {"healthy", "message", "unchanged_since", "checked_at"}
BRIEF = {"id", "recorded_at", "all_healthy", "api_status", "compiler_status", "runner_status"}


async def health(http: httpx.AsyncClient) -> httpx.Response:
    """Ask once."""
    return await http.get("/v0/cluster_healthz")


async def healthy(http: httpx.AsyncClient) -> dict[str, Any] | None:
    """Ask; None unless all is well."""
    answer = await health(http)
    return dict(answer.json()) if answer.status_code == 200 else None


async def looked_at(http: httpx.AsyncClient) -> bool:
    """Whether somebody has looked."""
    return (await health(http)).status_code != 404


async def test_all_is_well(api_worker: None, api: httpx.AsyncClient, eventually: Eventually) -> None:
    shown = await eventually(lambda: healthy(api))
    assert set(shown) == {"all_healthy", "api", "compiler", "runner"}
    for part in ("api", "compiler", "runner"):
        assert set(shown[part]) == SERVICE
    ClusterHealth.model_validate(shown)
    assert "workflow task was finished" in shown["runner"]["message"]


async def test_before_anybody_has_looked(api_server: WorkflowEnvironment, api_settings: Any) -> None:
    backend = Backend(api_server.client, api_settings)  # nothing has begun yet
    with pytest.raises(Exception, match="Nobody has looked") as refused:
        backend.health.cluster(datetime.now(UTC), Sight("anybody"))
    assert type(refused.value).__name__ == "NoClusterMonitorEventsAvailable"


async def test_while_temporal_is_away(api_offline: httpx.AsyncClient, eventually: Eventually) -> None:
    await eventually(lambda: looked_at(api_offline))
    answer = await health(api_offline)
    shown = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert [shown[part]["healthy"] for part in ("api", "compiler", "runner")] == [True, False, False]
    assert shown["all_healthy"] is False
    again = (await health(api_offline)).json()
    assert again["runner"]["unchanged_since"] == shown["runner"]["unchanged_since"]


async def test_without_a_worker(api_deserted: httpx.AsyncClient, eventually: Eventually) -> None:
    await eventually(lambda: looked_at(api_deserted))
    answer = await health(api_deserted)
    assert answer.status_code == 503
    assert answer.json()["runner"]["healthy"] is False

    async def unanswered() -> bool:  # before there is a workflow to ask, there are no events
        listed = await api_deserted.get("/v0/cluster/events")
        return listed.status_code == 503 and listed.json()["error_code"] == "NotAnsweredYet"

    await eventually(unanswered)


@pytest.fixture
async def own_server(private_home: Any) -> AsyncIterator[WorkflowEnvironment]:
    """A server that a test may end, or read from the very beginning."""
    async with stock_server() as environment:
        yield environment


async def test_a_temporal_that_goes_away_shows_within_ten_seconds(
    own_server: WorkflowEnvironment, api_process: Any, api_open: Any, eventually: Eventually
) -> None:
    async with working(own_server.client, api_process.address), api_open(own_server.client) as http:
        await eventually(lambda: healthy(http))
    async with api_open(own_server.client) as http:
        await eventually(lambda: looked_at(http))
        await own_server.shutdown()
        gone = time.monotonic()

        async def away() -> bool:
            return "cannot be reached" in (await health(http)).json()["compiler"]["message"]

        await eventually(away)
        assert time.monotonic() - gone < 10


async def test_events_of_two_front_ends(
    own_server: WorkflowEnvironment, api_process: Any, api_open: Any, eventually: Eventually
) -> None:
    client = own_server.client
    async with api_open(client) as one, api_open(client) as other:
        await eventually(lambda: looked_at(one))
        async with working(client, api_process.address):
            for http in (one, other):
                await eventually(lambda http=http: healthy(http))

            async def noted() -> list[dict[str, Any]] | None:
                events = (await one.get("/v0/cluster/events")).json()
                return list(events) if events and events[0]["all_healthy"] else None

            events = await eventually(noted)
            statuses = [event["runner_status"] for event in events]
            assert statuses == ["Healthy", "InitialUnhealthy"]
            assert all(set(event) == BRIEF for event in events)
            assert (await other.get("/v0/cluster/events")).json() == events
            await _look_at_one(one, events)
            signals = [
                event.workflow_execution_signaled_event_attributes
                async for event in client.get_workflow_handle("cluster").fetch_history_events()
                if event.HasField("workflow_execution_signaled_event_attributes")
            ]
            assert len(signals) <= 4  # two changes, told by two front ends at most


async def _look_at_one(http: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
    for name, expected in (("latest", events[0]), (events[1]["id"], events[1])):
        answer = await http.get(f"/v0/cluster/events/{name}")
        assert (answer.json(), answer.headers["cache-control"]) == (expected, "no-cache")
    whole = (await http.get("/v0/cluster/events/latest", params={"selector": "all"})).json()
    details = {f"{p}_{i}" for p in ("api", "compiler", "runner") for i in ("self_info", "resources_info")}
    assert set(whole) == BRIEF | details
    for name, status, code in (
        ("nonsense", 400, "InvalidUuidParam"),
        (str(uuid4()), 404, "UnknownClusterMonitorEvent"),
    ):
        answer = await http.get(f"/v0/cluster/events/{name}")
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)

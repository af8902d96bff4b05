"""The platform's own endpoints, and every route while Temporal is away."""

import asyncio
import socket
import time
from typing import Any

import httpx
from temporalio.client import Client

from api.shapes import Configuration, Demo
from sluicegate import temporal

ROUTES = [
    "GET /v0/pipelines",
    "GET /v0/pipelines/p",
    "POST /v0/pipelines",
    "PUT /v0/pipelines/p",
    "PATCH /v0/pipelines/p",
    "DELETE /v0/pipelines/p",
    "POST /v0/pipelines/p/start",
    "POST /v0/pipelines/p/stop",
    "POST /v0/pipelines/p/pause",
    "POST /v0/pipelines/p/resume",
    "POST /v0/pipelines/p/activate",
    "POST /v0/pipelines/p/approve",
    "POST /v0/pipelines/p/update_runtime",
    "POST /v0/pipelines/p/clear",
    "POST /v0/pipelines/p/dismiss_error",
    "GET /v0/pipelines/p/requests/r",
    "POST /v0/pipelines/p/ingress/t",
    "GET /v0/pipelines/p/query?sql=1",
    "GET /v0/pipelines/p/stats",
    "GET /v0/pipelines/p/completion_status?token=t",
    "GET /v0/pipelines/p/logs",
    "GET /v0/pipelines/p/checkpoints",
    "GET /v0/pipelines/p/checkpoints/remote",
    "POST /v0/pipelines/p/checkpoint",
    "GET /v0/pipelines/p/checkpoint_status",
    "POST /v0/pipelines/p/checkpoint/sync",
    "GET /v0/pipelines/p/checkpoint/sync_status",
    "POST /v0/pipelines/p/rebalance",
    "POST /v0/pipelines/p/start_compaction",
    "POST /v0/pipelines/p/clock/advance",
    "GET /v0/pipelines/p/events",
    "POST /v0/validate_program",
    "GET /v0/cluster/events",
    "GET /v0/cluster/events/latest",
    "GET /v0/pipelines/p/events/latest",
    "GET /v0/pipelines/p/events/latest/cause",
]


async def test_while_temporal_is_away(api_offline: httpx.AsyncClient) -> None:
    async def call(route: str) -> tuple[str, float, httpx.Response]:
        method, _, path = route.partition(" ")
        body: Any = {"name": "p", "program_code": ""} if method[0] == "P" and path.count("/") < 4 else None
        if path.endswith("/clock/advance"):
            body = {"delta_ms": 1}
        began = time.monotonic()
        answer = await api_offline.request(method, path, json=body)
        return route, time.monotonic() - began, answer

    for route, took, answer in await asyncio.gather(*map(call, ROUTES)):
        assert took < 5, route
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TemporalUnavailable"), route
        assert answer.headers["retry-after"] == "5", route


async def test_a_server_that_hangs(api_open: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and says nothing
        port = silent.getsockname()[1]
        client = await Client.connect(f"127.0.0.1:{port}", lazy=True, plugins=[temporal.PLUGIN])
        async with api_open(client) as http:
            for method, path in (("GET", "/v0/pipelines/p"), ("POST", "/v0/pipelines/p/start")):
                began = time.monotonic()
                answer = await http.request(method, path)
                assert time.monotonic() - began < 5
                assert (answer.status_code, answer.json()["error_code"]) == (503, "TemporalUnavailable")


async def test_health(api: httpx.AsyncClient) -> None:
    answer = await api.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


async def test_health_while_temporal_is_away(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.get("/healthz")
    assert answer.status_code == 500
    assert answer.json()["status"].startswith("unhealthy: ")


async def test_configuration(api_offline: httpx.AsyncClient) -> None:
    config = (await api_offline.get("/v0/config")).json()
    assert set(config) == set(Configuration.model_fields)
    assert config["edition"] == "Enterprise"
    assert (await api_offline.get("/config/authentication")).json() == {}
    session = (await api_offline.get("/v0/config/session")).json()
    assert session == {
        "tenant_id": "00000000-0000-0000-0000-000000000000",
        "tenant_name": "default",
        "role": "admin",
        "memberships": [],
    }


async def test_demos(api_offline: httpx.AsyncClient) -> None:
    shown = (await api_offline.get("/v0/config/demos")).json()
    assert len(shown) == 3
    for demo in shown:
        assert set(demo) == set(Demo.model_fields)
        assert demo["program_code"].startswith(f"-- title: {demo['title']}")


async def test_the_bare_address_shows_what_there_is(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")

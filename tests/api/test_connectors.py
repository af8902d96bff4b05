"""Calls of connectors become calls of the process, by the names that endpoints have there."""

import json
from typing import Any

import httpx
import pytest

ACTIONS = [
    ("tables/T/connectors/c/start", "GET /input_endpoints/t.c/start"),
    ("tables/%22T%22/connectors/c/pause", "GET /input_endpoints/T.c/pause"),
    ("tables/%22a%22%22b%22/connectors/c/pause", "GET /input_endpoints/a%22b.c/pause"),
    ("tables/t1%23a1/connectors/unnamed-0/pause", "GET /input_endpoints/t1%23a1.unnamed-0/pause"),
    ("views/V/connectors/c/start", "GET /output_endpoints/v.c/start"),
    ("views/%22V%22/connectors/c/pause", "GET /output_endpoints/V.c/pause"),
]
READS = [
    ("tables/T/connectors/c/stats", "GET /input_endpoints/t.c/stats"),
    ("tables/t/connectors/c/completion_token", "GET /input_endpoints/t.c/completion_token"),
    ("views/v/connectors/c/stats", "GET /output_endpoints/v.c/stats"),
]


async def test_steering_and_asking(running: Any, api_process: Any) -> None:
    headers = {"Content-Type": "application/json"}
    for call, _ in ACTIONS:
        answer = await running.http.post(f"{running.path}/{call}", content=b"", headers=headers)
        assert answer.status_code == 200
    for call, _ in READS:
        assert (await running.http.get(f"{running.path}/{call}")).json() == {"views": []}
    assert api_process.told == [told for _, told in (*ACTIONS, *READS)]


async def test_errors_are_asked_for(running: Any, api_process: Any) -> None:
    asked = {"include_connector_errors": "true"}
    await running.http.get(f"{running.path}/tables/t/connectors/c/stats", params=asked)
    assert api_process.told == ["GET /input_endpoints/t.c/stats?include_connector_errors=true"]


async def test_a_command(running: Any, api_process: Any) -> None:
    path = f"{running.path}/views/v/connectors/c/command"
    assert (await running.http.post(path, json={"say": [1]})).json() == {"views": []}
    method, target, body = api_process.told[0].split(" ", 2)
    assert (method, target, json.loads(body)) == ("POST", "/output_endpoints/v.c/command", {"say": [1]})
    malformed = await running.http.post(path, content=b"{", headers={"Content-Type": "application/json"})
    assert (malformed.status_code, malformed.headers["content-type"][:10]) == (400, "text/plain")


async def test_what_the_process_does_not_know(running: Any) -> None:
    answer = await running.http.post(f"{running.path}/tables/missing/connectors/c/start")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownInputEndpoint")


@pytest.mark.parametrize("action", ["Start", "stop", "resume", " start"])
@pytest.mark.parametrize("kind", ["tables", "views"])
async def test_other_actions_are_refused_before_anything_is_looked_up(
    api: httpx.AsyncClient, kind: str, action: str
) -> None:
    answer = await api.post(f"/v0/pipelines/nobody/{kind}/t/connectors/c/{action}")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidConnectorAction")
    assert answer.json()["details"] == {"action": action}


async def test_nothing_is_deployed(api: httpx.AsyncClient, api_pipeline: Any) -> None:
    await api_pipeline.create()
    calls = [("POST", call) for call, _ in ACTIONS] + [("GET", call) for call, _ in READS]
    for method, path in calls:
        answer = await api.request(method, f"{api_pipeline.path}/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "PipelineInteractionNotDeployed")
        unknown = await api.request(method, f"/v0/pipelines/nobody/{path}")
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "UnknownPipelineName")

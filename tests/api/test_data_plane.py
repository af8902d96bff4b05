"""Data and logs go through unchanged, and a caller that hangs up ends what it asked for."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

NOBODY = SimpleNamespace(address="127.0.0.1:1")
"""A process that has gone from its address."""


async def test_ingress(running: Any, api_process: Any, api_tokens: Any) -> None:
    answer = await running.http.post(
        f"{running.path}/ingress/t",
        params={"format": "json"},
        content=b'{"a":1}\n' * 100_000,
        headers={"Authorization": "Bearer of the caller"},
    )
    assert answer.json() == {"token": "t", "query": "format=json"}
    assert api_process.bodies[-1] == b'{"a":1}\n' * 100_000
    deployment_id = (await running.get())["deployment_id"]
    assert api_process.authorizations[-1] == api_tokens(deployment_id)["process"]


async def test_errors_of_the_process_are_its_own(running: Any) -> None:
    answer = await running.http.post(f"{running.path}/ingress/missing", content=b"x")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ConfigError.UnknownInputStream")
    busy = await running.http.get(f"{running.path}/query", params={"sql": "busy"})
    assert busy.status_code == 503
    assert "retry-after" not in busy.headers


async def test_a_query(running: Any) -> None:
    answer = await running.http.get(f"{running.path}/query", params={"sql": "SELECT", "format": "json"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-own"] == "kept"
    assert answer.text.splitlines() == ['{"n":0}', '{"n":1}', '{"n":2}']


async def test_stats_and_completion(running: Any) -> None:
    assert (await running.http.get(f"{running.path}/stats")).json()["global_metrics"]["state"] == "Running"
    token = {"token": "t"}
    done = await running.http.get(f"{running.path}/completion_status", params=token)
    assert done.json() == {"status": "complete", "step": 1}


@pytest.mark.parametrize(
    "call", ["GET query?sql=1", "GET stats", "POST ingress/t", "POST egress/v", "POST start_transaction"]
)
async def test_what_is_not_deployed(api: httpx.AsyncClient, api_pipeline: Any, call: str) -> None:
    await api_pipeline.create()
    method, _, path = call.partition(" ")
    answer = await api.request(method, f"{api_pipeline.path}/{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "PipelineInteractionNotDeployed")
    assert answer.headers["retry-after"] == "5"
    nobody = await api.request(method, f"/v0/pipelines/nobody/{path}")
    assert (nobody.status_code, nobody.json()["error_code"]) == (404, "UnknownPipelineName")


@pytest.mark.parametrize("api_process", [pytest.param(NOBODY, id="nobody listens")])
async def test_a_process_that_is_gone(api_deserted: Any, api_working: Any, api_named: Any) -> None:
    pipeline = api_named(api_deserted)
    await pipeline.create()
    async with api_working():
        await pipeline.running()
    answer = await api_deserted.get(f"{pipeline.path}/stats")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "PipelineInteractionUnreachable")
    for text in (answer.json()["message"], answer.json()["details"]["error"]):
        assert "Failed to connect to host" in text
    assert answer.json()["message"].endswith(f'pipeline-id=N/A pipeline-name="{pipeline.name}"')


async def test_hanging_up_ends_the_query(running: Any, api_process: Any, api_url: str) -> None:
    api_process.waiting.clear()
    api_process.abandoned.clear()
    async with httpx.AsyncClient(base_url=api_url) as http:
        asking = asyncio.create_task(http.get(f"{running.path}/query", params={"sql": "wait"}))
        await api_process.waiting.wait()
        asking.cancel()
        async with asyncio.timeout(10):
            await api_process.abandoned.wait()


async def test_changes_come_as_they_are_made(running: Any, api_process: Any, api_url: str) -> None:
    api_process.abandoned.clear()
    asked = {"format": "json", "send_snapshot": "true"}
    async with (
        httpx.AsyncClient(base_url=api_url) as http,
        http.stream("POST", f"{running.path}/egress/quiet", params=asked) as answer,
    ):
        assert answer.status_code == 200
        assert json.loads(await anext(answer.aiter_lines()))["sequence_number"] == 0
        assert not api_process.abandoned.is_set()
    assert api_process.told[-1] == "format=json&send_snapshot=true "
    async with asyncio.timeout(10):
        await api_process.abandoned.wait()


async def test_who_reads_slowly_holds_up_the_process(running: Any, api_process: Any, api_url: str) -> None:
    async with (
        httpx.AsyncClient(base_url=api_url) as http,
        http.stream("POST", f"{running.path}/egress/endless", json={"format": {"name": "csv"}}) as answer,
    ):
        parts = answer.aiter_raw()
        await anext(parts)
        before = -1
        while before < api_process.chunks:  # until all that lies between is full
            before = api_process.chunks
            await asyncio.sleep(0.3)
        async for _ in parts:
            if api_process.chunks > before:
                break
    assert json.loads(api_process.told[-1]) == {"format": {"name": "csv"}}


async def test_too_many_follow(running: Any) -> None:
    answer = await running.post("egress/crowded")
    assert (answer.status_code, answer.json()["error_code"]) == (429, "ApiConnectionLimit")


@pytest.mark.parametrize("verb", ["start_transaction", "commit_transaction"])
async def test_transactions(running: Any, api_process: Any, verb: str) -> None:
    await running.http.post(f"{running.path}/{verb}", headers={"Content-Type": "application/json"})
    assert api_process.told[-1] == f"POST /{verb}"


async def test_logs_come_from_the_host(running: Any, api_process: Any, api_tokens: Any) -> None:
    answer = await running.http.get(f"{running.path}/logs")
    assert answer.text == f"Fresh start; {(await running.get())['id']} \n"
    assert api_process.authorizations[-1] == api_tokens("any")["logs"]
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_logs_before_the_first_deployment(api_worker: None, api_pipeline: Any, api_url: str) -> None:
    await api_pipeline.create()
    async with (
        httpx.AsyncClient(base_url=api_url, timeout=20) as http,
        http.stream("GET", f"{api_pipeline.path}/logs") as answer,
    ):
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("Fresh start of pipeline logs")
        assert answer.headers["x-content-type-options"] == "nosniff"
        await api_pipeline.post("start")
        assert (await anext(lines)).startswith("Fresh start; ")


async def test_logs_of_what_is_deleted_before_it_was_deployed(
    api_worker: None, api_pipeline: Any, api_url: str
) -> None:
    await api_pipeline.create()
    async with (
        httpx.AsyncClient(base_url=api_url, timeout=20) as http,
        http.stream("GET", f"{api_pipeline.path}/logs") as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        assert (await api_pipeline.http.delete(api_pipeline.path)).status_code == 200
        assert (await anext(lines)).startswith("The logs end here")

"""What a process says of itself goes through as it is, compressed or not."""

import gzip
from typing import Any

import httpx
import pytest

from tests.api.conftest import PROFILE

READS = [
    ("time_series", "GET /time_series"),
    ("time_series_stream", "GET /time_series_stream"),
    ("circuit_profile", "GET /dump_profile"),
    ("circuit_json_profile", "GET /dump_json_profile"),
    ("heap_profile", "GET /heap_profile"),
    ("samply_profile", "GET /samply_profile"),
    ("samply_profile?latest=false", "GET /samply_profile?latest=false"),
]


async def test_reads(running: Any, api_process: Any) -> None:
    for call, _ in READS:
        answer = await running.http.get(f"{running.path}/{call}", headers={"Accept-Encoding": "identity"})
        assert (answer.status_code, answer.content) == (200, PROFILE)
    assert api_process.told == [told for _, told in READS]


async def test_a_compressed_profile_stays_compressed(running: Any) -> None:
    path = f"{running.path}/circuit_json_profile"
    async with running.http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == PROFILE


async def test_samply(running: Any, api_process: Any) -> None:
    assert (await running.post("samply_profile", duration_secs=5)).status_code == 202
    assert api_process.told == ["POST /samply_profile?duration_secs=5"]
    later = await running.http.get(f"{running.path}/samply_profile", params={"latest": "true"})
    assert (later.status_code, later.headers["retry-after"], later.content) == (204, "7", b"")


async def test_metrics(running: Any) -> None:
    for form in ("prometheus", "json"):
        answer = await running.http.get(f"{running.path}/metrics", params={"format": form})
        assert answer.status_code == 200
        assert "records_total" in answer.text


@pytest.mark.parametrize(
    "call",
    ["GET metrics?format=xml", "GET stats?include_connector_errors=1", "POST samply_profile?duration_secs=0"],
)
async def test_what_is_malformed(api: httpx.AsyncClient, call: str) -> None:
    method, _, path = call.partition(" ")
    answer = await api.request(method, f"/v0/pipelines/nobody/{path}")
    assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")


async def test_nothing_is_deployed(api: httpx.AsyncClient, api_pipeline: Any) -> None:
    await api_pipeline.create()
    calls = [("GET", call) for call, _ in READS]
    for method, path in (*calls, ("GET", "metrics"), ("POST", "samply_profile")):
        answer = await api.request(method, f"{api_pipeline.path}/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "PipelineInteractionNotDeployed")

"""The data plane of a real engine through the real front end: connectors, logs, what is collected."""

import io
import json
import zipfile
from typing import Any

import pytest

OUT = {
    "name": "out",
    "transport": {"name": "file_output", "config": {"path": "out.json"}},
    "format": {"name": "json"},
}
GENERATED = {
    "name": "gen",
    "paused": True,
    "transport": {"name": "datagen", "config": {"plan": [{"limit": 100}]}},
}
PROGRAM = f"""
CREATE TABLE Numbers (n BIGINT) WITH ('materialized' = 'true', 'connectors' = '[{json.dumps(GENERATED)}]');
CREATE VIEW "Evens" WITH ('connectors' = '[{json.dumps(OUT)}]') AS SELECT n FROM numbers WHERE n % 2 = 0;
"""


@pytest.fixture
async def connected(api: Any, pipeline_type: Any, eventually: Any) -> Any:
    """A pipeline with connectors, which runs."""
    made = pipeline_type(api, "connected", eventually)
    await made.create(PROGRAM)
    await made.started()
    yield made
    await made.remove()


async def stats(pipeline: Any, of: str) -> dict[str, Any]:
    """The statistics of a connector."""
    answer = await pipeline.api.get(f"{pipeline.path}/{of}/stats")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.timeout(120)
async def test_the_data_plane(connected: Any, eventually: Any) -> None:
    source, sink = "tables/NUMBERS/connectors/gen", "views/%22Evens%22/connectors/out"
    assert (await stats(connected, source))["paused"] is True
    assert (await stats(connected, sink))["paused"] is False
    assert (await connected.post(f"{sink}/pause")).status_code == 200
    assert (await stats(connected, sink))["paused"] is True
    assert (await connected.post(f"{sink}/start")).status_code == 200
    assert (await connected.post(f"{source}/start")).status_code == 200

    async def written() -> bool:
        token = (await connected.api.get(f"{connected.path}/{source}/completion_token")).json()
        status = await connected.api.get(f"{connected.path}/completion_status", params=token)
        ended = (await stats(connected, source))["metrics"]["end_of_input"]
        return bool(ended and status.json()["status"] == "complete")

    await eventually(written)
    assert (await stats(connected, source))["metrics"]["total_records"] == 100
    assert (await stats(connected, sink))["metrics"]["transmitted_records"] == 50
    for path in ("views/evens/connectors/out/stats", "tables/numbers/connectors/other/stats"):
        unknown = await connected.api.get(f"{connected.path}/{path}")
        assert unknown.status_code == 404
        assert unknown.json()["error_code"] in ("UnknownOutputEndpoint", "UnknownInputEndpoint")
    await _logs(connected)
    await _bundles(connected)


@pytest.mark.timeout(120)
async def test_changes_and_transactions(pipeline: Any) -> None:
    await pipeline.started()
    asked = {"format": "json", "backpressure": "true"}
    async with pipeline.api.stream("POST", f"{pipeline.path}/egress/summary", params=asked) as answer:
        assert answer.headers["content-type"] == "application/json"
        changes = answer.aiter_lines()
        assert (await pipeline.post("start_transaction")).json() == {"transaction_id": 1}
        busy = await pipeline.post("start_transaction")
        assert (busy.status_code, busy.json()["error_code"]) == (409, "TransactionInProgress")
        for number in (1, 2):
            row = {"format": "json", "update_format": "raw"}
            sent = await pipeline.api.post(
                f"{pipeline.path}/ingress/numbers", params=row, json={"n": number, "word": None}
            )
            assert sent.status_code == 200
        assert (await pipeline.post("commit_transaction")).status_code == 200
        async for line in changes:
            rows = json.loads(line).get("json_data", [])
            if {"insert": {"how_many": 2, "total": 3}} in rows:
                break
            assert not [row for row in rows if row.get("insert", {}).get("how_many") == 1]
    unknown = await pipeline.post("egress/nothing", format="json")
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "ConfigError.UnknownOutputStream")


@pytest.mark.timeout(120)
async def test_what_it_says_of_itself(pipeline: Any) -> None:
    await pipeline.started()
    url = pipeline.path
    identity = await pipeline.api.get(f"{url}/circuit_json_profile", headers={"Accept-Encoding": "identity"})
    assert identity.headers.get("content-encoding") is None
    assert isinstance(identity.json(), dict)
    archive = await pipeline.api.get(f"{url}/circuit_profile")
    assert archive.headers["content-type"] == "application/zip"
    assert archive.headers["transfer-encoding"] == "chunked"
    assert zipfile.ZipFile(io.BytesIO(archive.content)).testzip() is None
    async with pipeline.api.stream("GET", f"{url}/circuit_json_profile") as compressed:
        assert compressed.headers["content-encoding"] == "gzip"
    assert set((await pipeline.api.get(f"{url}/time_series")).json()) == {"now", "samples"}
    async with pipeline.api.stream("GET", f"{url}/time_series_stream") as samples:
        assert set(json.loads(await anext(samples.aiter_lines()))) == {"t", "r", "m", "s"}
    metrics = await pipeline.api.get(f"{url}/metrics")
    assert metrics.headers["content-type"] == "text/plain"
    assert "# TYPE records_processed_total counter" in metrics.text
    [*_, last] = (await pipeline.api.get(f"{url}/metrics", params={"format": "json"})).json()
    assert {"key", "type", "values"} <= set(last)


async def _logs(pipeline: Any) -> None:
    """Each line once, over two connections."""
    lines: list[str] = []
    cursor = ""
    for _ in range(2):
        url = f"{pipeline.path}/logs"
        async with pipeline.api.stream("GET", url, params={"cursor": cursor}) as answer:
            assert answer.headers["feldera-logs-seq"] == str(len(lines))
            lines.append(await anext(answer.aiter_lines()))
            cursor = f"{answer.headers['feldera-logs-epoch']}:{len(lines)}"
    assert "fresh start" in lines[0]
    assert lines[0] != lines[1]


async def _bundles(pipeline: Any) -> None:
    """What was collected while it ran is there when it does not run any more."""
    ran = await _bundle(pipeline)
    assert {"stats.json", "logs.txt", "metrics.txt", "dataflow_graph.json"} <= ran[0]
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    stopped = await _bundle(pipeline)
    assert stopped[1] == ran[0]
    assert "stats.json" not in stopped[0]
    assert {"logs.txt", "pipeline_config.json"} <= stopped[0]


async def _bundle(pipeline: Any) -> list[set[str]]:
    """The files of each collection of a bundle, newest first."""
    answer = await pipeline.api.get(f"{pipeline.path}/support_bundle")
    assert answer.status_code == 200, answer.text
    folders: dict[str, set[str]] = {}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for name in archive.namelist():
            folder, slash, file = name.partition("/")
            if slash:
                folders.setdefault(folder, set()).add(file)
    return [folders[folder] for folder in sorted(folders, reverse=True)]

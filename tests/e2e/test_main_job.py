"""The main job over HTTP, from create to delete, and what goes wrong on the way."""

from typing import Any

import httpx
import pytest

ROWS = [{"insert": {"n": n, "word": f"w{n}"}} for n in range(100)]


async def ask(pipeline: Any, sql: str) -> list[dict[str, Any]]:
    """Query a pipeline."""
    answer = await pipeline.api.get(f"{pipeline.path}/query", params={"sql": sql, "format": "json"})
    assert answer.status_code == 200, answer.text
    return [httpx.Response(200, text=line).json() for line in answer.text.splitlines()]


async def feed(pipeline: Any, rows: list[Any], **more: str) -> httpx.Response:
    """Send rows."""
    parameters = {"format": "json", "array": "true", **more}
    answer: httpx.Response = await pipeline.api.post(
        f"{pipeline.path}/ingress/numbers", params=parameters, json=rows
    )
    return answer


async def test_the_main_job(pipeline: Any) -> None:
    await pipeline.started()
    assert (await feed(pipeline, ROWS)).status_code == 200
    assert await ask(pipeline, "SELECT * FROM summary") == [{"how_many": 100, "total": 4950}]
    assert (await pipeline.post("pause")).status_code == 202
    await pipeline.reaches("Paused")
    assert (await feed(pipeline, [{"delete": {"n": 0}}], force="true")).status_code == 200
    assert await ask(pipeline, "SELECT how_many FROM summary") == [{"how_many": 99}]
    assert (await pipeline.post("resume")).status_code == 202
    await pipeline.reaches("Running")
    stats = (await pipeline.api.get(f"{pipeline.path}/stats")).json()
    assert stats["global_metrics"]["total_processed_records"] == 101
    logs = await read_logs(pipeline)
    assert "running deployment" in logs
    assert (await pipeline.post("stop", force="true")).status_code == 202
    await pipeline.reaches("Stopped")
    assert "running deployment" in await read_logs(pipeline)


async def read_logs(pipeline: Any) -> str:
    """Read the log until it pauses."""
    text = ""
    async with pipeline.api.stream("GET", f"{pipeline.path}/logs", timeout=1) as answer:
        assert answer.status_code == 200
        try:
            async for part in answer.aiter_text():
                text += part
        except httpx.ReadTimeout:
            return text
    return text


async def test_a_stop_keeps_what_was_stored_and_a_start_brings_it_back(pipeline: Any) -> None:
    await pipeline.started()
    await feed(pipeline, ROWS)
    assert (await pipeline.post("stop")).status_code == 202
    stopped = await pipeline.reaches("Stopped")
    assert stopped["deployment_error"] is None
    assert len(stopped["storage_status_details"]["checkpoints"]) == 1
    await pipeline.started()
    assert await ask(pipeline, "SELECT how_many FROM summary") == [{"how_many": 100}]


async def test_an_engine_that_dies_ends_stopped_and_says_how(pipeline: Any, control_plane: Any) -> None:
    await pipeline.started()
    control_plane.engine((await pipeline.get())["id"]).kill()
    status = await pipeline.reaches("Stopped")
    assert "SIGKILL" in status["deployment_error"]["message"]
    assert "running deployment" in status["deployment_error"]["message"]
    refused = await pipeline.post("start", dismiss_error="false")
    assert refused.json()["error_code"] == "CannotStartWithUndismissedError"


async def test_a_program_in_error_says_where(
    api: httpx.AsyncClient, pipeline_type: Any, eventually: Any
) -> None:
    pipeline = pipeline_type(api, "in-error", eventually)
    await pipeline.create("CREATE VIEW v AS\nSELECT * FROM blah;")

    async def failed() -> bool:
        return bool((await pipeline.get())["program_status"] == "SqlError")

    await eventually(failed)
    [message] = (await pipeline.get("all"))["program_error"]["sql_compilation"]["messages"]
    assert message["start_line_number"] == 2
    assert "blah" in message["message"]
    assert (await pipeline.post("start")).json()["error_code"] == "CannotStartWithCompilationError"
    assert (await api.delete(pipeline.path)).status_code == 200


@pytest.mark.parametrize(
    ("arrange", "call", "code"),
    [
        pytest.param("start", "clear", "StorageStatusImmutableUnlessStopped", id="clear while running"),
        pytest.param("start", "delete", "DeleteRestrictedToFullyStopped", id="delete while running"),
        pytest.param("", "pause", "PipelineInteractionNotDeployed", id="pause while stopped"),
    ],
)
async def test_what_a_state_forbids(pipeline: Any, arrange: str, call: str, code: str) -> None:
    if arrange == "start":
        await pipeline.started()
    if call == "delete":
        answer = await pipeline.api.delete(pipeline.path)
    else:
        answer = await pipeline.post(call)
    assert answer.json()["error_code"] == code
    assert (await pipeline.get())["deployment_status"] == ("Running" if arrange else "Stopped")

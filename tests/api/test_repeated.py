"""A request keeps its one effect and its answer beyond the pipeline that it was for: through a delete, a new
pipeline of the same name, and a rename."""

import asyncio
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.usefixtures("api_worker")

KEY = "Idempotency-Key"


async def create(api: httpx.AsyncClient, name: str, key: str | None = None) -> httpx.Response:
    headers = {KEY: key} if key else {}
    return await api.post("/v0/pipelines", json={"name": name, "program_code": ""}, headers=headers)


async def delete(pipeline: Any, key: str) -> httpx.Response:
    answer: httpx.Response = await pipeline.http.delete(pipeline.path, headers={KEY: key})
    return answer


async def decision(api: httpx.AsyncClient, location: str, eventually: Any) -> dict[str, Any]:
    """How a request was decided, as its address tells."""

    async def told() -> httpx.Response | None:
        answer = await api.get(location)
        return None if answer.status_code == 202 else answer

    answer = await eventually(told)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def used(api_named: Any, api: httpx.AsyncClient) -> Any:
    """A pipeline that was deployed once, so that its removal takes a while."""
    pipeline = api_named(api)
    await pipeline.create()
    await pipeline.running()
    await pipeline.post("stop", force="true")
    await pipeline.reaches("Stopped")
    assert (await pipeline.post("clear")).status_code == 202
    await pipeline.reaches("Cleared", "storage_status")
    return pipeline


async def test_a_delete_that_is_repeated_removes_nothing_else(api: Any, api_pipeline: Any) -> None:
    await api_pipeline.create()
    for _ in range(2):
        assert (await delete(api_pipeline, "away")).status_code == 200
    await api_pipeline.create()
    assert (await delete(api_pipeline, "away")).status_code == 200
    assert (await api_pipeline.get())["name"] == api_pipeline.name
    assert (await delete(api_pipeline, "away-too")).status_code == 200
    assert (await api.get(api_pipeline.path)).status_code == 404


async def test_a_creation_that_is_repeated_brings_nothing_back(api: Any, api_pipeline: Any) -> None:
    assert (await create(api, api_pipeline.name, "make")).status_code == 201
    assert (await delete(api_pipeline, "away")).status_code == 200
    again = await create(api, api_pipeline.name, "make")
    assert (again.status_code, again.json()["error_code"]) == (404, "UnknownPipelineName")
    assert (await create(api, api_pipeline.name, "make-another")).status_code == 201


async def test_a_verb_that_is_repeated_starts_no_other_pipeline(api: Any, api_pipeline: Any) -> None:
    await api_pipeline.create()
    assert (await api_pipeline.post("dismiss_error", key="verb")).status_code == 200
    assert (await delete(api_pipeline, "away")).status_code == 200
    await api_pipeline.create()
    other = await api_pipeline.post("start", key="verb")
    assert (other.status_code, other.json()["error_code"]) == (409, "IdempotencyKeyReused")
    assert (await api_pipeline.get())["deployment_desired_status"] == "Stopped"


async def test_a_name_keeps_its_receipts_when_another_pipeline_moves_in(
    api: Any, api_pipeline: Any, api_named: Any
) -> None:
    await api_pipeline.create()
    assert (await delete(api_pipeline, "away")).status_code == 200
    other = api_named(api)
    await other.create()
    moved = await api.patch(other.path, json={"name": api_pipeline.name})
    assert moved.status_code == 200, moved.text
    assert (await delete(api_pipeline, "away")).status_code == 200
    assert (await api_pipeline.get())["name"] == api_pipeline.name


async def test_a_verb_that_meets_a_delete_is_decided(api: Any, api_named: Any, eventually: Any) -> None:
    pipeline = await used(api_named, api)
    answers = await asyncio.gather(
        delete(pipeline, "away"), *(pipeline.post("dismiss_error") for _ in range(20))
    )
    assert answers[0].status_code == 200
    for answer in answers[1:]:
        if answer.status_code == 404:
            assert answer.json()["error_code"] == "UnknownPipelineName"
        else:
            assert answer.status_code in (200, 202), answer.text
            decided = await decision(api, answer.headers["location"], eventually)
            told = {"status": decided["status"], "code": decided["error"] and decided["error"]["error_code"]}
            assert told in (
                {"status": "accepted", "code": None},
                {"status": "refused", "code": "UnknownPipelineName"},
            )


async def test_a_request_is_found_under_the_new_name(api: Any, api_pipeline: Any, eventually: Any) -> None:
    await api_pipeline.create()
    name = f"{api_pipeline.name}-moved"
    before = await api_pipeline.post("dismiss_error")
    renamed, *racing = await asyncio.gather(
        api.patch(api_pipeline.path, json={"name": name}),
        *(api_pipeline.post("dismiss_error") for _ in range(15)),
    )
    assert renamed.status_code == 200, renamed.text
    assert (await api.get(api_pipeline.path)).status_code == 404
    for answer in (before, *racing):
        if answer.status_code != 404:
            assert (await decision(api, answer.headers["location"], eventually))["status"] == "accepted"


async def test_nobody_is_asked_twice_for_what_never_was(api: Any) -> None:
    answer = await api.get("/v0/pipelines/nobody-had-this-name/requests/x")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")

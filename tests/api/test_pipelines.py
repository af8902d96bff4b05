"""Pipelines as resources: exact keys, the order of refusals, nothing changed by a refusal."""

import asyncio
import json
import random
from typing import Any

import httpx
import pytest

from api.shapes import PipelineInfo, PipelineSelectedInfo

JSON = {"Content-Type": "application/json"}
ONLY_ALL = {
    "runtime_config",
    "program_code",
    "udf_rust",
    "udf_toml",
    "program_error",
    "program_info",
    "deployment_resources_status_details",
}


@pytest.fixture
async def made(api_worker: None, api_pipeline: Any) -> Any:
    """A pipeline that has compiled."""
    await api_pipeline.create()
    await api_pipeline.reaches("Success", "program_status")
    return api_pipeline


def code(answer: httpx.Response) -> tuple[int, str]:
    """What a refusal says in two words."""
    return answer.status_code, answer.json()["error_code"]


async def test_creating_needs_no_worker(api_deserted: httpx.AsyncClient, api_named: Any) -> None:
    created = await api_named(api_deserted).create(
        description="d", tags=["a", "b"], runtime_config={"workers": 2}
    )
    assert set(created) == set(PipelineInfo.model_fields)
    assert (created["version"], created["program_version"], created["refresh_version"]) == (1, 1, 1)
    assert created["program_status"] == "Pending"
    assert created["runtime_config"]["workers"] == 2
    assert created["runtime_config"]["fault_tolerance"]["model"] == "none"
    PipelineInfo.model_validate(created)


async def test_the_selectors_show_their_keys(made: Any) -> None:
    whole, status = await made.get("all"), await made.get("status")
    everything = set(PipelineSelectedInfo.model_fields) - {"connectors"}
    assert set(whole) == everything
    assert set(status) == everything - ONLY_ALL
    assert await made.get("status_with_connectors") == status
    assert whole["program_info"] == {"schema": {"inputs": [], "outputs": []}}
    assert (await made.http.get(made.path)).json() == whole


async def test_answers_are_not_cached(made: Any) -> None:
    for answer in (await made.http.get(made.path), await made.http.get("/v0/pipelines?selector=status")):
        assert answer.headers["cache-control"] == "no-cache"


async def test_a_taken_name(made: Any) -> None:
    again = await made.http.post("/v0/pipelines", json={"name": made.name, "program_code": "other"})
    assert code(again) == (409, "DuplicateName")
    assert again.json()["details"] == {}
    assert (await made.get("all"))["program_code"] == ""


async def test_a_name_is_free_after_a_delete(made: Any) -> None:
    old = await made.get()
    deleted = await made.http.delete(made.path)
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert code(await made.http.get(made.path)) == (404, "UnknownPipelineName")
    assert code(await made.http.delete(made.path)) == (404, "UnknownPipelineName")
    assert (await made.create())["id"] != old["id"]


async def test_a_patch_changes_what_is_given(made: Any) -> None:
    patched = await made.http.patch(made.path, json={"description": "new", "tags": None, "unknown": 1})
    assert patched.status_code == 200
    assert set(patched.json()) == set(PipelineInfo.model_fields)
    assert (patched.json()["description"], patched.json()["version"]) == ("new", 1)
    program = await made.http.patch(made.path, json={"program_code": "SELECT 1"})
    assert (program.json()["version"], program.json()["program_version"]) == (2, 2)


async def test_a_put_creates_then_replaces(api_worker: None, api_pipeline: Any) -> None:
    body = {"name": api_pipeline.name, "program_code": "", "description": "d"}
    created = await api_pipeline.http.put(api_pipeline.path, json=body)
    assert created.status_code == 201
    same = await api_pipeline.http.put(api_pipeline.path, json=body)
    assert (same.status_code, same.json()["version"]) == (200, 1)
    del body["description"]
    replaced = await api_pipeline.http.put(api_pipeline.path, json=body)
    assert (replaced.status_code, replaced.json()["description"]) == (200, "")


async def test_a_put_cannot_rename_what_is_not_there(api_worker: None, api: httpx.AsyncClient) -> None:
    answer = await api.put("/v0/pipelines/nobody", json={"name": "somebody", "program_code": ""})
    assert code(answer) == (400, "CannotRenameNonExistingPipeline")


async def test_a_rename(made: Any, api_named: Any) -> None:
    name = f"{made.name}-renamed"
    renamed = await made.http.patch(made.path, json={"name": name})
    assert (renamed.status_code, renamed.json()["name"]) == (200, name)
    listed = (await made.http.get("/v0/pipelines?selector=status")).json()
    names = {shown["name"] for shown in listed}
    assert name in names
    assert made.name not in names
    assert (await api_named(made.http, name).get())["id"] == renamed.json()["id"]


async def test_a_rename_to_a_taken_name(made: Any, api_named: Any) -> None:
    other = api_named(made.http)
    await other.create()
    assert code(await made.http.patch(made.path, json={"name": other.name})) == (409, "DuplicateName")
    assert (await made.get())["version"] == 1


async def test_edits_wait_for_a_stop(made: Any) -> None:
    await made.running()
    assert code(await made.http.patch(made.path, json={"program_code": "new"})) == (
        400,
        "UpdateRestrictedToStopped",
    )
    assert (await made.http.patch(made.path, json={"description": "d"})).status_code == 200
    await made.post("stop", force="true")
    await made.reaches("Stopped")
    refused = await made.http.patch(made.path, json={"runtime_config": {"workers": 3}})
    assert code(refused) == (400, "EditRestrictedToClearedStorage")
    assert refused.json()["details"] == {"not_allowed": ["`runtime_config.workers`"]}
    assert code(await made.http.delete(made.path)) == (400, "DeleteRestrictedToClearedStorage")


async def test_many_edits_at_once(made: Any) -> None:
    edits = [made.http.patch(made.path, json={"description": str(number)}) for number in range(40)]
    assert {answer.status_code for answer in await asyncio.gather(*edits)} == {200}


# Idempotency keys


async def test_a_repeated_creation(made: Any, api_named: Any) -> None:
    pipeline = api_named(made.http)
    body, headers = {"name": pipeline.name, "program_code": ""}, {"Idempotency-Key": "create"}
    first = await made.http.post("/v0/pipelines", json=body, headers=headers)
    again = await made.http.post("/v0/pipelines", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert set(again.json()) == set(PipelineInfo.model_fields)
    other = await made.http.post("/v0/pipelines", json={**body, "description": "x"}, headers=headers)
    assert code(other) == (409, "IdempotencyKeyReused")


async def test_a_repeated_edit(made: Any) -> None:
    headers = {"Idempotency-Key": "edit"}
    first = await made.http.patch(made.path, json={"program_code": "a"}, headers=headers)
    again = await made.http.patch(made.path, json={"program_code": "a"}, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["program_version"] == 2
    other = await made.http.patch(made.path, json={"program_code": "b"}, headers=headers)
    assert code(other) == (409, "IdempotencyKeyReused")
    assert (await made.get("all"))["program_code"] == "a"


async def test_a_put_repeated_after_it_created(api_worker: None, api_pipeline: Any) -> None:
    body, headers = {"name": api_pipeline.name, "program_code": ""}, {"Idempotency-Key": "put"}
    answers = [await api_pipeline.http.put(api_pipeline.path, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1


# Bad input: nothing of it reaches Temporal, which is away here

NAME_RULES = [
    pytest.param("", "EmptyName", id="empty"),
    pytest.param("x" * 64, "TooLongName", id="long"),
    pytest.param("ü" * 40, "TooLongName", id="long in bytes"),
    pytest.param("a b", "NameDoesNotMatchPattern", id="blank"),
    pytest.param("-a", "NameDoesNotMatchPattern", id="leading hyphen"),
]


@pytest.mark.parametrize(("name", "expected"), NAME_RULES)
async def test_bad_names(api_offline: httpx.AsyncClient, name: str, expected: str) -> None:
    body = {"name": name, "program_code": "", "runtime_config": {"workers": "x"}}
    assert code(await api_offline.post("/v0/pipelines", json=body)) == (400, expected)
    assert code(await api_offline.patch("/v0/pipelines/nobody", json={"name": name})) == (400, expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"runtime_config": {"workers": "x"}}, "InvalidRuntimeConfig", id="runtime"),
        pytest.param({"runtime_config": []}, "InvalidRuntimeConfig", id="runtime of another type"),
        pytest.param({"program_config": {"profile": 1}}, "InvalidProgramConfig", id="program"),
        pytest.param(
            {"program_config": {"cache": 1}, "runtime_config": {"workers": "x"}},
            "InvalidRuntimeConfig",
            id="runtime first",
        ),
        pytest.param({"description": "x" * 301}, "TooLongDescription", id="description"),
        pytest.param({"tags": ["x"] * 51}, "TooManyTags", id="tags"),
        pytest.param({"tags": ["#"]}, "InvalidTag", id="tag"),
    ],
)
async def test_bad_descriptors(
    api_offline: httpx.AsyncClient, changes: dict[str, Any], expected: str
) -> None:
    body = {"name": "p", "program_code": "", **changes}
    assert code(await api_offline.post("/v0/pipelines", json=body)) == (400, expected)


async def test_a_patch_of_nobody_tells_of_its_bad_configuration_first(
    api_worker: None, api: httpx.AsyncClient
) -> None:
    bad = await api.patch("/v0/pipelines/nobody", json={"runtime_config": {"workers": "x"}})
    assert code(bad) == (400, "InvalidRuntimeConfig")
    bad = await api.patch("/v0/pipelines/nobody", json={"description": "x" * 301})
    assert code(bad) == (404, "UnknownPipelineName")


GOOD = json.dumps({"name": "p", "program_code": ""})


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param("", JSON, 400, id="nothing"),
        pytest.param("{", JSON, 400, id="half"),
        pytest.param("null", JSON, 400, id="null"),
        pytest.param("[]", JSON, 400, id="a list"),
        pytest.param('{"name": 1, "program_code": ""}', JSON, 400, id="a number as name"),
        pytest.param('{"name": null, "program_code": ""}', JSON, 400, id="null as name"),
        pytest.param('{"name": "p"}', JSON, 400, id="no program"),
        pytest.param('{"name": "p", "program_code": "", "tags": "x"}', JSON, 400, id="tags as string"),
        pytest.param('{"name": "\\ud800", "program_code": ""}', JSON, 400, id="half a character"),
        pytest.param('{"name": "p", "program_code": "", "x": NaN}', JSON, 400, id="not a number"),
        pytest.param('{"name": "p", "program_code": "", "x": 1e999}', JSON, 400, id="infinite"),
        pytest.param("[" * 5000 + "]" * 5000, JSON, 400, id="deep"),
        pytest.param(GOOD, {"Content-Type": "text/plain"}, 400, id="declared as text"),
        pytest.param(GOOD, {}, 400, id="not declared"),
        pytest.param(" " * (2 << 20) + GOOD, JSON, 413, id="too large"),
        pytest.param(
            json.dumps({"name": "p", "program_code": "-" * (1 + (1 << 20))}), JSON, 413, id="long program"
        ),
    ],
)
async def test_malformed_bodies(
    api_offline: httpx.AsyncClient, content: str, headers: dict[str, str], status: int
) -> None:
    for method, path in (("POST", "/v0/pipelines"), ("PUT", "/v0/pipelines/p")):
        answer = await api_offline.request(method, path, content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/plain")


async def test_an_edit_that_no_server_would_take_is_too_large(api_offline: httpx.AsyncClient) -> None:
    body = {"description": "x" * 1_600_000}
    answer = await api_offline.patch("/v0/pipelines/p", json=body)
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/plain")


async def test_what_no_edit_would_leave_room_for_is_not_created(api_offline: httpx.AsyncClient) -> None:
    noise = random.Random(1).choices([chr(code) for code in range(1, 128)], k=930_000)
    settings = {"dev_tweaks": {"noise": "x" * 60_000}}
    body = {"name": "p", "program_code": "".join(noise), "runtime_config": settings}
    answer = await api_offline.post("/v0/pipelines", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (413, "PipelineTooLarge")


@pytest.mark.parametrize("key", ["runtime_config", "program_config"])
async def test_a_configuration_has_a_bound(api_offline: httpx.AsyncClient, key: str) -> None:
    large = {"dev_tweaks": {"noise": "x" * 70_000}, "runtime_version": "v" * 70_000}
    answer = await api_offline.patch("/v0/pipelines/p", json={key: large})
    assert answer.status_code == 400
    assert answer.json()["error_code"] in ("InvalidRuntimeConfig", "InvalidProgramConfig")


async def test_an_unknown_selector(api_offline: httpx.AsyncClient) -> None:
    for path in ("/v0/pipelines", "/v0/pipelines/p"):
        answer = await api_offline.get(path, params={"selector": "some"})
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/plain")


async def test_an_unknown_route_is_empty(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.get("/v0/pipeline")
    assert (answer.status_code, answer.content) == (404, b"")


# Lists


async def test_a_list_shows_what_was_just_written(api_worker: None, api_named: Any, api: Any) -> None:
    made = [api_named(api) for _ in range(5)]
    for pipeline in made:
        await pipeline.create()
        listed = (await api.get("/v0/pipelines?selector=status")).json()
        assert listed == sorted(listed, key=lambda shown: str(shown["id"]))
        assert pipeline.name in [shown["name"] for shown in listed]
    await made[0].post("start")
    [started] = [p for p in (await api.get("/v0/pipelines")).json() if p["name"] == made[0].name]
    assert started["deployment_desired_status"] == "Running"
    assert set(started) == set(PipelineSelectedInfo.model_fields) - {"connectors"}
    await api.delete(made[1].path)
    names = [shown["name"] for shown in (await api.get("/v0/pipelines?selector=status")).json()]
    assert made[1].name not in names


async def test_another_front_end_sees_it_soon(
    api_worker: None, api_pipeline: Any, api_server: Any, api_open: Any, eventually: Any
) -> None:
    await api_pipeline.create()
    async with api_open(api_server.client) as other:

        async def listed() -> bool:
            answer = await other.get("/v0/pipelines?selector=status")
            return api_pipeline.name in [shown["name"] for shown in answer.json()]

        await eventually(listed)


async def test_a_name_that_none_can_have_disturbs_no_list(
    api: httpx.AsyncClient, api_worker: None, api_pipeline: Any
) -> None:
    await api_pipeline.create()
    assert (await api.delete("/v0/pipelines/a)y%01%1B%20")).status_code == 404
    for selector in ("all", "status"):
        listed = await api.get("/v0/pipelines", params={"selector": selector})
        assert api_pipeline.name in [row["name"] for row in listed.json()]


async def test_the_graph_of_a_program(made: Any) -> None:
    graph = await made.http.get(f"{made.path}/dataflow_graph")
    assert (graph.status_code, graph.json()) == (200, {"calcite_plan": {}, "mir": {}})
    unknown = await made.http.get("/v0/pipelines/nobody/dataflow_graph")
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "UnknownPipelineName")

"""Contract §0 and §3.3 over HTTP: requests that mean nothing, and the exact keys of every answer."""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.conformance.plane import Plane
from tests.conformance.states import PROGRAM
from tests.conftest import eventually

ALWAYS = [
    "id",
    "name",
    "description",
    "tags",
    "created_at",
    "version",
    "platform_version",
    "program_config",
    "program_version",
    "program_status",
    "program_status_since",
    "deployment_error",
    "refresh_version",
    "storage_status",
    "storage_status_details",
    "deployment_id",
    "deployment_initial",
    "deployment_status",
    "deployment_status_since",
    "deployment_desired_status",
    "deployment_desired_status_since",
    "deployment_resources_status",
    "deployment_resources_status_since",
    "deployment_resources_desired_status",
    "deployment_resources_desired_status_since",
    "deployment_runtime_status",
    "deployment_runtime_status_since",
    "deployment_runtime_status_details",
    "deployment_runtime_desired_status",
    "deployment_runtime_desired_status_since",
]
WHOLE = [
    "runtime_config",
    "program_code",
    "udf_rust",
    "udf_toml",
    "program_error",
    "program_info",
    "deployment_resources_status_details",
]
SELECTED = ["bootstrap_policy", "silent_bootstrap", "concurrent_bootstrap"]
KEYS = {
    "all": {*ALWAYS, *WHOLE, *SELECTED},
    "status": {*ALWAYS, *SELECTED},
    "status_with_connectors": {*ALWAYS, *SELECTED},
}
INFO = {*ALWAYS, *WHOLE}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NEW = {"name": "new", "program_code": ""}
AS_JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
async def stopped(plane: Plane) -> str:
    """A pipeline that is compiled."""
    name = f"p-{uuid4().hex[:10]}"
    answer = await plane.http.post("/v0/pipelines", json={"name": name, "program_code": PROGRAM})
    assert answer.status_code == 201
    await plane.reaches(name, {"program_status": "Success"})
    return name


@pytest.fixture(scope="module")
async def deployed(plane: Plane) -> AsyncIterator[str]:
    """A pipeline with a process whose connectors have had errors."""
    name = f"p-{uuid4().hex[:10]}"
    plane.script(name, {"details": {"connector_stats": {"num_errors": 2}}})
    answer = await plane.http.post("/v0/pipelines", json={"name": name, "program_code": PROGRAM})
    assert answer.status_code == 201
    assert (await plane.call(name, "POST start")).status_code == 202
    await plane.reaches(name, {"deployment_status": "Running"})
    yield name
    assert (await plane.call(name, "POST stop?force=true")).status_code == 202


@pytest.mark.parametrize("selector", KEYS)
async def test_the_keys_of_a_pipeline(plane: Plane, stopped: str, deployed: str, selector: str) -> None:
    listed = (await plane.http.get("/v0/pipelines", params={"selector": selector})).json()
    connectors = {"connectors"} if selector == "status_with_connectors" else set()
    for name, more in ((stopped, set()), (deployed, connectors)):
        [row] = [row for row in listed if row["name"] == name]
        single = (await plane.call(name, f"GET ?selector={selector}")).json()
        assert set(single) == set(row) == KEYS[selector] | more
        assert single.get("connectors") == ({"num_errors": 2} if more else None)
    assert [row["id"] for row in listed] == sorted(row["id"] for row in listed)


async def test_all_is_the_selector_where_none_is_given(plane: Plane, stopped: str) -> None:
    assert set((await plane.call(stopped, "GET")).json()) == KEYS["all"]
    assert {frozenset(row) for row in (await plane.http.get("/v0/pipelines")).json()} == {
        frozenset(KEYS["all"])
    }


async def test_the_keys_of_what_was_written(plane: Plane, stopped: str) -> None:
    fresh = {"name": f"p-{uuid4().hex[:10]}", "program_code": PROGRAM}
    created = await plane.http.post("/v0/pipelines", json=fresh)
    replaced = await plane.call(fresh["name"], "PUT", fresh)
    changed = await plane.call(stopped, "PATCH", {"description": "d"})
    updated = await plane.call(stopped, "POST update_runtime")
    for answer in (created, replaced, changed, updated):
        assert answer.status_code in (200, 201)
        assert set(answer.json()) == INFO


async def test_times_and_ids(plane: Plane, deployed: str) -> None:
    shown = await plane.shown(deployed)
    times = {key: value for key, value in shown.items() if key.endswith("_since") or key == "created_at"}
    assert len(times) == 8
    for key, value in times.items():
        assert TIME.fullmatch(value), key
        assert datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    assert UUID(shown["id"]).version == UUID(shown["deployment_id"]).version == 7
    assert set(shown["program_error"]) == {"sql_compilation", "rust_compilation", "system_error"}
    assert {"schema", "udf_stubs", "input_connectors", "output_connectors"} == set(shown["program_info"])


MALFORMED: list[tuple[str, dict[str, str], bytes]] = [
    ("not JSON", AS_JSON, b"{"),
    ("nothing", AS_JSON, b""),
    ("no number", AS_JSON, b'{"name": "new", "program_code": "", "runtime_config": {"workers": NaN}}'),
    ("half a character", AS_JSON, b'{"name": "\xff", "program_code": ""}'),
    ("a list", AS_JSON, b"[]"),
    ("another content type", {"content-type": "text/plain"}, json.dumps(NEW).encode()),
    ("no content type", {}, json.dumps(NEW).encode()),
]


@pytest.mark.parametrize("call", ["POST /v0/pipelines", "PUT /v0/pipelines/new", "PATCH /v0/pipelines/new"])
@pytest.mark.parametrize(("headers", "content"), [each[1:] for each in MALFORMED], ids=lambda value: "")
async def test_a_body_that_means_nothing(
    plane: Plane, call: str, headers: dict[str, str], content: bytes
) -> None:
    method, _, target = call.partition(" ")
    answer = await plane.http.request(method, target, headers=headers, content=content)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text


@pytest.mark.parametrize("call", ["POST /v0/pipelines", "PUT /v0/pipelines/new", "PATCH /v0/pipelines/new"])
async def test_a_body_that_is_too_large(plane: Plane, call: str) -> None:
    method, _, target = call.partition(" ")
    body = {**NEW, "program_code": "x" * (2 << 20)}
    answer = await plane.http.request(method, target, json=body)
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("call", ["GET /v0/nothing", "POST /v0/pipelines/new/nothing", "GET /v0/pipelines/"])
async def test_a_route_that_nobody_knows(plane: Plane, call: str) -> None:
    method, _, target = call.partition(" ")
    answer = await plane.http.request(method, target)
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("word", ["True", "FALSE", "1", "0", "yes", ""])
async def test_a_flag_is_true_or_false(plane: Plane, stopped: str, word: str) -> None:
    answer = await plane.call(stopped, f"POST stop?force={word}")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_verb_needs_no_body(plane: Plane, stopped: str) -> None:
    for headers in ({}, AS_JSON, {"content-type": "text/plain"}):
        answer = await plane.http.post(f"/v0/pipelines/{stopped}/dismiss_error", headers=headers)
        assert answer.status_code == 200


async def test_a_deleted_pipeline_leaves_its_name(plane: Plane) -> None:
    body = {"name": f"p-{uuid4().hex[:10]}", "program_code": PROGRAM}
    first = (await plane.http.post("/v0/pipelines", json=body)).json()
    assert (await plane.call(body["name"], "DELETE")).status_code == 200
    assert (await plane.call(body["name"], "GET events")).status_code == 404
    second = (await plane.http.post("/v0/pipelines", json=body)).json()
    assert second["id"] > first["id"]

    async def listed() -> bool:
        rows: list[dict[str, Any]] = (await plane.http.get("/v0/pipelines?selector=status")).json()
        return [row["id"] for row in rows if row["name"] == body["name"]] == [second["id"]]

    await eventually(listed)

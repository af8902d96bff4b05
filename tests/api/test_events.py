"""The events of a pipeline over HTTP: exact keys, newest first, each with its cause (contract §5.10)."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.rpc import Temporal
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.lifecycle import ids, record
from sluicegate.lifecycle.journal import SYSTEM, Journal
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.values import Packed

NOBODYS = "0197a000-0000-7000-8000-000000000000"
"""An event id that no pipeline has; the same in every process that collects the tests."""
BRIEF = {
    "event_id",
    "recorded_at",
    "deployment_resources_status",
    "deployment_resources_desired_status",
    "deployment_runtime_status",
    "deployment_runtime_desired_status",
    "deployment_has_error",
    "program_status",
    "storage_status",
}
DETAILS = {
    "deployment_resources_status_details",
    "deployment_runtime_status_details",
    "deployment_error",
    "storage_status_details",
}
COMPILED = ["Pending", "CompilingSql", "SqlCompiled", "CompilingRust", "Success"]


@pytest.fixture
async def compiled(api_worker: None, api_pipeline: Any) -> Any:
    """A pipeline whose program has compiled."""
    await api_pipeline.create()
    await api_pipeline.reaches("Success", key="program_status")
    return api_pipeline


async def events(pipeline: Any, selector: str | None = None) -> list[dict[str, Any]]:
    """List the events."""
    parameters = {"selector": selector} if selector else {}
    answer = await pipeline.http.get(f"{pipeline.path}/events", params=parameters)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    return list(answer.json())


@pytest.mark.parametrize(("selector", "keys"), [(None, BRIEF), ("status", BRIEF), ("all", BRIEF | DETAILS)])
async def test_the_keys_are_exact(compiled: Any, selector: str | None, keys: set[str]) -> None:
    await compiled.running()
    for event in await events(compiled, selector):
        assert set(event) == keys


async def test_newest_first(compiled: Any) -> None:
    shown = await events(compiled)
    assert [event["program_status"] for event in reversed(shown)] == COMPILED
    times = [datetime.fromisoformat(event["recorded_at"]) for event in shown]
    assert times == sorted(times, reverse=True)
    assert len({event["event_id"] for event in shown}) == len(COMPILED)


@pytest.mark.parametrize("selector", ["status", "all"])
async def test_one_event(compiled: Any, selector: str) -> None:
    listed = await events(compiled, selector)
    for name, expected in (("latest", listed[0]), (listed[2]["event_id"].upper(), listed[2])):
        answer = await compiled.http.get(f"{compiled.path}/events/{name}", params={"selector": selector})
        assert (answer.status_code, answer.json()) == (200, expected)
        assert answer.headers["cache-control"] == "no-cache"


async def test_details_are_those_of_the_moment(compiled: Any) -> None:
    await compiled.running()
    newest, *_ = await events(compiled, "all")
    assert newest["deployment_runtime_status"] == "Running"
    assert newest["deployment_runtime_status_details"] == {}
    assert newest["deployment_error"] is None
    assert newest["deployment_has_error"] is False


async def test_who_and_which_request(compiled: Any) -> None:
    location = (await compiled.post("dismiss_error", key="why")).headers["location"]
    cause = (await compiled.http.get(f"{compiled.path}/events/latest/cause")).json()
    assert set(cause) == {"event_id", "actor", "request_id"}
    assert location.endswith(f"/requests/{cause['request_id']}")
    of_creation = [
        (await compiled.http.get(f"{compiled.path}/events/{event['event_id']}/cause")).json()["request_id"]
        for event in (await events(compiled))[1:]
    ]
    assert len(set(of_creation)) == 1, "the compilation follows from the creation"
    assert of_creation[0] not in (None, cause["request_id"])


@pytest.mark.parametrize(
    ("path", "status", "code", "details"),
    [
        ("events/nonsense", 400, "InvalidUuidParam", {"value", "error"}),
        ("events/nonsense/cause", 400, "InvalidUuidParam", {"value", "error"}),
        (f"events/{NOBODYS}", 404, "UnknownPipelineMonitorEvent", {"event_id"}),
        (f"events/{NOBODYS}/cause", 404, "UnknownPipelineMonitorEvent", {"event_id"}),
    ],
)
async def test_refusals(compiled: Any, path: str, status: int, code: str, details: set[str]) -> None:
    answer = await compiled.http.get(f"{compiled.path}/{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()["details"]) == details


@pytest.mark.parametrize("path", ["", "/latest", f"/{NOBODYS}", "/latest/cause"])
async def test_an_unknown_pipeline(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(f"/v0/pipelines/nobody/events{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")


async def test_an_unknown_selector(compiled: Any) -> None:
    for path in ("events", "events/latest"):
        answer = await compiled.http.get(f"{compiled.path}/{path}", params={"selector": "some"})
        assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")


async def test_a_pipeline_without_events(api_worker: None, api: Any, api_server: Any) -> None:
    name, at = f"p-{uuid4().hex[:10]}", datetime.now(UTC)
    bare = record.created(
        tenant_id=DEFAULT_TENANT,
        pipeline_id=ids.uuid7(at, name),
        at=at,
        platform_version="1",
        descriptor={
            "name": name,
            "runtime_config": {},
            "program_config": {},
            "texts": Packed.of_json({"program_code": ""}),
        },
    ).but(fenced=True)  # so that nothing ever happens to it
    await Temporal(api_server.client).start(State.new(bare, at, SYSTEM, "").but(journal=Journal()))
    assert (await api.get(f"/v0/pipelines/{name}/events")).json() == []
    answer = await api.get(f"/v0/pipelines/{name}/events/latest")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "NoPipelineMonitorEventsAvailable")


async def test_no_worker(api_deserted: httpx.AsyncClient, api_named: Any) -> None:
    pipeline = api_named(api_deserted)
    await pipeline.create()
    answer = await api_deserted.get(f"{pipeline.path}/events")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "NotAnsweredYet")
    assert answer.headers["retry-after"] == "5"


async def test_events_survive_a_new_history(compiled: Any, api_server: Any, eventually: Any) -> None:
    handle = api_server.client.get_workflow_handle(f"pipeline/{DEFAULT_TENANT}/{compiled.name}")
    first_run = (await handle.describe()).run_id
    before = await events(compiled, "all")
    accepted = 0

    async def renewed() -> bool:
        nonlocal accepted
        assert (await compiled.post("dismiss_error")).status_code == 200
        accepted += 1
        return bool((await handle.describe()).run_id != first_run)

    for _ in range(70):  # so many as bring the history near its end
        await renewed()
    await eventually(renewed)
    after = await events(compiled, "all")
    assert after[-len(before) :] == before
    assert len(after) == len(before) + accepted

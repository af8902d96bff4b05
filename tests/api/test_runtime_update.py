"""Moving to the current platform, and what only unstable features allow (contract §2.10, §3.7)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sluicegate.protocol import PLATFORM_VERSION
from sluicegate.settings import Settings

OLD = "0.0.1"


def code(answer: httpx.Response) -> tuple[int, str]:
    """What a refusal says in two words."""
    return answer.status_code, answer.json()["error_code"]


@pytest.fixture
async def unstable(
    api_server: Any, api_open: Any, api_settings: Settings, api_worker: None
) -> AsyncIterator[httpx.AsyncClient]:
    """The application with every unstable feature."""
    features = frozenset({"testing", "runtime_version"})
    settings = api_settings.model_copy(update={"unstable_features": features})
    async with api_open(api_server.client, settings) as http:
        yield http


async def test_a_pipeline_moves_to_the_current_platform(unstable: httpx.AsyncClient, api_named: Any) -> None:
    pipeline = api_named(unstable)
    await pipeline.create()
    await pipeline.reaches("Success", "program_status")
    same = await pipeline.post("update_runtime")
    assert (same.status_code, same.json()["version"]) == (200, 1)
    pretended = await pipeline.post("testing", set_platform_version=OLD)
    assert (pretended.status_code, pretended.content) == (200, b"")
    shown = await pipeline.get()
    assert (shown["platform_version"], shown["version"], shown["refresh_version"]) == (OLD, 1, 3)
    moved = await pipeline.post("update_runtime")
    assert moved.status_code == 200
    assert set(moved.json()) == set((await pipeline.post("update_runtime")).json())
    assert "bootstrap_policy" not in moved.json()
    body = moved.json()
    assert (body["version"], body["program_version"], body["refresh_version"]) == (2, 2, 4)
    assert (body["platform_version"], body["program_status"]) == (PLATFORM_VERSION, "Pending")
    await pipeline.reaches("Success", "program_status")


async def test_only_a_stopped_pipeline_moves(unstable: httpx.AsyncClient, api_named: Any) -> None:
    pipeline = api_named(unstable)
    assert code(await pipeline.post("update_runtime")) == (404, "UnknownPipelineName")
    await pipeline.create()
    await pipeline.running()
    assert (await pipeline.post("update_runtime")).status_code == 200
    assert (await pipeline.post("testing", set_platform_version=OLD)).status_code == 200
    assert code(await pipeline.post("update_runtime")) == (400, "UpdateRestrictedToStopped")
    patched = await unstable.patch(pipeline.path, json={"program_code": ""})
    assert (patched.status_code, patched.json()["platform_version"]) == (200, OLD)
    await pipeline.post("stop", force="true")
    await pipeline.reaches("Stopped")
    body = {"name": pipeline.name, "program_code": ""}
    put = await unstable.put(pipeline.path, json=body)
    assert (put.json()["version"], put.json()["platform_version"]) == (2, PLATFORM_VERSION)


async def test_testing_is_not_for_everybody(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.post("/v0/pipelines/nobody/testing", params={"set_platform_version": OLD})
    assert code(answer) == (405, "UnsupportedPipelineAction")
    assert set(answer.json()["details"]) == {"action", "reason"}


async def test_testing_without_a_version_changes_nothing(unstable: httpx.AsyncClient, api_named: Any) -> None:
    pipeline = api_named(unstable)
    assert code(await pipeline.post("testing")) == (404, "UnknownPipelineName")
    await pipeline.create()
    assert (await pipeline.post("testing")).status_code == 200
    assert (await pipeline.get())["platform_version"] == PLATFORM_VERSION


async def test_a_runtime_version_needs_its_feature(
    api: httpx.AsyncClient, unstable: httpx.AsyncClient, api_named: Any
) -> None:
    asked = {"runtime_version": "v1.2.3"}
    body = {"name": api_named(api).name, "program_code": "", "program_config": asked}
    refused = [
        await api.post("/v0/pipelines", json=body),
        await api.put(f"/v0/pipelines/{body['name']}", json=body),
        await api.patch("/v0/pipelines/nobody", json={"program_config": asked}),
    ]
    for answer in refused:
        assert code(answer) == (400, "InvalidProgramConfig")
        assert answer.json()["details"]["value"] == asked
    created = await unstable.post("/v0/pipelines", json=body)
    assert (created.status_code, created.json()["program_config"]["runtime_version"]) == (201, "v1.2.3")


async def test_the_configuration_names_the_unstable_features(
    api: httpx.AsyncClient, unstable: httpx.AsyncClient
) -> None:
    assert (await api.get("/v0/config")).json()["unstable_features"] is None
    assert (await unstable.get("/v0/config")).json()["unstable_features"] == "runtime_version,testing"


def test_the_setting_is_a_list_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_UNSTABLE_FEATURES", "testing, runtime_version")
    assert Settings().unstable_features == {"testing", "runtime_version"}
    monkeypatch.setenv("SLUICEGATE_UNSTABLE_FEATURES", "magic")
    with pytest.raises(ValueError, match="magic"):
        Settings()

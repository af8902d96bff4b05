"""One table says which code is which status; the documentation tells the truth about it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import errors as answered
from api.app import create_app
from api.shapes import PipelineInfo, PipelineSelectedInfo
from sluicegate import config, errors
from sluicegate.lifecycle import record, refusals, views
from sluicegate.lifecycle.values import Packed
from sluicegate.settings import Settings

STATUSES = {400, 403, 404, 405, 409, 413, 500, 503, 504}


def test_every_code_has_a_status() -> None:
    assert answered.STATUS.keys() == errors.catalogue().keys()
    assert set(answered.STATUS.values()) == STATUSES


@pytest.mark.parametrize("refusal", errors.catalogue().values())
def test_every_refusal_is_an_error_response(refusal: type[errors.Refusal]) -> None:
    problem = refusal(**{key: f"a {key}" for key in refusal.keys} | _objects(refusal))
    answer = answered.response(problem)
    assert answer.status_code == answered.STATUS[refusal.__name__]
    assert ("retry-after" in answer.headers) is (answer.status_code == 503)
    assert set(answered.body(problem)) == {"message", "error_code", "details"}


def _objects(refusal: type[errors.Refusal]) -> dict[str, Any]:
    """Details that are objects."""
    known = {
        "timeout": {"secs": 1, "nanos": 0},
        "deployment_error": {"message": "It ended.", "error_code": "RunnerCheckError", "details": None},
    }
    return {key: value for key, value in known.items() if key in refusal.keys}


def test_an_invalid_transition_says_it_as_the_process_does() -> None:
    problem = refusals.InvalidTransition(action="pause", status="Standby")
    assert answered.body(problem)["details"] == ["pause", "Standby"]


def test_the_models_have_the_keys_of_the_views() -> None:
    at = datetime.now(UTC)
    descriptor = {
        "name": "p",
        "texts": Packed.of_json({"program_code": "", "udf_rust": "", "udf_toml": ""}),
        "runtime_config": config.runtime_config(None),
        "program_config": config.program_config(None),
    }
    p = record.created(tenant_id="t", pipeline_id="i", at=at, platform_version="1", descriptor=descriptor)
    info, selected = views.info(p), views.selected(p, "all")
    assert list(info.keys() ^ PipelineInfo.model_fields.keys()) == []
    assert list(selected.keys() ^ PipelineSelectedInfo.model_fields.keys()) == ["connectors"]
    PipelineInfo.model_validate(info)
    PipelineSelectedInfo.model_validate(selected)


@pytest.fixture(scope="module")
def application(api_settings: Settings) -> FastAPI:
    """The application, not running."""
    return create_app(api_settings)


def operations(application: FastAPI) -> Iterator[tuple[str, dict[str, Any]]]:
    """All operations of the documentation."""
    for path, methods in application.openapi()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_nothing_answers_422(application: FastAPI) -> None:
    for name, operation in operations(application):
        assert "422" not in operation["responses"], name
    assert "HTTPValidationError" not in application.openapi()["components"]["schemas"]


def test_every_route_is_documented(application: FastAPI) -> None:
    for name, operation in operations(application):
        assert operation["summary"], name
        for status, response in operation["responses"].items():
            described = response.get("content", {}).get("application/json", {}).get("schema", {})
            if int(status) >= 400 and "cluster" not in name and "healthz" not in name:
                assert "ErrorResponse" in str(described) or "text/plain" in response["content"], name


async def test_the_documentation_is_served(api_offline: httpx.AsyncClient) -> None:
    assert (await api_offline.get("/docs")).status_code == 200
    document = (await api_offline.get("/openapi.json")).json()
    created = document["paths"]["/v0/pipelines"]["post"]["responses"]["201"]["content"]
    assert created["application/json"]["schema"]["$ref"].endswith("/PipelineInfo")


async def test_another_method_is_told_all_that_there_are(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.request("TRACE", "/v0/pipelines/p")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH, PUT")

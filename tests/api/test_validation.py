"""Programs are validated by the compiler itself, in bounded time, and none is kept (contract §2.10)."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from temporalio import activity
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.beat import heartbeating
from api.diagnosis import Diagnosis
from api.health import Health
from api.rpc import Temporal
from api.stuck import StuckWork
from api.validator import Validator
from sluicegate import errors, temporal
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText
from tests.api.conftest import Eventually
from workflows.validation import ValidationWorkflow

GOOD = "CREATE TABLE t (x INT); CREATE VIEW v AS SELECT x FROM t;"
BAD = "CREATE VIEW v AS SELECT x FROM nowhere;"


async def ask(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    """Validate a program."""
    return await http.post("/v0/validate_program", json=body)


@pytest.fixture
async def compiling(api_worker: None, api: httpx.AsyncClient, eventually: Eventually) -> None:
    """A worker that has begun to ask for work."""

    async def there() -> bool:
        return (await api.get("/v0/cluster_healthz")).status_code == 200

    await eventually(there)


@pytest.mark.parametrize("ir", [False, True])
async def test_a_program_that_compiles(compiling: None, api: httpx.AsyncClient, ir: bool) -> None:
    answer = await ask(api, program_code=GOOD, ir=ir, runtime_version="v1.0.0" if ir else None)
    assert (answer.status_code, set(answer.json())) == (200, {"Success"})
    info = answer.json()["Success"]["program_info"]
    assert set(answer.json()["Success"]) == {"program_info"}
    assert [relation["name"] for relation in info["schema"]["inputs"]] == ["t"]
    if ir:
        nodes = info["dataflow"]["mir"].values()
        assert [(node["table"], node["view"]) for node in nodes] == [("t", None), (None, "v")]
    else:
        assert info["dataflow"] is None


async def test_a_program_in_error(compiling: None, api: httpx.AsyncClient) -> None:
    answer = await ask(api, program_code=BAD)
    assert (answer.status_code, set(answer.json())) == (200, {"SqlError"})
    assert set(answer.json()["SqlError"]) == {"info"}
    info = answer.json()["SqlError"]["info"]
    assert set(info) == {"exit_code", "messages"}
    assert info["exit_code"] == 1
    assert "nowhere" in info["messages"][0]["message"]


@pytest.mark.parametrize("version", ["1.0", "latest", "v9.9.9", "f" * 40])
async def test_a_runtime_that_is_not_here(api: httpx.AsyncClient, version: str) -> None:
    answer = await ask(api, program_code=GOOD, runtime_version=version)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidRuntimeVersion")
    assert set(answer.json()["details"]) == {"error"}


@pytest.mark.parametrize("body", [{}, {"program_code": 1}, {"program_code": "", "ir": "yes"}, []])
async def test_a_malformed_request(api: httpx.AsyncClient, body: Any) -> None:
    answer = await api.post("/v0/validate_program", json=body)
    assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")


async def test_a_program_that_is_too_large(api: httpx.AsyncClient) -> None:
    assert (await ask(api, program_code="x" * (1 << 20) + "x")).status_code == 413


async def test_nobody_compiles(api_deserted: httpx.AsyncClient) -> None:
    answer = await ask(api_deserted, program_code=GOOD)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "CompilerUnavailable")
    assert answer.headers["retry-after"] == "5"
    assert set(answer.json()["details"]) == {"reason"}


async def test_a_compiler_that_takes_too_long(
    api_deserted_server: WorkflowEnvironment, eventually: Eventually
) -> None:
    begun = asyncio.Event()

    @activity.defn(name="validate")
    async def never(program: ProgramText) -> CompileOutcome:
        begun.set()
        async with heartbeating():
            await asyncio.Event().wait()
        raise AssertionError

    client = api_deserted_server.client
    calls = Temporal(client)
    health = Health(client, calls, StuckWork(Diagnosis(client, calls)))
    validator = Validator(client, health, within=timedelta(seconds=1))

    async def untroubled() -> bool:
        return await health.compiler_trouble() is None

    async with (
        Worker(client, task_queue=temporal.PIPELINES, workflows=[ValidationWorkflow]),
        Worker(client, task_queue=temporal.EFFECTS, activities=[never]),
    ):
        await eventually(untroubled)
        with pytest.raises(errors.CompilerTimeout) as refused:
            await validator.validate(DEFAULT_TENANT, GOOD)
    assert begun.is_set()
    assert refused.value.details == {"timeout_secs": 1}

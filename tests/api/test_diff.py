"""What an edit would change is told before it is made, with every refusal of contract §2.11."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio import activity
from temporalio.testing import WorkflowEnvironment

from activities.compile import Compiler
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText
from sluicegate.lifecycle.values import Packed
from tests.api.conftest import FakeHost, working

T = "CREATE TABLE t (x INT PRIMARY KEY);"
V = "CREATE VIEW v AS SELECT x FROM t;"
LATE = "CREATE TABLE l (ts TIMESTAMP LATENESS INTERVAL '1' HOUR);"
OF_EARLIER_RELEASE = "-- compiled by an earlier release\n"
WITHOUT_GRAPH = "-- compiled by a release that made no graph\n"


class CompilingHost(FakeHost):
    """A host that compiles."""

    @activity.defn(name="compile")
    async def compile(self, program: ProgramText) -> CompileOutcome:
        """Compile, as an earlier release does where the program says so."""
        outcome = await Compiler().compile(program)
        code = program.texts.json_value["program_code"]
        if outcome.program_info is None or not code.startswith("-- compiled by"):
            return outcome
        info = outcome.program_info.json_value
        if code.startswith(WITHOUT_GRAPH):
            info["dataflow"] = None
        else:
            for node in info["dataflow"]["mir"].values():
                node["persistent_id"] = "0" * 64
        return outcome.but(program_info=Packed.of_json(info))


@pytest.fixture
async def compiling(api_server: WorkflowEnvironment, api_process: Any) -> AsyncIterator[None]:
    """Workers that compile."""
    host = CompilingHost(api_server.client, api_process.address)
    async with working(api_server.client, api_process.address, host):
        yield


async def create(pipeline: Any, code: str) -> None:
    """Create the pipeline with a program and wait until it is compiled."""
    await pipeline.create(program_code=code)
    await pipeline.reaches("Success", "program_status")


async def differs(pipeline: Any, **body: Any) -> httpx.Response:
    """Ask what an edit would change."""
    answer: httpx.Response = await pipeline.http.post(f"{pipeline.path}/diff", json=body)
    return answer


async def refusal(pipeline: Any, **body: Any) -> tuple[int, str, dict[str, Any]]:
    """Return how the question is refused."""
    answer = await differs(pipeline, **body)
    return answer.status_code, answer.json()["error_code"], answer.json()["details"]


@pytest.mark.parametrize("of", ["", OF_EARLIER_RELEASE])
async def test_what_an_edit_changes(compiling: None, api_pipeline: Any, of: str) -> None:
    await create(api_pipeline, of + T + V)
    answer = await differs(api_pipeline, program_code="-- why\n" + T + V.replace("x FROM", "x + 1 AS y FROM"))
    nothing: dict[str, list[str]] = {
        f"{how}_{way}_connectors": []
        for how in ("added", "modified", "removed")
        for way in ("input", "output")
    }
    relations: dict[str, list[str]] = {
        f"{how}_{kind}": [] for how in ("added", "removed", "modified") for kind in ("tables", "views")
    }
    assert (answer.status_code, answer.json()) == (
        200,
        {"program_diff": {**relations, "modified_views": ["v"]}, "program_diff_error": None, **nothing},
    )
    for body in ({}, {"program_code": T + " " + V, "runtime_version": "v1.0.0"}):
        answer = await differs(api_pipeline, **body)
        assert answer.json() == {"program_diff": relations, "program_diff_error": None, **nothing}
    assert (await api_pipeline.get())["program_version"] == 1


async def test_what_is_refused(compiling: None, api_pipeline: Any) -> None:
    assert (await refusal(api_pipeline))[:2] == (404, "UnknownPipelineName")
    await create(api_pipeline, T)
    status, code, details = await refusal(api_pipeline, program_code=T + "CREATE VIEW v AS SELECT y FROM t;")
    assert (status, code, set(details)) == (400, "InvalidNewProgramSql", {"error"})
    assert details["error"].startswith("line 1, column ")
    for version in ("1.0", "latest", "v9.9.9"):
        status, code, details = await refusal(api_pipeline, program_code=T, runtime_version=version)
        assert (status, code, set(details)) == (400, "InvalidRuntimeVersion", {"error"})
    status, code, details = await refusal(api_pipeline, program_code=T + LATE)
    assert (status, code) == (400, "BootstrapNotAllowed")
    assert "lateness" in details["error"]


async def test_a_program_without_a_graph(compiling: None, api_pipeline: Any) -> None:
    await create(api_pipeline, WITHOUT_GRAPH + T)
    details = {"pipeline_name": api_pipeline.name}
    assert await refusal(api_pipeline, program_code=T) == (404, "ProgramInfoMissesDataflow", details)


async def test_a_program_that_is_not_compiled(compiling: None, api_pipeline: Any) -> None:
    await api_pipeline.create(program_code="CREATE VIEW v AS SELECT 1 FROM nowhere;")
    await api_pipeline.reaches("SqlError", "program_status")
    details = {"pipeline_name": api_pipeline.name}
    assert await refusal(api_pipeline, program_code=T) == (404, "ProgramNotCompiled", details)


async def test_a_malformed_question(api_worker: None, api_pipeline: Any) -> None:
    await api_pipeline.create()
    for body in ("", "{", "[]", '{"program_code": 1}'):
        headers = {"Content-Type": "application/json"}
        answer = await api_pipeline.http.post(f"{api_pipeline.path}/diff", content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")

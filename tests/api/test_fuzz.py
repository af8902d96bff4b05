"""Any input at all: what the front end answers is what its OpenAPI document says, and no failure of ours.

Schemathesis reads the document of a real API, which has real workers and processes, and sends what fits the
document, what nearly fits, and what does not; then once more the calls that make up the life of a pipeline,
in chains along the links of the document. With `FUZZ_SECONDS=1800` it looks longer, and at other inputs each
time.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from tests.api.fuzzing import CREATE, DELETE, Call, Scenario, lives, operations, scenarios
from tests.conformance.plane import Plane, running

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))
SEEDS = 8
"""How many more times chains are drawn at the most until one has a start and a stop that succeed."""
KEY = {"Authorization": "Bearer the-key-of-an-owner"}
PROGRAM = "CREATE TABLE t (x INT);"
LIFE = r"^/v0/pipelines(/\{pipeline_name\}(/(start|stop|clear))?)?$"
ONE = "/v0/pipelines/{pipeline_name}"
START, STOP, LOGS = f"POST {ONE}/start", f"POST {ONE}/stop", f"GET {ONE}/logs"


@pytest.fixture(scope="module")
async def plane(
    temporal_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plane]:
    """Real processes whose caller is an owner, with a pipeline that rests and one that runs."""
    address = temporal_server.client.service_client.config.target_host
    settings = {
        "SLUICEGATE_OWNER_KEYS": "the-key-of-an-owner",
        "SLUICEGATE_UNSTABLE_FEATURES": "testing",
        "SLUICEGATE_LONGEST_WAIT": "2",
    }
    async with running(address, tmp_path_factory.mktemp("plane"), **settings) as made:
        made.http.headers.update(KEY)
        for name in ("steady", "running"):
            created = await made.http.post("/v0/pipelines", json={"name": name, "program_code": PROGRAM})
            assert created.status_code == 201, created.text
            await made.reaches(name, {"program_status": "Success"})
        assert (await made.call("running", "POST start")).status_code == 202
        await made.reaches("running", {"deployment_status": "Running"})
        yield made


async def fuzz(url: httpx.URL, report: Path, *options: str) -> list[Scenario]:
    """Let Schemathesis call, and give what it did; it fails where it found anything."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIGURATION), "run", str(url.join("/openapi.json"))),
        *("--header", f"Authorization: {KEY['Authorization']}", *options),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
        cwd=report.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    with report.open() as lines:
        return list(scenarios(lines))


def bounds(share: float) -> tuple[str, ...]:
    """How long to look; without a limit of its own each run draws the same inputs, a fixed number of them."""
    return ("--max-time", str(int(SECONDS * share))) if SECONDS else ("--generation-deterministic",)


def whole_lives(seen: list[Scenario]) -> list[tuple[str, ...]]:
    """Those lives in which the pipeline was started and stopped."""
    return [life for scenario in seen for life in lives(scenario) if {START, STOP} <= set(life)]


async def follow_log(http: httpx.AsyncClient, name: str) -> int:
    """Ask for a log, which has no end, until it gives something."""
    async with http.stream("GET", f"/v0/pipelines/{name}/logs") as answer:
        kind = "text/plain" if answer.status_code == 200 else "application/json"
        assert answer.headers["content-type"].startswith(kind)
        assert await anext(answer.aiter_text())
    return answer.status_code


@pytest.mark.slow
@pytest.mark.timeout(1200 + 2 * SECONDS)
async def test_every_answer_is_one_that_the_document_names(
    plane: Plane, tmp_path: Path, counted: Callable[..., None]
) -> None:
    url = plane.http.base_url
    everything = await fuzz(url, tmp_path / "everything", *bounds(0.75))
    along_links = ("--phases", "stateful", "--include-path-regex", LIFE, "--exclude-method", "PUT")
    chains = await fuzz(url, tmp_path / "chains", *along_links, *bounds(0.25))
    for seed in range(SEEDS):  # what is drawn changes with the document
        if whole_lives(chains):
            break
        chains += await fuzz(url, tmp_path / f"chains-{seed}", *along_links, "--seed", str(seed))
    assert [await follow_log(plane.http, name) for name in ("running", "nobody")] == [200, 404]

    document = (await plane.http.get("/openapi.json")).json()
    called = {call.operation for scenario in everything for call in scenario.calls}
    assert operations(document) - called == {LOGS}
    lived = [life for scenario in (*everything, *chains) for life in lives(scenario)]
    assert whole_lives([*everything, *chains]), lived
    counted("calls of the fuzzer", sum(len(scenario.calls) for scenario in (*everything, *chains)))
    counted("pipelines that the fuzzer led from create to delete", len(lived))


def event(phase: str, *cases: tuple[str, str, dict[str, Any], int, bool]) -> str:
    """An event of a report."""
    nodes, answers = {}, {}
    for number, (method, path, given, status, linked) in enumerate(cases):
        part = "body" if path == "/v0/pipelines" else "path_parameters"
        parent = {"parent_id": "0"} if linked else {}
        nodes[str(number)] = {"value": {"method": method, "path": path, part: given}, **parent}
        answers[str(number)] = {"response": {"status_code": status}} if status else {}
    return json.dumps(
        {"ScenarioFinished": {"phase": phase, "recorder": {"cases": nodes, "interactions": answers}}}
    )


MADE = ("POST", "/v0/pipelines", {"name": "p"}, 201, False)
STARTED = ("POST", f"{ONE}/start", {"pipeline_name": "p"}, 202, True)
REFUSED = ("POST", f"{ONE}/stop", {"pipeline_name": "p"}, 400, True)
OTHER = ("POST", f"{ONE}/stop", {"pipeline_name": "q"}, 202, True)
GONE = ("DELETE", ONE, {"pipeline_name": "p"}, 200, True)


@pytest.mark.parametrize(
    ("phase", "cases", "expected"),
    [
        pytest.param(
            "stateful", (MADE, STARTED, REFUSED, OTHER, GONE), [(CREATE, START, DELETE)], id="a life"
        ),
        pytest.param("stateful", (STARTED, GONE), [], id="of one that was there before"),
        pytest.param("stateful", (MADE, STARTED, (*GONE[:3], 400, True)), [], id="a refused delete"),
        pytest.param("stateful", (MADE, STARTED, (*GONE[:4], False)), [], id="a delete without a link"),
        pytest.param("stateful", (MADE, STARTED, (*GONE[:3], 0, True)), [], id="a delete without an answer"),
        pytest.param("stateful", (MADE, GONE, GONE), [(CREATE, DELETE)], id="deleted twice"),
        pytest.param("fuzzing", (MADE, STARTED, GONE), [], id="another phase"),
    ],
)
def test_what_counts_as_a_life(phase: str, cases: Any, expected: list[tuple[str, ...]]) -> None:
    [read] = scenarios(["{}", event(phase, *cases)])
    assert list(lives(read)) == expected


def test_what_counts_as_called() -> None:
    [read] = scenarios([event("coverage", MADE, (*GONE[:3], 0, True))])
    assert read.calls == (Call(CREATE, 201, "p", linked=False),)
    item: dict[str, Any] = {"get": {}, "delete": {}, "parameters": []}
    assert operations({"paths": {ONE: item}}) == {f"GET {ONE}", DELETE}

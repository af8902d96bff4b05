"""Contract §2 row by row: every call in every state, through HTTP against real processes."""

import json
from collections import Counter
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api.rpc import Temporal
from tests.conformance import rows
from tests.conformance.plane import Plane
from tests.conformance.rows import Case
from tests.conformance.states import STATES, Stage
from tests.conftest import eventually

CASES = rows.cases(
    "lifecycle-forwarding",
    "lifecycle-start",
    "lifecycle-stop",
    "lifecycle-steering",
    "lifecycle-activation",
    "lifecycle-other",
)
ROWS = {
    "2.0": 12,
    "2.1": 12,
    "2.1m": 9,
    "2.2": 8,
    "2.3": 6,
    "2.4": 3,
    "2.5": 7,
    "2.6": 3,
    "2.7": 3,
    "2.10": 2,
}
"""How many rows the contract's tables have; those that begin with "otherwise" count."""
# Those that change the pipeline come last, so that one of them can have the pipeline of all others.
CASES = tuple(sorted(CASES, key=lambda case: case.changes))
AT_WORK = [case for case in CASES if not STATES[case.state].holds and case.state != "Stop on its way"]
HELD = [case for case in CASES if STATES[case.state].holds]
CROSSED = [case for case in CASES if case.state == "Stop on its way"]
LAST = {case.state: case for case in CASES}
_MOVING = ("deployment_resources_status_details",)
"""Shows when an effect that is held will be tried again."""


def test_every_row_of_the_contract_is_here() -> None:
    cited = Counter(paragraph for paragraph, _ in {(case.paragraph, case.row) for case in CASES})
    assert dict(cited) == ROWS
    assert len(AT_WORK) + len(HELD) + len(CROSSED) == len(CASES) == len({case.id for case in CASES})


def _needs(case: Case) -> tuple[str, str]:
    """A state, and whether the case needs a pipeline of its own."""
    of_its_own = case.changes and case is not LAST[case.state]
    return case.state, case.id if of_its_own else "shared"


@pytest.fixture(scope="session")
async def stage(request: pytest.FixtureRequest, plane: Plane, temporal_server: WorkflowEnvironment) -> Stage:
    """All pipelines that the selected cases need, as far as they get with effects at work."""
    made = Stage(plane, Temporal(temporal_server.client))
    await made.prepare(_needed(request))
    return made


@pytest.fixture(scope="session")
async def held_stage(request: pytest.FixtureRequest, stage: Stage, plane: Plane) -> Any:
    """The same, with effects held from now on."""
    await stage.hold({one for one in _needed(request) if STATES[one[0]].holds})
    yield stage
    plane.thaw("effects")


def _needed(request: pytest.FixtureRequest) -> set[tuple[str, str]]:
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    found = [spec.params["case"] for spec in specs if "case" in spec.params]
    return {_needs(case) for case in found if isinstance(case, Case)}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", AT_WORK, ids=lambda case: case.id)
async def test_a_row(case: Case, stage: Stage, plane: Plane, counted: Any) -> None:
    await _check(case, await stage.pipeline(*_needs(case)), plane)
    counted("rows of the lifecycle tables")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CROSSED, ids=lambda case: case.id)
async def test_a_row_behind_a_stop(case: Case, stage: Stage, plane: Plane, counted: Any) -> None:
    """Deployed but no longer wanted lasts for one task of the workflow, so both requests come while an
    earlier one is being dealt with."""
    name = await stage.pipeline(*_needs(case))
    async with plane.held("pipelines"):
        for request in ("POST pause", "POST stop?force=true", case.call):
            crossing = await plane.call(name, request)
            assert crossing.status_code == 202

    async def decided() -> dict[str, Any] | None:
        outcome = await plane.http.get(crossing.headers["location"])
        return dict(outcome.json()) if outcome.status_code == 200 else None

    outcome: Any = await eventually(decided)
    assert outcome["status"] == "refused"
    _check_error(case, outcome["error"], name)
    await plane.reaches(name, {"deployment_status": "Stopped", "deployment_desired_status": "Stopped"})
    counted("rows of the lifecycle tables")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", HELD, ids=lambda case: case.id)
async def test_a_row_while_effects_are_held(
    case: Case, held_stage: Stage, plane: Plane, counted: Any
) -> None:
    await _check(case, await held_stage.pipeline(*_needs(case)), plane)
    counted("rows of the lifecycle tables")


async def _check(case: Case, name: str, plane: Plane) -> None:
    known = STATES[case.state].compiled is not None or STATES[case.state].holds
    before = await plane.shown(name) if known else None
    body = json.loads(case.body) if case.body else None
    answer = await plane.call(name, case.call, body)
    _check_answer(case, answer, name)
    values, told = rows.values(case.then)
    for request in told:

        async def heard(request: str = request) -> bool:
            return any(rows.matches(request, line) for line in plane.told(name))

        await eventually(heard)
    if case.changes:
        await plane.reaches(name, values)
    elif before is not None:
        assert _settled(await plane.shown(name)) == _settled(before)


def _settled(shown: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key not in _MOVING}


def _check_answer(case: Case, answer: httpx.Response, name: str) -> None:
    expected = case.answer
    assert answer.status_code == expected.status, answer.text
    for header, value in expected.headers:
        assert answer.headers.get(header) == value
    match expected.says:
        case "text":
            assert answer.headers["content-type"].startswith("text/plain")
            assert answer.text
        case "empty":
            assert answer.content == b""
        case "info":
            assert answer.json()["name"] == name
        case word if word[0] in '"{[':
            assert answer.headers["content-type"] == "application/json"
            pattern, body = json.loads(word), answer.json()
            shown = {key: body[key] for key in pattern} if isinstance(pattern, dict) else body
            assert rows.matches(pattern, shown), body
        case _:
            assert answer.headers["content-type"] == "application/json"
            _check_error(case, answer.json(), name)


def _check_error(case: Case, body: dict[str, Any], name: str) -> None:
    assert list(body) == ["message", "error_code", "details"]
    assert body["error_code"] == case.answer.says
    assert isinstance(body["message"], str)
    assert body["message"]
    pattern = json.loads(case.answer.details.replace("NAME", name))
    assert rows.matches(pattern, body["details"]), body["details"]

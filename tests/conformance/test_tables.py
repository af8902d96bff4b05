"""The tables of the contract row by row: every call in every state, through HTTP against real processes."""

import json
from collections import Counter
from collections.abc import Callable
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CASES = rows.cases(
    "crud-bodies",
    "crud-endpoints",
    "crud-restrictions",
    "lifecycle-forwarding",
    "lifecycle-start",
    "lifecycle-stop",
    "lifecycle-steering",
    "lifecycle-activation",
    "lifecycle-checkpoints",
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
    "2.8": 6,
    "2.10": 5,
    "3.1": 11,
    "3.2": 6,
    "3.4": 10,
    "3.5": 3,
    "3.5o": 9,
    "3.6": 3,
    "3.7": 2,
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
    passing = STATES[case.state].crafted is not None
    of_its_own = passing or (case.changes and case is not LAST[case.state])
    return case.state, case.id if of_its_own else "shared"


@pytest.fixture(scope="module")
async def stage(request: pytest.FixtureRequest, plane: Plane, temporal_server: WorkflowEnvironment) -> Stage:
    """All pipelines that the selected cases need, as far as they get with effects at work."""
    made = Stage(plane, Temporal(temporal_server.client))
    await made.prepare(_needed(request))
    return made


@pytest.fixture(scope="module")
async def held_stage(request: pytest.FixtureRequest, stage: Stage, plane: Plane) -> Any:
    """The same, with effects held from now on."""
    await stage.hold({one for one in _needed(request) if STATES[one[0]].holds})
    yield stage
    plane.thaw("effects")


def _needed(request: pytest.FixtureRequest) -> set[tuple[str, str]]:
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    found = [spec.params["case"] for spec in specs if "case" in spec.params]
    return {_needs(case) for case in found if isinstance(case, Case)}


@pytest.mark.parametrize("case", AT_WORK, ids=lambda case: case.id)
async def test_a_row(case: Case, stage: Stage, plane: Plane, counted: Any) -> None:
    await _check(case, stage, plane)
    counted("rows of the conformance tables")


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
    _check_body(case, outcome["error"], lambda cell: rows.filled(cell, name, stage.taken))
    await plane.reaches(name, {"deployment_status": "Stopped", "deployment_desired_status": "Stopped"})
    counted("rows of the conformance tables")


@pytest.mark.parametrize("case", HELD, ids=lambda case: case.id)
async def test_a_row_while_effects_are_held(
    case: Case, held_stage: Stage, plane: Plane, counted: Any
) -> None:
    await _check(case, held_stage, plane)
    counted("rows of the conformance tables")


async def _check(case: Case, stage: Stage, plane: Plane) -> None:
    name = await stage.pipeline(*_needs(case))
    before = await _look(plane, name)
    body = json.loads(rows.filled(case.body, name, stage.taken)) if case.body else None
    answer = await plane.call(name, case.call, body)
    _check_answer(case, answer, lambda cell: rows.filled(cell, name, stage.taken))
    then = rows.then(rows.filled(case.then, name, stage.taken))
    for request in then.told:

        async def heard(request: str = request) -> bool:
            return any(rows.matches(request, line) for line in plane.told(name))

        await eventually(heard)
    match then.word:
        case "unchanged" | "only":
            after = _settled(await _look(plane, name))
            assert after == (before and _settled(before | then.values))
        case "gone":
            assert await _look(plane, name) is None
        case "renamed":
            renamed = await plane.shown(then.name)
            assert before is not None
            assert (renamed["id"], renamed["name"]) == (before["id"], then.name)
            assert await _look(plane, name) is None
        case _:
            await eventually(lambda: _shows(plane, name, then.values), 60)


async def _look(plane: Plane, name: str) -> dict[str, Any] | None:
    answer = await plane.call(name, "GET")
    assert answer.status_code in (200, 404), answer.text
    return dict(answer.json()) if answer.status_code == 200 else None


async def _shows(plane: Plane, name: str, values: dict[str, Any]) -> bool:
    shown = await plane.shown(name)
    assert {path: rows.at(shown, path) for path in values} == values
    return True


def _settled(shown: dict[str, Any] | None) -> dict[str, Any] | None:
    return shown and {key: value for key, value in shown.items() if key not in _MOVING}


def _check_answer(case: Case, answer: httpx.Response, filled: Callable[[str], str]) -> None:
    expected = case.answer
    assert answer.status_code == expected.status, answer.text
    for header, value in expected.headers:
        assert answer.headers.get(header) == value
    says = filled(expected.says)
    if says == "text":
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text
        return
    if says == "empty":
        assert answer.content == b""
        return
    assert answer.headers["content-type"] == "application/json"
    _check_body(case, answer.json(), filled)


def _check_body(case: Case, body: Any, filled: Callable[[str], str]) -> None:
    says, name = filled(case.answer.says), filled("NAME")
    if says == "list":
        assert name in {row["name"] for row in body}
    elif says == "info":
        assert body["name"] == name
    elif says[0] == '"':
        assert body == json.loads(says)
    elif says[0] == "{":
        pattern = json.loads(says)
        assert rows.matches(pattern, {key: body[key] for key in pattern}), body
    elif says.startswith("exactly "):
        assert rows.matches(json.loads(says.removeprefix("exactly ")), body), body
    else:
        assert list(body) == ["message", "error_code", "details"]
        assert body["error_code"] == says
        assert isinstance(body["message"], str)
        assert body["message"]
        assert rows.matches(json.loads(filled(case.answer.details)), body["details"]), body["details"]

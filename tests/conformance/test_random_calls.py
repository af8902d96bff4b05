"""Random sequences of all calls: a real server and the pure rules answer alike and end up alike.

After each call both sides come to rest, the rules in a simulated world, before the next one.
"""

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from sluicegate.lifecycle import views
from tests.conformance.model import Call, Model, Said
from tests.conformance.plane import Plane
from tests.conformance.states import NO_SYNC, PROGRAM, SYNC, WRONG
from tests.conftest import eventually
from tests.lifecycle.conftest import BAD

NAMES = ("one", "two")
LENGTH = 30
EXAMPLES = 7
DOOM, HOPE = Call("", "", "doom"), Call("", "", "hope")
MOMENTARY = ("id", "created_at", "deployment_id", "refresh_version")
"""Not the same twice, like the times; the last one counts the looks at a process while it changes."""
OF_THE_COMPILER = ("program_info", "program_error", "deployment_resources_status_details")
"""What the simulated compiler and host do not imitate."""


def _bodies(name: str) -> list[dict[str, Any]]:
    plain = {"name": name, "program_code": PROGRAM}
    return [
        plain,
        {**plain, "runtime_config": SYNC},
        {**plain, "program_code": BAD},
        {**plain, "description": "d", "tags": ["a"], "runtime_config": {"workers": 2}},
    ]


def _verbs(name: str) -> list[Call]:
    flags = {"silent_bootstrap": True}
    starts: list[dict[str, Any]] = [
        {},
        {},
        {"initial": "paused"},
        {"initial": "standby"},
        {"bootstrap_policy": "allow"},
        {"checkpoint": "none"},
        {"dismiss_error": False},
        {"initial": "standby", **flags},
        {"concurrent_bootstrap": True},
    ]
    others: list[tuple[str, dict[str, Any]]] = [
        ("stop", {"force": True}),
        ("stop", {"force": True}),
        ("stop", {}),
        ("pause", {}),
        ("resume", {}),
        ("activate", {}),
        ("activate", {"initial": "paused"}),
        ("activate", {"initial": "standby"}),
        ("approve", {}),
        ("approve", flags),
        ("clear", {}),
        ("clear", {}),
        ("dismiss_error", {}),
        ("update_runtime", {}),
    ]
    return [Call("POST", name, "start", arguments) for arguments in starts] + [
        Call("POST", name, verb, arguments) for verb, arguments in others
    ]


def _edits(name: str, other: str) -> list[Call]:
    patches: list[dict[str, Any]] = [
        {"description": "e"},
        {"tags": ["x", "y"]},
        {"name": other},
        {"program_code": BAD},
        {"program_code": PROGRAM},
        {"program_code": PROGRAM + " -- changed"},
        {"runtime_config": {"workers": 3}},
        {"runtime_config": SYNC},
        {"runtime_config": NO_SYNC},
        {"runtime_config": {"workers": "many"}},
        {"program_config": {"profile": "dev"}},
        {"program_config": {"profile": 1}},
        {"tags": ["*"], "program_code": WRONG},
    ]
    return [
        *(Call("PATCH", name, "", patch) for patch in patches),
        *(Call("PUT", name, "", body) for body in _bodies(name)),
        Call("PUT", name, "", {"name": other, "program_code": PROGRAM}),
        Call("DELETE", name),
        Call("DELETE", name),
    ]


def _calls() -> list[Call]:
    both = zip(NAMES, reversed(NAMES), strict=True)
    creations = [Call("POST", "", "", body) for name in NAMES for body in _bodies(name)]
    rest = [call for name, other in both for call in (*_verbs(name), *_edits(name, other))]
    return [*creations, *rest, DOOM, HOPE]


class Pair:
    """A server and the rules, told the same."""

    def __init__(self, plane: Plane) -> None:
        """Begin with names that nobody has used."""
        self.plane = plane
        self.model = Model()
        self.doomed = False
        self._suffix = uuid4().hex[:8]

    async def say(self, call: Call) -> None:
        """Make one call on both sides; their answers and what they show afterwards must be the same."""
        if call in (DOOM, HOPE):
            self.doomed = call is DOOM
            return
        call = self._own(call)
        for name in NAMES:
            self.plane.script(f"{name}-{self._suffix}", {"exits": 3} if self.doomed else {})
        self.model.doom(self.doomed)
        expected = self.model.answer(call)
        assert _comparable(await self._ask(call)) == _comparable(expected), call
        await eventually(self._is_alike, 30)

    def _own(self, call: Call) -> Call:
        named = {key: self._named(value) if key == "name" else value for key, value in call.arguments.items()}
        return call._replace(name=self._named(call.name), arguments=named)

    def _named(self, name: str) -> str:
        return f"{name}-{self._suffix}" if name else name

    async def _ask(self, call: Call) -> Said:
        if call.path:
            words = {key: str(value).lower() for key, value in call.arguments.items()}
            target = f"/v0/pipelines/{call.name}/{call.path}"
            answer = await self.plane.http.post(target, params=words)
        else:
            target = f"/v0/pipelines/{call.name}".rstrip("/")
            body = call.arguments if call.method != "DELETE" else None
            answer = await self.plane.http.request(call.method, target, json=body)
        return Said(answer.status_code, json.loads(answer.content) if answer.content else None)

    async def _is_alike(self) -> bool:
        for short in NAMES:
            name = self._named(short)
            answer = await self.plane.http.get(f"/v0/pipelines/{name}", params={"selector": "status"})
            world = self.model.worlds.get(name)
            if world is None:
                assert answer.status_code == 404, name
            else:
                assert _lasting(answer.json()) == _lasting(views.selected(world.p, "status"))
        return True


def _comparable(said: Said) -> Said:
    if isinstance(said.body, dict) and "version" in said.body:
        shown = {key: value for key, value in _lasting(said.body).items() if key not in OF_THE_COMPILER}
        return said._replace(body=shown)
    return said


def _lasting(shown: dict[str, Any]) -> dict[str, Any]:
    """A pipeline without times and ids; of an error the code, since it names processes."""
    lasting = {
        key: value for key, value in shown.items() if key not in MOMENTARY and not key.endswith("_since")
    }
    error = shown["deployment_error"]
    return {
        **lasting,
        "deployed": shown["deployment_id"] is not None,
        "deployment_error": error and error["error_code"],
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(calls=st.lists(st.sampled_from(_calls()), min_size=LENGTH, max_size=LENGTH))
async def test_a_server_does_what_the_rules_say(calls: list[Call], plane: Plane, counted: Any) -> None:
    pair = Pair(plane)
    for call in [Call("POST", "", "", _bodies(NAMES[0])[0]), *calls]:
        note(str(call))
        await pair.say(call)
        counted("random calls compared", int(call not in (DOOM, HOPE)))
    await pair.say(Call("POST", NAMES[0], "stop", {"force": True}))
    await pair.say(Call("POST", NAMES[1], "stop", {"force": True}))

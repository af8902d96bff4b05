"""The states that the tables name, and how a pipeline gets into each.

A state is reached through the API and the script of the pipeline's process: what a user and a process can
bring about. Where effects have to stand still for a state to last (while compiling, stopping, clearing), the
worker that has them is held, and `held` is done after that. `crafted` is for the few records that our own
parts never make but that the contract has an answer for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from api.descriptors import descriptor
from api.rpc import Temporal
from api.shapes import NewPipeline
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.lifecycle import ids, record
from sluicegate.lifecycle.effects import Observation
from sluicegate.lifecycle.journal import Cause
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.status import (
    Initial,
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)
from sluicegate.protocol import PLATFORM_VERSION
from tests.conformance.plane import Plane
from tests.conftest import eventually

PROGRAM = "CREATE TABLE t (x INT);"
OTHER_PROGRAM = "CREATE TABLE u (x INT);"
WRONG = "CREATE TABEL t (x INT);"
TOO_LARGE = (
    "CREATE VIEW v AS SELECT '" + "".join(f"{n * n * 7919 % 99991:05d}" for n in range(190_000)) + "' AS x;"
)
SYNC = {"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}
NO_SYNC = {"storage": {"backend": {"name": "file", "config": {}}}}
FAILED = {"message": "The circuit died.", "error_code": "RuntimeError.WorkerPanic", "details": {"panics": []}}
NOW = {"now_ms": 1, "now": "1970-01-01T00:00:00.001Z"}
NOT_DRIVEN = {
    "message": "The clock is its own.",
    "error_code": "InvalidParam",
    "details": {"error": "now_http_driven is not set"},
}
ANOTHER = {
    "message": "It is another process.",
    "error_code": "IncarnationUuidMismatch",
    "details": {
        "requested": "01980000-0000-7000-8000-000000000000",
        "expected": "01980000-0000-7000-8000-000000000001",
    },
}
NO_CHECKPOINT = {"message": "There is no checkpoint yet.", "error_code": "400", "details": {}}
NO_SYNC_SET = {
    "message": "Nothing is synchronised.",
    "error_code": "CheckpointFetchError",
    "details": {"error": "no sync"},
}
BUSY = {"message": "The lock is taken.", "error_code": "LockTaken", "details": None}

Step = Callable[[Plane, str], Awaitable[None]]


def call(request: str, body: Any = None) -> Step:
    """A call that is accepted."""

    async def step(plane: Plane, name: str) -> None:
        answer = await plane.call(name, request, body)
        assert answer.status_code < 300, f"{name}: {request}: {answer.text}"

    return step


def shows(**values: Any) -> Step:
    """Wait until the pipeline shows values; keys without their `deployment_`, where they have it."""

    async def step(plane: Plane, name: str) -> None:
        plain = ("program_status", "storage_status")
        wanted = {key if key in plain else f"deployment_{key}": value for key, value in values.items()}
        await plane.reaches(name, wanted)

    return step


def says(**script: Any) -> Step:
    """What the process does from now on."""

    async def step(plane: Plane, name: str) -> None:
        plane.script(name, script)

    return step


def deaf() -> Step:
    """The process stops listening."""

    async def step(plane: Plane, name: str) -> None:
        plane.script(name, {"deaf": True})

        async def closed() -> bool:
            return "DEAF" in plane.told(name)

        await eventually(closed)

    return step


@dataclass(frozen=True)
class Recipe:
    """How a pipeline gets into a state."""

    body: dict[str, Any] = field(default_factory=dict)
    """What it is created with, beside a name and a program."""
    compiled: str | None = "Success"
    """How its compilation ends; None where effects are held before it is created."""
    steps: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    """Done just before effects are held."""
    held: tuple[Step, ...] = ()
    """Done while effects are held."""
    crafted: dict[str, Any] | None = None
    """Fields of a record that is made by hand."""
    holds: bool = False
    """The state lasts only while effects are held."""


def _running(script: dict[str, Any] | None = None, start: str = "POST start", **body: Any) -> Recipe:
    """Deployed, with a process that follows a script."""
    given = script or {}
    status = given.get("reports") or given.get("desires") or ("Paused" if "paused" in start else "Running")
    return Recipe(body=body, steps=(says(**given), call(start), shows(status=status)))


def _saying(status: int, code: str, details: Any = None) -> Recipe:
    """Deployed, and the process answers a forwarded call with an error."""
    body = {"message": "The process says so.", "error_code": code, "details": details}
    return _running({"replies": {"/stats": [status, body]}})


_START = call("POST start")
_DIED: tuple[Step, ...] = (says(exits=3), _START, shows(status="Stopped", desired_status="Stopped"))
_USED = (*_running().steps, call("POST stop?force=true"), shows(status="Stopped"))
_WRONG = {"program_code": WRONG}
_EDIT = call("PATCH ", {"program_code": OTHER_PROGRAM})
_AT = datetime(2025, 1, 1, tzinfo=UTC)
_NOWHERE = {
    "resources_status": ResourcesStatus.PROVISIONED,
    "resources_desired": ResourcesDesired.PROVISIONED,
    "storage_status": StorageStatus.IN_USE,
    "deployment_initial": Initial.RUNNING,
    "deployment_id": ids.uuid7(_AT, "nowhere"),
    "bootstrap": record.Bootstrap(),
    "runtime_status": RuntimeStatus.RUNNING,
    "runtime_desired": RuntimeDesired.RUNNING,
}
"""Deployed, but nobody knows where."""

STATES: dict[str, Recipe] = {
    "Unknown": Recipe(compiled=None),
    # Not deployed
    "Stopped": Recipe(),
    "Stopped with sync": Recipe(body={"runtime_config": SYNC}),
    "Stopped without sync": Recipe(body={"runtime_config": NO_SYNC}),
    "Bare": Recipe(),
    "Configured": Recipe(
        body={
            "description": "a description",
            "tags": ["one", "two"],
            "runtime_config": {"workers": 2, "logging": "debug"},
            "program_config": {"profile": "dev"},
        }
    ),
    "Old platform": Recipe(crafted={"platform_version": "0.9.0"}),
    "Storage in use": Recipe(steps=_USED),
    "SqlError": Recipe(body=_WRONG, compiled="SqlError"),
    "SystemError": Recipe(body={"program_code": TOO_LARGE}, compiled="SystemError"),
    "RustError": Recipe(crafted={"program_status": ProgramStatus.RUST_ERROR}),
    "Stopped with error": Recipe(steps=_DIED),
    "Cleared with error": Recipe(steps=(*_DIED, call("POST clear"), shows(storage_status="Cleared"))),
    "SqlError with error": Recipe(
        steps=(*_DIED, call("PATCH ", _WRONG), shows(program_status="SqlError")),
    ),
    # Deployed
    "Running": _running(),
    "Bare running": _running(),
    "Paused": _running(start="POST start?initial=paused"),
    "Running with options": _running(start="POST start?bootstrap_policy=allow&silent_bootstrap=true"),
    "Paused after Running": Recipe(steps=(*_running().steps, call("POST pause"), shows(status="Paused"))),
    "Running after Paused": Recipe(
        steps=(
            *_running(start="POST start?initial=paused").steps,
            call("POST resume"),
            shows(status="Running"),
        ),
    ),
    "Initializing": _running({"reports": "Initializing"}),
    "Standby": _running({"reports": "Standby"}, "POST start?initial=standby", runtime_config=SYNC),
    "AwaitingApproval": _running({"reports": "AwaitingApproval"}),
    "Bootstrapping": _running({"reports": "Bootstrapping"}),
    "Replaying": _running({"reports": "Replaying"}),
    "ConcurrentBootstrapping": _running({"reports": "ConcurrentBootstrapping"}),
    "Synchronizing": _running({"reports": "Synchronizing"}),
    "Unavailable": Recipe(
        steps=(says(replies={"/status": [503, BUSY]}), _START, shows(status="Unavailable")),
    ),
    "Suspending": Recipe(
        steps=(
            *_running({"reports": "Running"}).steps,
            call("POST stop"),
            shows(desired_status="Suspended"),
        ),
    ),
    "Stop on its way": _running(),
    "Provisioning": Recipe(
        body={"runtime_config": {"provisioning_timeout_secs": 600}},
        steps=(says(answers=False), _START, shows(status="Provisioning")),
    ),
    "Nowhere": Recipe(crafted=_NOWHERE),
    "Old platform running": Recipe(crafted={**_NOWHERE, "platform_version": "0.9.0"}),
    # Deployed, and the process answers other calls than /status in a way of its own
    "Silent": _running({"silent": ["/stats"]}),
    "Cutting": _running({"cut": ["/stats"]}),
    "Process suspended": _saying(503, "Suspended"),
    "Process terminating": _saying(410, "Terminating"),
    "Process failed to initialise": _saying(500, "InitializationError", {"error": "inner"}),
    "Circuit died": _running({"replies": {"/stats": [500, FAILED]}}),
    "Another incarnation": _running(
        {"replies": {"/checkpoint_status": [400, ANOTHER], "/checkpoint/sync_status": [400, ANOTHER]}}
    ),
    "Nothing to push": _running(
        {"replies": {"/checkpoint/sync": [400, NO_CHECKPOINT], "/checkpoints/remote": [500, NO_SYNC_SET]}}
    ),
    "Driven clock": _running({"replies": {"/clock/advance": [200, NOW]}}),
    "Own clock": _running({"replies": {"/clock/advance": [400, NOT_DRIVEN]}}),
    # Deployed, while effects are held
    "Deaf": Recipe(steps=_running().steps, held=(deaf(),), holds=True),
    # Under way, while effects are held
    "Compiling": Recipe(compiled=None, holds=True),
    "Early start": Recipe(compiled=None, held=(_START,), holds=True),
    "Early start, storage in use": Recipe(steps=_USED, held=(_EDIT, _START), holds=True),
    "Stopping": Recipe(
        steps=_running().steps, held=(call("POST stop?force=true"), shows(status="Stopping")), holds=True
    ),
    "Stopping with error": Recipe(
        steps=_running({"stubborn": True}).steps,
        last=(says(stubborn=True, replies={"/status": [500, FAILED]}), shows(status="Stopping")),
        holds=True,
    ),
    "Clearing": Recipe(steps=_USED, held=(call("POST clear"), shows(storage_status="Clearing")), holds=True),
    "Clearing SqlError": Recipe(
        steps=(*_USED, call("PATCH ", _WRONG), shows(program_status="SqlError")),
        held=(call("POST clear"), shows(storage_status="Clearing")),
        holds=True,
    ),
}


class Stage:
    """Gets pipelines into states, many at a time."""

    def __init__(self, plane: Plane, rpc: Temporal) -> None:
        """Work on a plane; make records by hand through Temporal."""
        self._plane = plane
        self._rpc = rpc
        self._turns = asyncio.Semaphore(6)
        self._names: dict[tuple[str, str], str] = {}
        self.taken = _new_name()
        """The name of a pipeline that is in nobody's way."""

    async def pipeline(self, state: str, purpose: str) -> str:
        """The name of the pipeline that is in a state for a purpose. Records that are made by hand are made
        now, since nobody answers for their hosts and that shows after half a minute."""
        crafted = STATES[state].crafted
        if crafted is not None and (state, purpose) not in self._names:
            name = self._names[state, purpose] = _new_name()
            await self._rpc.start(_crafted(name, crafted))
        return self._names[state, purpose]

    async def prepare(self, wanted: set[tuple[str, str]]) -> None:
        """Get a pipeline for each (state, purpose) as far as that goes with effects at work."""
        await self._rpc.start(_crafted(self.taken, {}))
        await self._each(self._begin, wanted)

    async def hold(self, wanted: set[tuple[str, str]]) -> None:
        """Hold effects and go on with those that need that."""
        await self._each(partial(self._take, "last"), wanted)
        self._plane.freeze("effects")
        await self._each(self._hold, wanted)

    async def _each(
        self, do: Callable[[tuple[str, str]], Awaitable[None]], wanted: set[tuple[str, str]]
    ) -> None:
        async def in_turn(one: tuple[str, str]) -> None:
            async with self._turns:
                await do(one)

        async with asyncio.TaskGroup() as preparing:
            for one in sorted(wanted):
                preparing.create_task(in_turn(one))

    async def _begin(self, one: tuple[str, str]) -> None:
        state, _ = one
        recipe = STATES[state]
        if recipe.crafted is not None:
            return
        name = self._names[one] = _new_name()
        if recipe.compiled is not None:
            await self._create(one)
            await shows(program_status=recipe.compiled)(self._plane, name)
            await self._take("steps", one)

    async def _create(self, one: tuple[str, str]) -> None:
        body = {"name": self._names[one], "program_code": PROGRAM, **STATES[one[0]].body}
        answer = await self._plane.http.post("/v0/pipelines", json=body)
        assert answer.status_code == 201, answer.text

    async def _hold(self, one: tuple[str, str]) -> None:
        if STATES[one[0]].compiled is None:
            await self._create(one)
            await shows(program_status="CompilingSql")(self._plane, self._names[one])
        await self._take("held", one)

    async def _take(self, which: str, one: tuple[str, str]) -> None:
        steps: tuple[Step, ...] = getattr(STATES[one[0]], which)
        for step in steps:
            await step(self._plane, self._names[one])


def _new_name() -> str:
    return f"p-{uuid4().hex[:10]}"


def _crafted(name: str, fields: dict[str, Any]) -> State:
    """A record that is compiled, with some fields different."""
    checked = descriptor(NewPipeline(name=name, program_code=PROGRAM))
    made = record.created(
        tenant_id=DEFAULT_TENANT,
        pipeline_id=ids.uuid7(datetime.now(UTC), name),
        at=_AT,
        platform_version=PLATFORM_VERSION,
        descriptor=checked,
    )
    mirrored = made.but(program_status=ProgramStatus.SUCCESS)
    if runtime_status := fields.get("runtime_status"):
        seen = Observation(runtime_status=runtime_status, runtime_desired_status=fields["runtime_desired"])
        mirrored = mirrored.with_runtime(seen, _AT)
    return State.new(mirrored.but(**fields), _AT, Cause(actor="test"), "crafted")

"""The same calls against the pure rules: names and worlds in place of a server and its workflows."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from api import errors as answered
from api.descriptors import change, descriptor, platform_update, replacement
from api.parse import Caller
from api.shapes import NewPipeline, PatchPipeline
from sluicegate import errors
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.errors import Refusal
from sluicegate.lifecycle import edits, ids, record, views
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.reconcile import Action, Effect
from sluicegate.protocol import PLATFORM_VERSION
from tests.lifecycle.conftest import World

AT = datetime(2025, 1, 1, tzinfo=UTC)
AT_ONCE = ("approve", "dismiss_error")
"""Verbs that are answered with 200; all others with 202."""


class Call(NamedTuple):
    """One call: a verb with its parameters, or a method with its body, on a pipeline."""

    method: str
    name: str
    path: str = ""
    arguments: dict[str, Any] = {}


class Said(NamedTuple):
    """What is compared of an answer."""

    status: int
    body: Any


class Fragile(World):
    """A world whose processes end at once where that is wanted."""

    doomed = False

    def succeed(self, action: Action) -> None:
        """Let an effect come out, well or doomed."""
        if self.doomed and action.effect is Effect.PROVISION:
            self.fail(action, "refused")
        else:
            super().succeed(action)


class Model:
    """All pipelines by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self.worlds: dict[str, Fragile] = {}
        self._calls = 0

    def answer(self, call: Call) -> Said:
        """Carry out one call and let everything settle."""
        self._calls += 1
        try:
            said = self._carry_out(call)
        except Refusal as refusal:
            return Said(answered.STATUS[refusal.error_code], answered.body(refusal))
        for world in self.worlds.values():
            world.cooperate()
        return said

    def doom(self, doomed: bool) -> None:
        """Have processes end at once from now on, or no more."""
        for world in self.worlds.values():
            world.doomed = doomed

    def _carry_out(self, call: Call) -> Said:
        match call.method, call.path:
            case "POST", "":
                return self._create(NewPipeline(**call.arguments))
            case "PUT", _:
                return self._replace(call.name, NewPipeline(**call.arguments))
            case "PATCH", _:
                return self._edit(call.name, change(PatchPipeline(**call.arguments), self._caller()))
            case "DELETE", _:
                edits.check_delete(self._world(call.name).p)
                del self.worlds[call.name]
                return Said(200, None)
            case _, "update_runtime":
                return self._edit(call.name, platform_update(self._caller()))
        return self._say(call)

    def _caller(self) -> Caller:
        return Caller(DEFAULT_TENANT, "anonymous", f"call-{self._calls}", keyed=False)

    def _world(self, name: str) -> Fragile:
        if name not in self.worlds:
            raise errors.UnknownPipelineName(pipeline_name=name)
        return self.worlds[name]

    def _create(self, new: NewPipeline) -> Said:
        checked = descriptor(new)
        if new.name in self.worlds:
            raise errors.DuplicateName
        made = record.created(
            tenant_id=DEFAULT_TENANT,
            pipeline_id=ids.uuid7(AT, f"{new.name}/{self._calls}"),
            at=AT,
            platform_version=PLATFORM_VERSION,
            descriptor=checked,
        )
        self.worlds[new.name] = Fragile(made)
        return Said(201, views.info(made))

    def _replace(self, name: str, new: NewPipeline) -> Said:
        edit = replacement(new, self._caller())
        if name in self.worlds:
            return self._edit(name, edit)
        if name != new.name:
            raise errors.CannotRenameNonExistingPipeline
        return self._create(new)

    def _edit(self, name: str, edit: Edit) -> Said:
        world = self._world(name)
        edited = world.state.editing(edit, world.now)
        renamed = edited.pipeline.name
        if renamed != name:
            if renamed in self.worlds:
                raise errors.DuplicateName
            self.worlds[renamed] = self.worlds.pop(name)
        world.state = edited
        return Said(200, views.info(edited.pipeline))

    def _say(self, call: Call) -> Said:
        world = self._world(call.name)
        arguments = {
            key: value.capitalize() if (call.path, key) == ("start", "initial") else value
            for key, value in call.arguments.items()
        }
        request_id = self._caller().request_id
        world.send(call.path, request_id=request_id, **arguments)
        receipt = world.state.receipts.kept[request_id]
        if refusal := receipt.refusal():
            raise refusal
        return Said(200 if call.path in AT_ONCE else 202, receipt.info)

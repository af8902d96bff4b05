"""Writing: turns calls into starts, signals and updates, and their outcome into answers (design §2).

A lifecycle verb is a signal, durable before anything is answered; the answer is the workflow's own receipt,
or, where nobody has decided yet, the promise that the request is on record (I1). An edit is an update, whose
503 means that its outcome is not known.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakValueDictionary

import structlog

from api.descriptors import NO_FEATURES, change, descriptor, fingerprint, replacement
from api.errors import Located
from api.listing import Listing
from api.parse import Caller
from api.reading import Found, Reader, workflow_id
from api.rpc import AlreadyThere, NoSuchWorkflow, Temporal, Unanswered
from api.shapes import NewPipeline, PatchPipeline
from sluicegate import errors
from sluicegate.errors import OutcomeUnknown
from sluicegate.lifecycle import commands, ids, record, views
from sluicegate.lifecycle.commands import Arguments
from sluicegate.lifecycle.edits import Edit, Removal
from sluicegate.lifecycle.journal import Cause
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.values import Packed
from sluicegate.protocol import PLATFORM_VERSION

_log = structlog.get_logger()

EDIT_WITHIN = 4.5
"""Seconds; a caller never waits for longer than five."""
EDITS_AT_ONCE = 8
"""Updates in flight per pipeline and process; the server refuses the eleventh, after long retries."""
RECORDED = "The request is on record and will be carried out; its address tells how it was decided."
_ONLY_SELECTED = {"bootstrap_policy", "silent_bootstrap", "concurrent_bootstrap"}
"""What GET shows and POST, PUT and PATCH do not."""


class Accepted(NamedTuple):
    """A lifecycle request that was accepted, or is on record to be decided."""

    words: str
    location: str
    decided: bool


class Gateway:
    """Writes for every route."""

    def __init__(
        self, rpc: Temporal, reader: Reader, listing: Listing, features: frozenset[str] = NO_FEATURES
    ) -> None:
        """Write through the given calls; tell the listing what was written; allow some unstable features."""
        self._features = features
        self._rpc = rpc
        self._reader = reader
        self._listing = listing
        self.admissions: Counter[tuple[str, str, str]] = Counter()
        """Verbs that this process has had decided, by tenant, verb and outcome."""
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def command(self, caller: Caller, name: str, verb_name: str, verb: Arguments) -> Accepted:
        """Have a verb carried out. Raises UnknownPipelineName and whatever the workflow refuses it with."""
        try:
            accepted = await self._command(caller, name, verb_name, verb)
        except errors.Refusal as refused:
            self.admissions[caller.tenant_id, verb_name, refused.error_code] += 1
            raise
        self.admissions[caller.tenant_id, verb_name, "accepted" if accepted.decided else "recorded"] += 1
        return accepted

    async def _command(self, caller: Caller, name: str, verb_name: str, verb: Arguments) -> Accepted:
        workflow = workflow_id(caller.tenant_id, name)
        message = commands.message(verb_name, verb, request_id=caller.request_id, actor=caller.actor)
        try:
            # An id of its own: whether a request has been decided before, the receipts know for longer.
            await self._rpc.signal(workflow, verb_name, message, str(uuid4()))
        except NoSuchWorkflow:
            raise errors.UnknownPipelineName(pipeline_name=name) from None
        try:
            found = await self._reader.receipt(workflow, caller.request_id)
        except (Unanswered, NoSuchWorkflow) as silence:  # the second: renamed or deleted in this moment
            _log.warning("on record only", request_id=caller.request_id, reason=str(silence))
            found = Found(None, overloaded=False)
        self._listing.touch(caller.tenant_id, name)
        expected = commands.parse(verb_name, [message], caller.request_id).fingerprint
        words = _verdict(found, caller.request_id, expected)
        return Accepted(words, location(name, caller.request_id), decided=found.receipt is not None)

    async def create(self, caller: Caller, new: NewPipeline) -> dict[str, Any]:
        """Create a pipeline. Raises DuplicateName; repeated under its key it answers as the first time."""
        checked = descriptor(new, self._features)
        at = datetime.now(UTC)
        created = record.created(
            tenant_id=caller.tenant_id,
            pipeline_id=ids.uuid7(at, uuid4().hex),
            at=at,
            platform_version=PLATFORM_VERSION,
            descriptor=checked,
        )
        mark = fingerprint(checked)
        cause = Cause(actor=caller.actor, request_id=caller.request_id)
        try:
            await self._rpc.start(State.new(created, at, cause, mark))
        except AlreadyThere:
            return await self._created_before(caller, created.name, mark)
        finally:
            self._listing.touch(caller.tenant_id, created.name)
        return views.info(created)

    async def _created_before(self, caller: Caller, name: str, mark: str) -> dict[str, Any]:
        """Answer a creation that found the name taken, perhaps by itself. Raises DuplicateName."""
        receipt = await self._earlier(caller, name)
        if receipt is None:
            raise errors.DuplicateName
        _check_same(receipt, mark)
        whole = await self._reader.selected(caller.tenant_id, name, "all")
        return {key: value for key, value in whole.items() if key not in _ONLY_SELECTED}

    async def replace(self, caller: Caller, name: str, new: NewPipeline) -> tuple[bool, dict[str, Any]]:
        """Replace a pipeline, or create it; the flag says whether it was created."""
        edit = replacement(new, caller, self._features)
        try:
            return False, await self.edit(caller, name, edit)
        except errors.UnknownPipelineName:
            if name != new.name:
                raise errors.CannotRenameNonExistingPipeline from None
        except errors.IdempotencyKeyReused:
            if name != new.name:
                raise
            return True, await self._created_before(
                caller, name, fingerprint(descriptor(new, self._features))
            )
        try:
            return True, await self.create(caller, new)
        except errors.DuplicateName:
            return False, await self.edit(caller, name, edit)  # somebody else was faster

    async def patch(self, caller: Caller, name: str, patch: PatchPipeline) -> dict[str, Any]:
        """Change what is given. Raises UnknownPipelineName and whatever the workflow refuses it with."""
        return await self.edit(caller, name, change(patch, caller, self._features))

    async def edit(self, caller: Caller, name: str, edit: Edit) -> dict[str, Any]:
        """Have an edit carried out and return the pipeline. Raises as `patch`."""
        try:
            answer = await self._update(caller, name, edit)
        finally:
            self._listing.touch(caller.tenant_id, name, edit.name or name)
        info: dict[str, Any] = Packed.model_validate(answer).json_value
        return info

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a pipeline. Raises UnknownPipelineName, DeleteRestricted…."""
        try:
            await self._update(caller, name, Removal(request_id=caller.request_id, actor=caller.actor))
        finally:
            self._listing.touch(caller.tenant_id, name)

    async def _update(self, caller: Caller, name: str, argument: Edit | Removal) -> Any:
        """Run an update within the time that a caller is made to wait, turns included."""
        workflow = workflow_id(caller.tenant_id, name)
        turns = self._turns.setdefault(workflow, asyncio.Semaphore(EDITS_AT_ONCE))
        clock = asyncio.get_running_loop().time
        deadline = clock() + EDIT_WITHIN
        update = "delete" if isinstance(argument, Removal) else "edit"
        # The server answers a repeated update id with the first outcome, whatever the arguments: the
        # fingerprint keeps those of other arguments apart.
        update_id = f"{caller.request_id}/{argument.fingerprint}"
        try:
            async with asyncio.timeout_at(deadline), turns:
                if caller.keyed and (receipt := await self._earlier(caller, name)):
                    _check_same(receipt, argument.fingerprint)
                left = max(deadline - clock(), 0.1)
                return await self._rpc.update(workflow, update, argument, update_id=update_id, within=left)
        except NoSuchWorkflow:
            raise errors.UnknownPipelineName(pipeline_name=name) from None
        except (OutcomeUnknown, TimeoutError):
            raise Located(OutcomeUnknown(), location(name, caller.request_id)) from None

    async def _earlier(self, caller: Caller, name: str) -> Receipt | None:
        """The receipt of an earlier request of this id. Only a caller that named its request can have
        repeated it knowingly; for others the newest receipts suffice (a lost answer, sent again by us)."""
        workflow = workflow_id(caller.tenant_id, name)
        try:
            shown = await self._reader.shown(workflow)
            receipt = shown.receipt(caller.request_id)
            if receipt is None and caller.keyed:
                receipt = (await self._reader.receipt(workflow, caller.request_id)).receipt
        except (NoSuchWorkflow, Unanswered):
            return None
        return receipt


def location(name: str, request_id: str) -> str:
    """The address of a request."""
    return f"/v0/pipelines/{name}/requests/{request_id}"


def _check_same(receipt: Receipt, fingerprint: str) -> None:
    if receipt.fp != fingerprint:
        raise errors.IdempotencyKeyReused(request_id=receipt.id)


def _verdict(found: Found, request_id: str, fingerprint: str) -> str:
    """The words of the answer. Raises the refusal that the workflow has given."""
    receipt = found.receipt
    if receipt is None:
        if found.overloaded:
            raise errors.Overloaded
        return RECORDED
    _check_same(receipt, fingerprint)
    if refusal := receipt.refusal():
        raise refusal
    return str(receipt.info)

"""Writing: turns calls into starts, signals and updates, and their outcome into answers (design §2).

A lifecycle verb is a signal, durable before anything is answered; the answer is the workflow's own receipt,
or, where nobody has decided yet, the promise that the request is on record (I1). An edit is an update, whose
503 means that its outcome is not known.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakValueDictionary

import structlog

from api.descriptors import NO_FEATURES, change, descriptor, fingerprint, replacement
from api.errors import Located
from api.listing import Listing
from api.parse import Caller
from api.projection import Projection
from api.reading import Found, Reader, workflow_id
from api.rpc import AlreadyThere, NoSuchWorkflow, Temporal, Unanswered, Updated
from api.shapes import NewPipeline, PatchPipeline
from sluicegate import errors, faults
from sluicegate.errors import OutcomeUnknown
from sluicegate.lifecycle import commands, ids, record, refusals, views
from sluicegate.lifecycle.commands import Arguments
from sluicegate.lifecycle.edits import Edit, Removal, check_size
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
ACCEPTED = "accepted"
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
        """Verbs and edits that this process has had decided, by tenant, verb and outcome."""
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def command(self, caller: Caller, name: str, verb_name: str, verb: Arguments) -> Accepted:
        """Have a verb carried out. Raises UnknownPipelineName and whatever the workflow refuses it with."""
        try:
            accepted = await self._command(caller, name, verb_name, verb)
        except errors.Refusal as refused:
            self._count(caller, verb_name, refused.error_code)
            if isinstance(refused, errors.TemporalUnavailable):  # it may be on record all the same
                raise Located(refused, location(name, caller.request_id)) from refused
            raise
        self._count(caller, verb_name, ACCEPTED if accepted.decided else "recorded")
        return accepted

    def _count(self, caller: Caller, verb: str, outcome: str) -> None:
        self.admissions[caller.tenant_id, verb, outcome] += 1

    @contextmanager
    def _counted(self, caller: Caller, verb: str) -> Iterator[None]:
        """Count what is done in the block by how it ends."""
        try:
            yield
        except errors.Refusal as refused:
            self._count(caller, verb, refused.error_code)
            raise
        self._count(caller, verb, ACCEPTED)

    async def _command(self, caller: Caller, name: str, verb_name: str, verb: Arguments) -> Accepted:
        workflow = workflow_id(caller.tenant_id, name)
        message = commands.message(verb_name, verb, request_id=caller.request_id, actor=caller.actor)
        try:
            # An id of its own: whether a request has been decided before, the receipts know for longer.
            await self._rpc.signal(workflow, verb_name, message, str(uuid4()))
        except NoSuchWorkflow:
            raise errors.UnknownPipelineName(pipeline_name=name) from None
        faults.reach(faults.SIGNAL_SENT)
        try:
            found = await self._reader.receipt(caller.tenant_id, name, caller.request_id)
        except NoSuchWorkflow:  # deleted in this moment, before it was decided
            raise errors.UnknownPipelineName(pipeline_name=name) from None
        except Unanswered as silence:
            _log.warning("on record only", request_id=caller.request_id, reason=str(silence))
            found = Found(name, None)
        self._listing.touch(caller.tenant_id, name)
        expected = commands.parse(verb_name, [message], caller.request_id).fingerprint
        words = _verdict(found, caller.request_id, expected)
        return Accepted(words, location(found.name, caller.request_id), decided=found.receipt is not None)

    async def create(self, caller: Caller, new: NewPipeline) -> dict[str, Any]:
        """Create a pipeline. Raises DuplicateName, PipelineTooLarge, and NotAnsweredYet where nobody tells
        what the last one of this name was told; repeated under its key it answers as the first time."""
        checked = descriptor(new, self._features)
        at = datetime.now(UTC)
        created = record.created(
            tenant_id=caller.tenant_id,
            pipeline_id=ids.uuid7(at, uuid4().hex),
            at=at,
            platform_version=PLATFORM_VERSION,
            descriptor=checked,
        )
        check_size(created)
        mark = fingerprint(checked)
        cause = Cause(actor=caller.actor, request_id=caller.request_id)
        before = await self._reader.left_behind(caller.tenant_id, created.name)
        if earlier := next((receipt for receipt in before if receipt.id == caller.request_id), None):
            _check_same(earlier, mark)
            raise errors.UnknownPipelineName(pipeline_name=created.name)  # created, and deleted since
        state = State.new(created, at, cause, mark, before)
        begun: Projection | None = None
        with self._counted(caller, "create"):
            try:
                await self._rpc.start(state)
                begun = Projection.unpacked(state.projection())
            except AlreadyThere:
                return await self._created_before(caller, created.name, mark)
            finally:
                self._listing.touch(caller.tenant_id, created.name, created=begun)
        return views.info(created)

    async def _created_before(self, caller: Caller, name: str, mark: str) -> dict[str, Any]:
        """Answer a creation that found the name taken, perhaps by itself. Raises DuplicateName, and
        NotAnsweredYet where nobody tells."""
        try:
            receipt = await self._sought(caller, name)
        except Unanswered:
            raise errors.NotAnsweredYet from None
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
        except refusals.IdempotencyKeyReused:
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
        if edit.name not in (None, name):
            before = await self._reader.left_behind(caller.tenant_id, edit.name)
            edit = edit.but(receipts_before=before)
        try:
            with self._counted(caller, "edit"):
                answer = (await self._update(caller, name, edit)).answer
        finally:
            self._listing.touch(caller.tenant_id, name, edit.name or name)
        info: dict[str, Any] = Packed.model_validate(answer).json_value
        return info

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a pipeline. Raises UnknownPipelineName, DeleteRestricted…."""
        removal = Removal(request_id=caller.request_id, actor=caller.actor)
        try:
            with self._counted(caller, "delete"):
                gone = await self._update(caller, name, removal)
            # Not where it was removed before: then another pipeline has the name, or nobody.
            if gone.answer is not False and gone.run_id:
                await self._rpc.close(workflow_id(caller.tenant_id, name), gone.run_id)
        finally:
            self._listing.touch(caller.tenant_id, name)

    async def _update(self, caller: Caller, name: str, argument: Edit | Removal) -> Updated:
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
                faults.reach(faults.EDIT_ASKED)
                done = await self._rpc.update(workflow, update, argument, update_id=update_id, within=left)
                faults.reach(faults.EDIT_DONE)
                return done
        except NoSuchWorkflow:
            if caller.keyed and update == "delete" and await self._removed(caller, name):
                return Updated(answer=False, run_id="")
            raise errors.UnknownPipelineName(pipeline_name=name) from None
        except (OutcomeUnknown, TimeoutError):
            raise Located(OutcomeUnknown(), location(name, caller.request_id)) from None
        except errors.TemporalUnavailable as away:
            raise Located(away, location(name, caller.request_id)) from away

    async def _removed(self, caller: Caller, name: str) -> bool:
        """Whether this very delete was the last that a pipeline was told."""
        try:
            receipt = (await self._reader.receipt(caller.tenant_id, name, caller.request_id)).receipt
        except (NoSuchWorkflow, Unanswered):
            return False
        return receipt is not None and receipt.fp == "delete"

    async def _earlier(self, caller: Caller, name: str) -> Receipt | None:
        """The receipt of an earlier request of this id. Only a caller that named its request can have
        repeated it knowingly; for others the newest receipts suffice (a lost answer, sent again by us)."""
        with suppress(Unanswered):
            return await self._sought(caller, name)
        return None

    async def _sought(self, caller: Caller, name: str) -> Receipt | None:
        """As `_earlier`, or Unanswered where nobody tells whether there is one."""
        try:
            shown = await self._reader.shown(workflow_id(caller.tenant_id, name))
            receipt = shown.receipt(caller.request_id)
            if receipt is None and caller.keyed:
                receipt = (await self._reader.receipt(caller.tenant_id, name, caller.request_id)).receipt
        except NoSuchWorkflow:
            return None
        return receipt


def location(name: str, request_id: str) -> str:
    """The address of a request."""
    return f"/v0/pipelines/{name}/requests/{request_id}"


def _check_same(receipt: Receipt, fingerprint: str) -> None:
    if receipt.fp != fingerprint:
        raise refusals.IdempotencyKeyReused(request_id=receipt.id)


def _verdict(found: Found, request_id: str, fingerprint: str) -> str:
    """The words of the answer. Raises the refusal that the workflow has given."""
    receipt = found.receipt
    if receipt is None:
        if found.overloaded:
            raise refusals.Overloaded
        return RECORDED
    _check_same(receipt, fingerprint)
    if refusal := receipt.refusal():
        raise refusal
    return str(receipt.info)

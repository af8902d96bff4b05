"""The state of one pipeline's workflow: record, journal and receipts, changed as one.

`State` is what the workflow holds; `encoded` and `decoded` are how it travels through continue-as-new. The
encoded form has a schema number, an upcaster for every older one, and keeps keys that it does not know.
"""

import json
import zlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Self

from sluicegate.errors import Refusal
from sluicegate.lifecycle import (
    admission,
    edits,
    explanation,
    journal,
    limits,
    measures,
    reconcile,
    restarts,
    schedules,
    stuck,
    transitions,
    views,
)
from sluicegate.lifecycle.commands import Command, Unreadable
from sluicegate.lifecycle.effects import Provisioned
from sluicegate.lifecycle.journal import SYSTEM, Cause, Journal
from sluicegate.lifecycle.receipts import Receipt, Receipts
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.refusals import (
    AnotherPipeline,
    IdempotencyKeyReused,
    MessageNotUnderstood,
    Overloaded,
)
from sluicegate.lifecycle.values import Packed, Value

SCHEMA = 1
MAX_ENCODED = 3 << 19
"""1.5 MiB; the server ends at 2 MiB."""
MEMO_RECEIPTS = 16
MEMO_BYTES = 4_096
TURNED_AWAY = 256
"""Requests that are remembered; whoever was turned away asks within seconds, or not at all."""


class Ask(Value):
    """The argument of the `status` query: whose receipts are wanted."""

    receipts: tuple[str, ...] = ()


class State(Value):
    """Everything a pipeline's workflow remembers."""

    pipeline: Pipeline
    journal: Journal = Journal()
    receipts: Receipts = Receipts()
    revision: int = 1
    """Grows with every change of the record; what caches of the descriptor go by."""
    because: Cause | None = None
    """Whose request is being carried out; what happens until the pipeline rests is put down to it."""
    turned_away: tuple[str, ...] = ()
    """The newest requests that were refused for want of room for their receipts."""

    @classmethod
    def new(
        cls, p: Pipeline, at: datetime, cause: Cause, fingerprint: str, before: Iterable[Receipt] = ()
    ) -> Self:
        """Begin with a created pipeline, its first event and the receipt of its creation, which comes after
        those of whoever had the name before."""
        receipt = Receipt(id=cause.request_id or p.id, at=at, fp=fingerprint)
        return cls(
            pipeline=p,
            journal=Journal().noting(p, at, cause),
            because=cause,
            receipts=Receipts().adding(receipt).after(before),
        )

    @classmethod
    def adopted(cls, p: Pipeline, found: Provisioned, at: datetime) -> Self:
        """Begin with a deployment that lives and whose state is lost, under a revision that no cache has."""
        taken = transitions.adopted(p, found, at)
        return cls(pipeline=taken, journal=Journal().noting(taken, at, SYSTEM), revision=limits.LEAP)

    # Changing

    def obeying(self, message: Command | Unreadable, at: datetime) -> Self:
        """Decide a message once: the same id again has no second effect. Never raises."""
        if message.request_id in self.receipts.kept:
            return self
        if self.receipts.full(at):
            return self.but(turned_away=(*self.turned_away, message.request_id)[-TURNED_AWAY:])
        receipt = Receipt(id=message.request_id, at=at, fp=message.fingerprint)
        try:
            admitted = _admitted(self.pipeline, message, at)
        except Refusal as refused:
            receipt = receipt.but(code=refused.error_code, info=refused.details)
            return self._receiving(receipt)
        cause = Cause(actor=message.actor, request_id=message.request_id)
        # Only to be told is no change: what is under way stays put down to whoever began it.
        idle = admitted.pipeline.but(told_at=self.pipeline.told_at) == self.pipeline
        carrying_out = self if idle else self.but(because=cause)
        changed = carrying_out.noting([admitted.pipeline], at, cause, event=admitted.event)
        return changed._receiving(receipt.but(info=admitted.answer))

    def refusing(self, message: Command | Unreadable, refusal: Refusal, at: datetime) -> Self:
        """Refuse a message once, whatever the rules would say."""
        if message.request_id in self.receipts.kept:
            return self
        receipt = Receipt(
            id=message.request_id,
            at=at,
            fp=message.fingerprint,
            code=refusal.error_code,
            info=refusal.details,
        )
        return self._receiving(receipt)

    def removing(self, removal: edits.Removal, at: datetime) -> Self:
        """Note a delete that may be done now; the same state where this very request has removed a pipeline
        of this name before. Raises Refusal."""
        if self._seen(removal):
            return self
        edits.check_delete(self.pipeline)
        return self._receiving(Receipt(id=removal.request_id, at=at, fp=removal.fingerprint))

    def editing(self, edit: edits.Edit, at: datetime) -> Self:
        """Apply an edit once. Raises Refusal and then changes nothing."""
        if self._seen(edit):
            return self
        if self.receipts.full(at):
            raise Overloaded
        edited = edits.apply(self.pipeline, edit, at)
        cause = Cause(actor=edit.actor, request_id=edit.request_id)
        carrying_out = self.but(because=cause) if edited.event else self
        changed = carrying_out.noting([edited.pipeline], at, cause, event=edited.event)
        named = changed.but(receipts=changed.receipts.after(edit.receipts_before))
        return named._receiving(Receipt(id=edit.request_id, at=at, fp=edit.fingerprint))

    def _seen(self, request: edits.Edit | edits.Removal) -> bool:
        """Whether a request has been carried out before. Raises IdempotencyKeyReused for another."""
        seen = self.receipts.kept.get(request.request_id)
        if seen is not None and seen.fp != request.fingerprint:
            raise IdempotencyKeyReused(request_id=request.request_id)
        return seen is not None

    def noting(
        self, records: Iterable[Pipeline], at: datetime, cause: Cause | None = None, *, event: bool = False
    ) -> Self:
        """Take the records of a transition, each an event where it shows (or where `event` says so)."""
        state, cause = self, cause or self.because or SYSTEM
        for record in (measures.measured(record, at) for record in records):
            log = state.journal
            if event or journal.is_transition(state.pipeline, record):
                log = log.noting(record, at, cause)
            if record != state.pipeline or log is not state.journal:
                state = state.but(pipeline=record, journal=log, revision=state.revision + 1)
        carried_out = state.because is not None and explanation.at_rest(state.pipeline)
        return state.but(because=None) if carried_out else state

    def advanced(self, at: datetime) -> Self:
        """Make all decisions that need no effect."""
        state = self
        while records := reconcile.advance(state.pipeline, at):
            state = state.noting(records, at)
        return state

    def restored(self) -> Self:
        """Go on from a backup, under a revision that no cache has."""
        pipeline = transitions.restored(self.pipeline)
        return self.but(pipeline=pipeline, revision=self.revision + limits.LEAP)

    def _receiving(self, receipt: Receipt) -> Self:
        return self.but(receipts=self.receipts.adding(receipt))

    # Showing

    def projection(self) -> dict[str, Any]:
        """The memo: what a reader needs without any worker; an overflow sends the reader to a query."""
        receipts = [r.model_dump(mode="json") for r in self.receipts.newest(MEMO_RECEIPTS)]
        shown = self._shown()
        about: dict[str, Any] = {"id": self.pipeline.id, "revision": self.revision}
        if troubles := stuck.troubles(self.pipeline):  # unpacked, so that who looks at all unpacks none
            about["stuck"] = [trouble.model_dump(mode="json") for trouble in troubles]
        for some in (receipts, []):
            packed = Packed.of_json({**shown, "receipts": some})
            if len(packed) <= MEMO_BYTES:
                return {**about, "packed": packed.zlib64}
        return {**about, "overflow": True}

    def answers(self, ask: Ask) -> dict[str, Any]:
        """The `status` query: the projection uncompressed, with the receipts that were asked for."""
        kept = self.receipts.kept
        receipts = [kept[i].model_dump(mode="json") for i in ask.receipts if i in kept]
        answer = {**self._shown(), "receipts": receipts}
        turned_away = [i for i in ask.receipts if i in self.turned_away]
        return {**answer, "turned_away": turned_away} if turned_away else answer

    def heritage(self, at: datetime) -> Packed:
        """The `receipts` query: those that whoever gets the name next must know."""
        return Packed.of_json([receipt.model_dump(mode="json") for receipt in self.receipts.young(at)])

    def descriptor(self) -> dict[str, Any]:
        """The `descriptor` query: the whole pipeline, packed since a server bounds answers, and the revision
        that a cache keeps it under."""
        return {"revision": self.revision, "all": Packed.of_json(views.selected(self.pipeline, "all")).zlib64}

    def dataflow(self) -> Packed:
        """The `dataflow` query: the graph of the program."""
        return Packed.of_json(views.dataflow(self.pipeline))

    def kept(self) -> dict[str, Any]:
        """The `kept` query: restart policy and schedules."""
        p = self.pipeline
        return {"id": p.id, "restart_policy": restarts.state(p), **schedules.state(p)}

    def _shown(self) -> dict[str, Any]:
        p = self.pipeline
        return {
            "revision": self.revision,
            "status": views.selected(p, "status"),
            "location": p.location,
            "logs": p.logs_host.model_dump() if p.logs_host else None,
            "restarts": p.restarts.total,
            "restarting": p.restarts.next is not None,
            "to_be_stopped": p.to_be_stopped,
            "at_rest": reconcile.at_rest(self.pipeline),
            "measures": p.measures.model_dump(mode="json"),
        }

    # Travelling

    def encoded(self) -> dict[str, Any]:
        """Encode for the next run: plain JSON, with the bulky parts packed. Where it would be larger than
        a server takes, the older half of the journal goes."""
        rest = self.model_dump(mode="json", exclude={"journal", "receipts"})
        encoded = {
            **rest,
            "schema": SCHEMA,
            "journal": Packed.of_json(self.journal.model_dump(mode="json")).zlib64,
            "receipts": Packed.of_json(self.receipts.model_dump(mode="json")).zlib64,
        }
        events = self.journal.events
        if len(json.dumps(encoded)) <= MAX_ENCODED or not events:
            return encoded
        shorter = self.journal.but(events=events[len(events) // 2 + 1 :])
        return self.but(journal=shorter).encoded()

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """Decode what any released version has encoded (I10)."""
        for upcast in _UPCASTERS[raw.get("schema", SCHEMA) - 1 :]:
            raw = upcast(raw)
        unpacked = {key: Packed(zlib64=raw[key]).json_value for key in ("journal", "receipts")}
        known = {key: value for key, value in raw.items() if key != "schema"}
        return cls.model_validate(known | unpacked)


def inherited(given: list[Any]) -> State | None:
    """Read the state that an old name hands over; None for anything else that arrives. Never raises."""
    try:
        return State.decoded(given[0])
    except (LookupError, TypeError, ValueError, AttributeError, zlib.error):
        return None


_UPCASTERS: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
"""From schema n to n + 1, in order."""


def _admitted(p: Pipeline, message: Command | Unreadable, at: datetime) -> admission.Admitted:
    if isinstance(message, Unreadable):
        raise MessageNotUnderstood(reason=message.reason)
    if message.pipeline_id not in (None, p.id):
        raise AnotherPipeline(pipeline_id=message.pipeline_id)
    return admission.admit(p, message.verb, at)

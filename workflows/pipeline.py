"""The workflow of one pipeline: holds its state, takes its messages, carries out what the rules decide.

    signal or update ──> state.obeying / editing        (pure: admission, receipt, event)
            │
            └──> main loop:  advance ──> project (memo, search attributes, page) ──> diff of effects ──> wait
                    ^                                                                    │
                    └───────────── outcome of an effect, fed back through transitions <──┘

Messages change the state at once; the main loop alone starts and cancels effects, so a stop pre-empts
whatever is in flight. Nothing here decides what a pipeline may do: that is `sluicegate.lifecycle`.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.common import TypedSearchAttributes
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from activities import calls
from sluicegate import errors, temporal
from sluicegate.lifecycle import commands, effects, limits, reconcile, state, transitions, views
from sluicegate.lifecycle.edits import Edit, Removal
from sluicegate.lifecycle.effects import Observed, Readopt, Remains
from sluicegate.lifecycle.journal import Since
from sluicegate.lifecycle.reconcile import Action
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.state import Ask, State
from sluicegate.lifecycle.values import Packed

RENEW_AT_REST = 300
"""History events after which a settled pipeline begins a new history: replay costs 0.3 ms an event."""
RENEW_IN_A_STORM = 1_000
"""After which even one that never settles does; its effects are fenced and issued again. A message that comes
into that very task makes the server throw it away and the worker replay all of it, so this is not high."""
QUIET = timedelta(milliseconds=200)
"""Without a message for so long, none is likely to come into the last task of a history."""
PAGE_EVENTS = 10
PROMOTION = "a standby takes over by itself"
"""Named in histories: a release that does not know these signals has passed over them."""
ANSWERS_FIRST = "a delete is answered before the workflow closes"


class Renewal(Enum):
    """Whether a new history is due."""

    NOT_YET = 1
    WHEN_QUIET = 2
    NOW = 3


@workflow.defn(name="Pipeline")
class PipelineWorkflow:
    """One pipeline, for as long as it exists."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        """Take up the state, before any message is handled."""
        self._state = State.decoded(encoded)
        self._shown: State | None = None
        self._memo: dict[str, Any] | None = None
        self._attributes: dict[str, str] = {}
        self._in_flight: dict[Action, asyncio.Task[None]] = {}
        self._held: list[tuple[str, list[Any]]] = []
        self._renaming = False
        self._moved_to: str | None = None
        self._awake = False
        self._closing = self._stirred = False

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        """Reconcile until the pipeline is deleted or renamed."""
        if self._state.pipeline.fenced and not await self._handed_over():
            return
        while not self._closing:
            self._awake = False
            self._state = self._state.advanced(workflow.now())
            self._project()
            self._issue()
            due = self._renewal_due()
            if due is Renewal.NOW or (await self._silence(due) and due is Renewal.WHEN_QUIET):
                renewed = transitions.renewed(self._state.pipeline)
                self._begin_anew(self._state.but(pipeline=renewed))
        for task in self._in_flight.values():
            task.cancel()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._stirred and workflow.patched(ANSWERS_FIRST):
            # A message has undone the task that was to be the last, as the next may: the answer goes first.
            await workflow.sleep(limits.CLOSES_AFTER)

    def _begin_anew(self, state: State) -> NoReturn:
        """Go on in a new history, which shows from its first moment what this one showed last."""
        workflow.continue_as_new(
            state.encoded(),
            memo={temporal.MEMO: state.projection()},
            search_attributes=TypedSearchAttributes(temporal.search_attributes(state.pipeline)),
        )

    async def _handed_over(self) -> bool:
        """Wait for the old name, which may be gone; a hand-over that finds nobody left changes nothing."""
        try:
            await workflow.wait_condition(
                lambda: not self._state.pipeline.fenced, timeout=limits.HANDED_OVER_WITHIN
            )
        except TimeoutError:
            return False
        return True

    async def _silence(self, due: Renewal) -> bool:
        """Wait for a message or an outcome; tell whether the time that was waited passed without any."""
        now = workflow.now()
        wake_at = reconcile.wake_at(self._state.pipeline, now)
        timeout = wake_at - now if wake_at else None
        if due is Renewal.WHEN_QUIET:
            timeout = min(QUIET, timeout or QUIET)
        try:
            await workflow.wait_condition(lambda: self._awake, timeout=timeout)
        except TimeoutError:
            return workflow.all_handlers_finished()
        except asyncio.CancelledError:  # else the process would live on with nobody to keep it
            workflow.logger.warning("nothing is cancelled: a pipeline ends when it is deleted")
        return False

    def _renewal_due(self) -> Renewal:
        if self._closing or not workflow.all_handlers_finished() or self._state.pipeline.fenced:
            return Renewal.NOT_YET
        info = workflow.info()
        events = info.get_current_history_length()
        if events >= RENEW_IN_A_STORM:
            return Renewal.NOW
        if events < RENEW_AT_REST and not info.is_continue_as_new_suggested():
            return Renewal.NOT_YET
        settled = reconcile.settled(self._state.pipeline, workflow.now())
        return Renewal.WHEN_QUIET if settled else Renewal.NOT_YET

    # Showing

    def _project(self) -> None:
        """Show the state in memo, search attributes and page, in the workflow task that changed it."""
        if self._state is self._shown:
            return
        self._shown = self._state
        p = self._state.pipeline
        memo = self._state.projection()
        if memo != self._memo:
            workflow.upsert_memo({temporal.MEMO: memo})
            self._memo = memo
        attributes = temporal.search_attributes(p)
        if news := [pair for pair in attributes if self._attributes.get(pair.key.name) != pair.value]:
            workflow.upsert_search_attributes([pair.key.value_set(pair.value) for pair in news])
            self._attributes |= {pair.key.name: pair.value for pair in news}
        workflow.set_current_details(views.page(p, self._state.journal.events[-PAGE_EVENTS:]))

    # Effects

    def _issue(self) -> None:
        """Cancel the effects that are no longer wanted and start those that are."""
        wanted = reconcile.actions(self._state.pipeline, workflow.now())
        for action in [a for a in self._in_flight if not reconcile.may_go_on(a, wanted)]:
            self._in_flight.pop(action).cancel()
        for action in sorted(wanted - self._in_flight.keys(), key=str):
            if not reconcile.must_wait(action, self._in_flight):
                self._in_flight[action] = asyncio.create_task(self._carry_out(action))

    async def _carry_out(self, action: Action) -> None:
        """Perform one effect and feed its outcome back, unless that was called off and is no end for good."""
        outcome: calls.Outcome
        try:
            outcome = await calls.perform(action, self._state.pipeline)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: it would never be tried again
            outcome = partial(calls.failed, action=action, error=error)
        if self._in_flight.get(action) is asyncio.current_task():
            del self._in_flight[action]
        elif not (isinstance(outcome, calls.End) and workflow.patched(calls.ENDS_COUNT)):
            return
        before = self._state.pipeline
        self._state = self._state.noting(outcome(before), workflow.now())
        self._awake = True
        after = self._state.pipeline
        if after.deployment_status != before.deployment_status:
            words = {"pipeline_id": after.id, "generation": after.generation, "effect": action.effect}
            workflow.logger.info("%s -> %s", before.deployment_status, after.deployment_status, extra=words)

    # Signals

    @workflow.signal(description="Deploy the pipeline; the argument may be left out.")
    def start(self, given: Any) -> None:
        """See `commands.Start`."""
        self._obey("start", given)

    @workflow.signal(description="Stop it, with a checkpoint unless arguments.force is true.")
    def stop(self, given: Any) -> None:
        """See `commands.Stop`."""
        self._obey("stop", given)

    @workflow.signal(description="Stop taking input.")
    def pause(self, given: Any) -> None:
        """See `commands.Pause`."""
        self._obey("pause", given)

    @workflow.signal(description="Take input again.")
    def resume(self, given: Any) -> None:
        """See `commands.Resume`."""
        self._obey("resume", given)

    @workflow.signal(description="Leave standby; arguments.initial is running or paused.")
    def activate(self, given: Any) -> None:
        """See `commands.Activate`."""
        self._obey("activate", given)

    @workflow.signal(description="Approve the bootstrap that the process waits with.")
    def approve(self, given: Any) -> None:
        """See `commands.Approve`."""
        self._obey("approve", given)

    @workflow.signal(description="Empty the storage of a stopped pipeline.")
    def clear(self, given: Any) -> None:
        """See `commands.Clear`."""
        self._obey("clear", given)

    @workflow.signal(description="Forget the last deployment error.")
    def dismiss_error(self, given: Any) -> None:
        """See `commands.DismissError`."""
        self._obey("dismiss_error", given)

    @workflow.signal(description="A schedule is due; sent by its workflow.")
    def scheduled(self, given: Any) -> None:
        """See `commands.Scheduled`."""
        self._obey("scheduled", given)

    @workflow.signal(description="A standby waits to take over; sent by its workflow.")
    def guard(self, given: Any) -> None:
        """See `promotion`."""
        if workflow.patched(PROMOTION):
            self._obey("guard", given)

    @workflow.signal(description="The primary is lost; sent by its workflow.")
    def promote(self, given: Any) -> None:
        """See `promotion`."""
        if workflow.patched(PROMOTION):
            self._obey("promote", given)

    def _obey(self, verb_name: str, given: list[Any]) -> None:
        """Decide a verb and write its receipt. Total: nothing that arrives can raise in here."""
        if self._state.pipeline.fenced or self._renaming:
            self._held.append((verb_name, given))
            return
        message = commands.parse(verb_name, given, fallback_id=str(workflow.uuid4()))
        if self._closing:
            self._stirred = True
            gone = errors.UnknownPipelineName(pipeline_name=self._state.pipeline.name)
            self._state = self._state.refusing(message, gone, workflow.now())
            return
        self._state = self._state.obeying(message, workflow.now())
        self._awake = True

    @workflow.signal(description="A watch has seen a change; sent by workers.")
    def observed(self, given: Any) -> None:
        """See `effects.Observed`."""
        news = effects.read(Observed, given)
        if news is not None:
            now = workflow.now()
            self._state = self._state.noting(transitions.reported(self._state.pipeline, news, now), now)
            self._awake = True

    @workflow.signal(description="A host has come back and found this pipeline; sent by workers.")
    def readopt(self, given: Any) -> None:
        """See `effects.Readopt`."""
        news = effects.read(Readopt, given)
        if news is not None:
            adopted = transitions.readopted(self._state.pipeline, news)
            self._state = self._state.noting([adopted], workflow.now())
            self._awake = True

    @workflow.signal(description="A rename is complete; sent by the workflow of the old name.")
    def hand_over(self, given: Any) -> None:
        """Take the final state of the old name and decide what arrived meanwhile."""
        heritage = state.inherited(given)
        if heritage is None or not self._state.pipeline.fenced:
            return
        self._state = heritage
        self._decide_held()
        self._awake = True

    # Queries

    @workflow.query(description="Current status, and the receipts of the given request ids.")
    def status(self, ask: Ask | None = None) -> dict[str, Any]:
        """See `State.answers`; a pipeline that was renamed says under which name to ask."""
        return {**self._state.answers(ask or Ask()), "moved_to": self._moved_to}

    @workflow.query(description="The receipts that whoever gets the name next must know, packed.")
    def receipts(self) -> Packed:
        """See `State.heritage`."""
        return self._state.heritage(workflow.now())

    @workflow.query(description="The whole pipeline.")
    def descriptor(self) -> dict[str, Any]:
        """See `State.descriptor`."""
        return self._state.descriptor()

    @workflow.query(description="The graph of the program, packed.")
    def dataflow(self) -> Packed:
        """See `State.dataflow`."""
        return self._state.dataflow()

    @workflow.query(description="Restart policy and schedules.")
    def kept(self) -> dict[str, Any]:
        """See `State.kept`."""
        return self._state.kept()

    @workflow.query(description="The transitions that are kept, newest first, packed.")
    def events(self, since: Since | None = None) -> Packed:
        """See `Journal.answers`."""
        return self._state.journal.answers(since or Since())

    @workflow.query(name="state", description="All that is remembered, packed; for backups.")
    def whole(self) -> Packed:
        """See `State.encoded`."""
        return Packed.of_json(self._state.encoded())

    # Updates

    @workflow.update(description="Change the pipeline; answers with all of it.")
    async def edit(self, edit: Edit) -> Packed:
        """Apply an edit once and answer with `views.info`. Refuses as `edits.apply` does."""
        with temporal.refusing():
            edited = self._state.editing(edit, workflow.now())
            if edited.pipeline.name != self._state.pipeline.name:
                await self._rename(edited)
            else:
                self._state = edited
        self._awake = True
        return Packed.of_json(views.info(edited.pipeline))

    @edit.validator
    def _may_edit(self, edit: Edit) -> None:
        with temporal.refusing():
            self._open()
            self._state.editing(edit, workflow.now())

    @workflow.update(description="Delete the pipeline.")
    async def delete(self, removal: Removal) -> bool:
        """Close in the task that answers, so that the name is free by then; what is left a workflow of its
        own removes (I6)."""
        with temporal.refusing():
            removed = self._state.removing(removal, workflow.now())
        if removed is self._state:
            return False
        self._state = removed
        self._awake = self._closing = True
        await _leave_cleanup(self._state.pipeline)
        return True

    @delete.validator
    def _may_delete(self, removal: Removal) -> None:
        with temporal.refusing():
            self._open()
            self._state.removing(removal, workflow.now())

    def _open(self) -> None:
        """Refuse edits while the name is changing hands."""
        if self._state.pipeline.fenced or self._renaming or self._closing:
            raise errors.OutcomeUnknown

    async def _rename(self, edited: State) -> None:
        """Move to another name: born fenced there, then given the state and whatever arrived meanwhile.

        Raises DuplicateName where the name is taken, OutcomeUnknown where the heir has gone before it was
        told; then nothing has changed.
        """
        self._renaming = True
        try:
            heir = await self._bear(edited)
            await heir.signal(PipelineWorkflow.hand_over, edited.encoded())
        except (WorkflowAlreadyStartedError, ApplicationError) as failed:
            self._renaming = False
            self._decide_held()
            taken = isinstance(failed, WorkflowAlreadyStartedError)
            raise (errors.DuplicateName if taken else errors.OutcomeUnknown) from None
        with suppress(ApplicationError):  # the heir was deleted already, and what is held was meant for it
            while self._held:
                verb_name, given = self._held.pop(0)
                await heir.signal(verb_name, args=given)
        self._state = edited
        self._moved_to = edited.pipeline.name
        self._closing = True

    def _decide_held(self) -> None:
        held, self._held = self._held, []
        for verb_name, given in held:
            self._obey(verb_name, given)

    async def _bear(self, edited: State) -> workflow.ChildWorkflowHandle[Any, None]:
        p = edited.pipeline
        fenced = edited.but(pipeline=p.but(fenced=True))
        return await workflow.start_child_workflow(
            PipelineWorkflow.run,
            fenced.encoded(),
            id=temporal.pipeline_workflow_id(p.tenant_id, p.name),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            memo={temporal.MEMO: fenced.projection()},
            search_attributes=TypedSearchAttributes(temporal.search_attributes(p)),
            static_summary=p.name,
        )


async def _leave_cleanup(p: Pipeline) -> None:
    if not p.hosts and not p.schedule_names:
        return
    remains = Remains(
        pipeline_id=p.id, name=p.name, generation=p.generation, hosts=p.hosts, schedules=p.schedule_names
    )
    await workflow.start_child_workflow(
        "Cleanup",
        remains,
        id=temporal.cleanup_workflow_id(p.id),
        parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        static_summary=f"remove what {p.name} left",
    )

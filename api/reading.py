"""Reading pipelines: from the memo where that is enough, by query where it is not.

The memo answers in two milliseconds without any worker. What only a worker knows (all texts of a pipeline,
receipts that are not among the newest) is asked by queries that are single-flighted per pipeline.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from api.projection import Projection
from api.rpc import READ_WITHIN, AlreadyThere, BufferFull, Late, NoSuchWorkflow, Run, Temporal, Unanswered
from api.single_flight import SingleFlight
from sluicegate import errors, temporal
from sluicegate.errors import Refusal
from sluicegate.lifecycle import edits
from sluicegate.lifecycle.journal import Event
from sluicegate.lifecycle.receipts import KEPT_FOR, Receipt
from sluicegate.lifecycle.state import Ask
from sluicegate.lifecycle.values import Packed

RECEIPT_WITHIN = 1.7
"""Seconds that a lifecycle call waits for its receipt: with the signal it stays below two."""
QUERY_WITHIN = 0.6
"""Seconds that one query is waited for; a worker that is there answers in a few milliseconds."""
BULK_WITHIN = 1.5
"""Seconds that one query for more than a status is waited for."""
MOVED_WITHIN = 3.0
"""Seconds that an answer waits until the process is seen to follow; after that it is given anyway."""
LOOK_EVERY = 0.02
DESCRIPTOR_WITHIN = 4.0
KEPT_DESCRIPTORS = 512


class Found(NamedTuple):
    """The answer to a question for a receipt that came after the question."""

    name: str
    """What the pipeline is called by now."""
    receipt: Receipt | None
    overloaded: bool = False


class Reader:
    """Reads pipelines for every route."""

    def __init__(self, rpc: Temporal) -> None:
        """Read through the given calls."""
        self._rpc = rpc
        self._receipts = SingleFlight[str, Projection](self._ask_receipts)
        self._descriptors = SingleFlight[None, dict[str, Any]](partial(self._ask_bulk, "descriptor"))
        self._events = SingleFlight[None, dict[str, Any]](partial(self._ask_bulk, "events"))
        self._kept = SingleFlight[None, dict[str, Any]](partial(self._ask_bulk, "kept"))
        self._dataflows = SingleFlight[None, dict[str, Any]](partial(self._ask_bulk, "dataflow"))
        self._heritages = SingleFlight[None, dict[str, Any]](
            partial(self._ask_bulk, "receipts", run=Run.ENDED)
        )
        self._cached: OrderedDict[str, tuple[int, dict[str, Any]]] = OrderedDict()

    async def aclose(self) -> None:
        """Call off what is out."""
        await self._receipts.aclose()
        await self._descriptors.aclose()
        await self._events.aclose()
        await self._kept.aclose()
        await self._dataflows.aclose()
        await self._heritages.aclose()

    async def projection(self, tenant_id: str, name: str) -> Projection:
        """Read what a pipeline is now. Raises UnknownPipelineName."""
        try:
            return await self.shown(workflow_id(tenant_id, name))
        except NoSuchWorkflow:
            raise errors.UnknownPipelineName(pipeline_name=name) from None

    async def shown(self, workflow: str, within: float = READ_WITHIN) -> Projection:
        """Read the memo of a workflow, or the same by query where it did not fit. Raises NoSuchWorkflow."""
        shown = Projection.unpacked(await self._rpc.describe(workflow, within=within))
        if shown is not None:
            return shown
        try:
            return await self.asked(workflow)
        except Unanswered:
            raise errors.NotAnsweredYet from None

    async def asked(self, workflow: str) -> Projection:
        """Ask a worker what a pipeline is, with all that was acknowledged before. Raises NoSuchWorkflow,
        Unanswered."""
        return await self._receipts.ask(workflow, "")

    async def selected(self, tenant_id: str, name: str, selector: str) -> dict[str, Any]:
        """Read a pipeline as GET answers. Raises UnknownPipelineName, NotAnsweredYet."""
        return await self.answer(tenant_id, await self.projection(tenant_id, name), selector)

    async def answer(self, tenant_id: str, shown: Projection, selector: str) -> dict[str, Any]:
        """Answer with what was shown, as GET does. Raises UnknownPipelineName, NotAnsweredYet."""
        if selector != "all":
            return shown.selected(selector)
        return await self.whole(tenant_id, shown)

    async def whole(self, tenant_id: str, shown: Projection) -> dict[str, Any]:
        """Read all of a pipeline, at least as new as shown. Raises UnknownPipelineName, NotAnsweredYet."""
        revision, whole = self._cached.get(shown.id, (0, {}))
        if revision >= shown.revision:
            self._cached.move_to_end(shown.id)
            return dict(whole)
        answer = await self._bulk(self._descriptors, tenant_id, shown.name)
        whole = dict(Packed(zlib64=answer["all"]).json_value)
        self._cached[whole["id"]] = (answer["revision"], whole)
        while len(self._cached) > KEPT_DESCRIPTORS:
            self._cached.popitem(last=False)
        return whole

    async def events(self, tenant_id: str, name: str) -> list[Event]:
        """Read all events of a pipeline that are kept, newest first. Raises UnknownPipelineName,
        NotAnsweredYet."""
        shown = await self.projection(tenant_id, name)  # tells what is missing without any worker
        answer = await self._bulk(self._events, tenant_id, shown.name)
        return [Event.model_validate(event) for event in Packed.model_validate(answer).json_value]

    async def dataflow(self, tenant_id: str, name: str) -> dict[str, Any]:
        """Read the graph of the program. Raises ProgramNotCompiled, ProgramInfoMissesDataflow, and as
        `whole`."""
        answer = Packed.model_validate(await self._bulk(self._dataflows, tenant_id, name)).json_value
        if not answer["compiled"]:
            raise errors.ProgramNotCompiled(pipeline_name=name)
        if answer["dataflow"] is None:
            raise errors.ProgramInfoMissesDataflow(pipeline_name=name)
        return dict(answer["dataflow"])

    async def kept(self, tenant_id: str, name: str) -> dict[str, Any]:
        """Read restart policy and schedules, as `State.kept` shows them. Raises as `whole`."""
        return await self._bulk(self._kept, tenant_id, name)

    async def _bulk(
        self, flight: SingleFlight[None, dict[str, Any]], tenant_id: str, name: str
    ) -> dict[str, Any]:
        try:
            return await flight.ask(workflow_id(tenant_id, name), None)
        except Unanswered:
            raise errors.NotAnsweredYet from None
        except NoSuchWorkflow:
            raise errors.UnknownPipelineName(pipeline_name=name) from None

    async def receipt(self, tenant_id: str, name: str, request_id: str) -> Found:
        """Ask how a request was decided, a pipeline that is gone too, and one that was renamed under its new
        name. Raises NoSuchWorkflow where nobody knows it any more, and Unanswered where nobody says so in
        time; without a receipt the answer proves that there is none (any more)."""
        workflow = workflow_id(tenant_id, name)
        try:
            async with asyncio.timeout(RECEIPT_WITHIN):
                try:
                    answer = await self._receipts.ask(workflow, request_id)
                except NoSuchWorkflow:
                    answer = await self._last_words(workflow, request_id)
        except (TimeoutError, Refusal) as silence:
            raise Unanswered(str(silence) or "No receipt came in time.") from silence
        receipt = answer.receipt(request_id)
        if receipt is None and answer.moved_to is not None:
            return await self.receipt(tenant_id, answer.moved_to, request_id)
        return Found(answer.name, receipt, request_id in answer.turned_away)

    async def _last_words(self, workflow: str, request_id: str) -> Projection:
        """Ask a workflow that has closed. Raises NoSuchWorkflow where it does not know the request."""
        ask = Ask(receipts=(request_id,))
        try:
            answer = await self._rpc.query(workflow, "status", ask, within=RECEIPT_WITHIN, run=Run.ENDED)
        except BufferFull:
            raise Unanswered("Others ask the same.") from None
        last = Projection.model_validate(answer)
        if last.receipt(request_id) is None and last.moved_to is None:
            raise NoSuchWorkflow
        return last

    async def left_behind(self, tenant_id: str, name: str) -> tuple[Receipt, ...]:
        """Read the receipts of whoever had a name before and may be asked for still; none where somebody
        has it. Raises NotAnsweredYet."""
        forced = False
        try:
            closed = await self._rpc.closed(workflow_id(tenant_id, name))
            if closed is None or datetime.now(UTC) - closed[0] >= KEPT_FOR:
                return ()
            forced = closed[1]
            answer = await self._bulk(self._heritages, tenant_id, name)
        except (AlreadyThere, errors.UnknownPipelineName):
            return ()
        except errors.NotAnsweredYet:
            if not forced:  # else it may never have decided anything, and nobody can be asked
                raise
            return ()
        return tuple(map(Receipt.model_validate, Packed.model_validate(answer).json_value))

    async def moved(self, tenant_id: str, name: str, arrived: Callable[[dict[str, Any]], bool]) -> None:
        """Wait, for a bounded time, until the status that the process is seen in satisfies the caller."""
        workflow = workflow_id(tenant_id, name)
        with suppress(TimeoutError, NoSuchWorkflow, Refusal):  # the answer is true without it
            async with asyncio.timeout(MOVED_WITHIN):
                while not arrived((await self.shown(workflow)).status):
                    await asyncio.sleep(LOOK_EVERY)

    async def _ask_receipts(self, workflow: str, request_ids: tuple[str, ...]) -> Projection:
        """Ask until there is an answer, or the memo holds it."""
        ask = Ask(receipts=request_ids)
        silence = Unanswered("No answer came in time.")
        async for left in _tries(RECEIPT_WITHIN):
            try:
                answer = await self._rpc.query(workflow, "status", ask, within=min(left, QUERY_WITHIN))
                return Projection.model_validate(answer)
            except BufferFull:
                pass  # the query of another replica is out
            except Late as late:
                silence = late
            if shown := await self._decided(workflow, request_ids):
                return shown
        raise silence

    async def _decided(self, workflow: str, request_ids: tuple[str, ...]) -> Projection | None:
        """The memo, where it holds all the receipts wanted."""
        shown = Projection.unpacked(await self._rpc.describe(workflow))
        return shown if shown and all(map(shown.receipt, request_ids)) else None

    async def _ask_bulk(
        self, query: str, workflow: str, _: tuple[None, ...], *, run: Run = Run.OPEN
    ) -> dict[str, Any]:
        async for left in _tries(DESCRIPTOR_WITHIN):
            with suppress(BufferFull, Late):
                within = min(left, BULK_WITHIN)
                return dict(await self._rpc.query(workflow, query, within=within, run=run))
        raise Unanswered


async def _tries(within: float) -> AsyncIterator[float]:
    """Give the seconds that are left, again and again until there are none. A query can get lost where a
    workflow begins a new history, so none should be waited for all the time."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while (left := deadline - clock()) > 0:
        yield left
        await asyncio.sleep(random.uniform(0.002, 0.02))


def workflow_id(tenant_id: str, name: str) -> str:
    """Find the workflow of a pipeline. Raises UnknownPipelineName for what cannot be a name."""
    try:
        return temporal.pipeline_workflow_id(tenant_id, edits.check_name(name))
    except (errors.EmptyName, errors.TooLongName, errors.NameDoesNotMatchPattern):
        raise errors.UnknownPipelineName(pipeline_name=name) from None


async def outcome(reader: Reader, tenant_id: str, name: str, request_id: str) -> Found:
    """Find how a request was decided: from the memo, else by query.

    Raises UnknownPipelineName, Unanswered, and UnknownRequest where it is certain that there is no receipt.
    """
    with suppress(NoSuchWorkflow):  # those that are gone are asked below
        shown = await reader.shown(workflow_id(tenant_id, name))
        if receipt := shown.receipt(request_id):
            return Found(name, receipt)
    try:
        found = await reader.receipt(tenant_id, name, request_id)
    except NoSuchWorkflow:
        raise errors.UnknownPipelineName(pipeline_name=name) from None
    if found.receipt is None:
        raise errors.UnknownRequest(request_id=request_id)
    return found

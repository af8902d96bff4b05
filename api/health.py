"""Whether the parts of the control plane are alive (contract §6.1, `cluster_healthz`).

A prober looks every few seconds: when a worker last asked each queue for tasks, and whether one still
finishes workflow tasks, which is proven by having one answered. What is shown is computed from the ages of
these facts when it is asked for, so a prober that hangs shows too. Changes are signalled to the workflow
`cluster`, which keeps them; several front ends compare with what it knows, so that only the first one tells.

    alive       asked for tasks within the time in which every poll is renewed
    deciding    has answered a question to the workflow lately
"""

import asyncio
import random
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from api.rpc import BufferFull as OthersAsk
from api.rpc import NoSuchWorkflow, Temporal, Unanswered
from api.single_flight import SingleFlight
from api.stuck import StuckWork
from sluicegate import errors, temporal
from sluicegate.errors import Refusal, TemporalUnavailable
from sluicegate.lifecycle import cluster
from sluicegate.lifecycle.cluster import ClusterEvent, ClusterHistory, Finding, Probe
from sluicegate.lifecycle.stuck import Sight
from sluicegate.lifecycle.values import rfc3339
from workflows.cluster import ClusterWorkflow

LOOK_EVERY = 5.0
"""Seconds; with what a look may take, less than ten until a Temporal that is away shows."""
ANSWER_WITHIN = 2.0
"""Seconds that an answer is waited for."""
SEEN_WITHIN = timedelta(seconds=70)
"""A poll is renewed at least every minute."""
FINISHED_WITHIN = timedelta(seconds=15)
"""Of three looks in a row, one at least must have been answered: a busy worker may be late for one."""
UNSENT = 20
"""Changes that are remembered while Temporal is away."""

_log = structlog.get_logger()


class _Facts(NamedTuple):
    """What one look found, with times instead of verdicts."""

    at: datetime
    trouble: str | None
    """Why Temporal could not be asked."""
    compiler_polled: datetime | None
    runner_polled: datetime | None


class Health:
    """Looks at the control plane, and remembers since when it has been so."""

    def __init__(self, client: Client, rpc: Temporal, stuck_work: StuckWork) -> None:
        """Look through the given client and calls; what is stuck, the other one has found."""
        self._client = client
        self._rpc = rpc
        self._stuck_work = stuck_work
        self._facts: _Facts | None = None
        self._finished: datetime | None = None
        self._since: dict[str, tuple[bool, datetime]] = {}
        self._unsent: deque[Probe] = deque(maxlen=UNSENT)
        self._known: Probe | None = None
        self._events = SingleFlight[None, dict[str, Any]](self._ask_events)
        self._probing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._probing = asyncio.create_task(self._keep_probing())

    async def aclose(self) -> None:
        """Look no more."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._events.aclose()

    # Showing

    def cluster(self, now: datetime, sight: Sight) -> dict[str, Any]:
        """Show the health of every part to a caller.

        Stuck work is told with the runner and makes nothing unhealthy: the control plane serves everybody
        else. Raises NoClusterMonitorEventsAvailable before the first look.
        """
        if self._facts is None:
            raise errors.NoClusterMonitorEventsAvailable
        checked_at, found = self._facts.at, self._judged(now)
        shown = {part: self._shown(part, finding, checked_at) for part, finding in found.items()}
        words = self._stuck_work.report.words(sight), self._stuck_work.doubt(now)
        shown["runner"]["message"] = " ".join(filter(None, (shown["runner"]["message"], *words)))
        return {"all_healthy": all(finding.healthy for finding in found.values()), **shown}

    def _judged(self, now: datetime) -> dict[str, Finding]:
        """Judge what was seen last, and remember since when each part has been as it is."""
        if self._facts is None:
            return {}
        found = self._findings(self._facts, now)
        for part, finding in found.items():
            was, _ = self._since.get(part, (not finding.healthy, now))
            if was is not finding.healthy:
                self._since[part] = (finding.healthy, self._facts.at)
        return found

    def _shown(self, part: str, finding: Finding, checked_at: datetime) -> dict[str, Any]:
        return {
            "healthy": finding.healthy,
            "message": finding.self_info,
            "unchanged_since": rfc3339(self._since[part][1]),
            "checked_at": rfc3339(checked_at),
        }

    def _findings(self, facts: _Facts, now: datetime) -> dict[str, Finding]:
        """Judge facts by their age."""
        compiler = _polled("compile", temporal.EFFECTS, facts.compiler_polled, now)
        runner = _polled("decide", temporal.PIPELINES, facts.runner_polled, now)
        if facts.trouble is not None:
            compiler = runner = Finding(healthy=False, self_info=facts.trouble)
        elif runner.healthy:
            runner = _finished(self._finished, now, runner.self_info)
        if now - facts.at > FINISHED_WITHIN:
            late = f"The last look at the control plane was {_ago(facts.at, now)}."
            compiler = runner = Finding(healthy=False, self_info=late)
        api = Finding(healthy=True, self_info="The front end answers.")
        return {"api": api, "compiler": compiler, "runner": runner}

    async def events(self) -> list[ClusterEvent]:
        """Read the events that are kept, newest first. Raises NotAnsweredYet."""
        try:
            encoded = await self._events.ask(temporal.CLUSTER, None)
        except NoSuchWorkflow:
            return []
        except (Unanswered, OthersAsk):
            raise errors.NotAnsweredYet from None
        return ClusterHistory.decoded(encoded).current(datetime.now(UTC))

    async def _ask_events(self, workflow: str, _: tuple[None, ...]) -> dict[str, Any]:
        await self._rpc.ping()  # a server that is away is another answer than a worker that is
        for _attempt in range(3):
            with suppress(OthersAsk):
                return dict(await self._rpc.query(workflow, "events", within=ANSWER_WITHIN))
            await asyncio.sleep(random.uniform(0.05, 0.2))
        raise Unanswered("Others ask the same.")

    async def compiler_trouble(self) -> str | None:
        """Why nobody would compile, if nobody would, asked anew. Raises TemporalUnavailable."""
        polls, now = await self._polls(), datetime.now(UTC)
        found = (
            _polled("compile", temporal.EFFECTS, polls.compiler_polled, now),
            _polled("decide", temporal.PIPELINES, polls.runner_polled, now),
        )
        return next((finding.self_info for finding in found if not finding.healthy), None)

    # Looking

    async def _keep_probing(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - what shows is that the last look is long ago
                _log.exception("the control plane could not be looked at")
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.8, 1.0))

    async def look(self) -> None:
        """Look once, and tell the workflow what has changed."""
        facts, newest = await asyncio.gather(self._facts_now(), self._answered())
        now = datetime.now(UTC)
        self._facts = facts._replace(at=now)
        known = self._unsent[-1] if self._unsent else newest or self._known
        if newest is not None:
            self._stuck_work.take_up(newest.at, newest.stuck)
        stuck = self._stuck_work.to_tell(known.stuck if known else None)
        probe = Probe(at=now, **self._judged(now), stuck=stuck)
        if cluster.is_news(known, probe):
            self._unsent.append(probe)
        if self._facts.trouble is None:
            await self._tell()

    async def _facts_now(self) -> _Facts:
        try:
            return await self._polls()
        except TemporalUnavailable as away:
            return _Facts(datetime.now(UTC), away.message, None, None)

    async def _polls(self) -> _Facts:
        compiler, runner = await asyncio.gather(
            self._rpc.last_poll(temporal.EFFECTS, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
            self._rpc.last_poll(temporal.PIPELINES, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
        )
        return _Facts(datetime.now(UTC), None, compiler, runner)

    async def _answered(self) -> Probe | None:
        """Have a workflow task done; what the workflow knows is the answer."""
        try:
            answer = await self._ask_newest()
        except (Unanswered, OthersAsk, NoSuchWorkflow, RPCError, RuntimeError):
            return None
        self._finished = datetime.now(UTC)
        return None if answer is None else Probe.model_validate(answer)

    async def _ask_newest(self) -> dict[str, Any] | None:
        answer: dict[str, Any] | None
        try:
            answer = await self._rpc.query(temporal.CLUSTER, "newest", within=ANSWER_WITHIN)
        except NoSuchWorkflow:
            await self._client.start_workflow(
                ClusterWorkflow.run,
                ClusterHistory().encoded(),
                id=temporal.CLUSTER,
                task_queue=temporal.PIPELINES,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=timedelta(seconds=ANSWER_WITHIN),
                static_summary="health of the control plane",
            )
            answer = await self._rpc.query(temporal.CLUSTER, "newest", within=ANSWER_WITHIN)
        return answer

    async def _tell(self) -> None:
        while self._unsent:
            probe = self._unsent[0]
            try:
                message = probe.model_dump(mode="json")
                await self._rpc.signal(temporal.CLUSTER, "probed", message, str(uuid4()))
            except (Refusal, NoSuchWorkflow) as trouble:
                _log.warning("health not told", error=str(trouble))
                return
            self._unsent.popleft()
            self._known = probe


def _polled(job: str, queue: str, seen: datetime | None, now: datetime) -> Finding:
    if seen is None:
        return Finding(
            healthy=False,
            self_info=f"No worker has asked the queue '{queue}' for tasks in the last minutes.",
        )
    words = f"A worker asked the queue '{queue}' for tasks {_ago(seen, now)}."
    if now - seen > SEEN_WITHIN:
        return Finding(healthy=False, self_info=f"No worker is there to {job}. {words}")
    return Finding(healthy=True, self_info=words)


def _finished(finished: datetime | None, now: datetime, polled: str) -> Finding:
    if finished is None:
        return Finding(healthy=False, self_info=f"No workflow task has been finished yet. {polled}")
    healthy = now - finished <= FINISHED_WITHIN
    return Finding(
        healthy=healthy, self_info=f"The last workflow task was finished {_ago(finished, now)}. {polled}"
    )


def _ago(then: datetime, now: datetime) -> str:
    return f"{max((now - then).total_seconds(), 0):.1f} s ago"

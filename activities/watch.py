"""Watching: follows the process of each running deployment and signals its workflow only on a change.

One activity per deployment holds a slot for days. It looks at the process once a second, more often while
the process is changing or, for a second at most, has not followed yet what it was just told, and says
nothing while it sees nothing new.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from time import monotonic

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import clock
from activities.beat import heartbeating
from sluicegate import faults
from sluicegate.lifecycle import refusals
from sluicegate.lifecycle.effects import Failure, Observation, Observed, WatchRequest
from sluicegate.lifecycle.explanation import LOOK_EVERY
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.provision import Provisioner, ProvisionError
from sluicegate.runtime_client import RuntimeClient, Unreachable

IDLE_EVERY = LOOK_EVERY.total_seconds()
"""Seconds between looks at a process that does what it should; that it dies is noticed without one."""
LOOKS_A_SECOND = 250
"""Of all watches of a worker together, whose processes are looked at less often the more there are. A look
takes the worker a fifth of a millisecond."""
BUSY_EVERY = 0.05
"""Seconds between looks at one that initialises, or was just steered and has not followed yet."""
BUSY_FOR = 1.0
"""Seconds after a steer; what takes longer to follow, as a checkpoint does, need not be seen at once."""
BEAT_EVERY = timedelta(seconds=20)
BEAT_TIMEOUT = timedelta(seconds=90)
DETAILS_EVERY = 10.0
"""Seconds between signals that are about details only, such as a count of errors (contract §1.11)."""
GRACE = timedelta(seconds=20)
"""After becoming Provisioned, silence counts as initialising (contract §1.6)."""
STATUS_TIMEOUT = 5.0

_log = structlog.get_logger()


@dataclass
class _Watch:
    request: WatchRequest
    known: Observation
    """What the workflow knows: the baseline, then whatever was signalled last."""
    now: Callable[[], datetime]
    """The time by Temporal's clock."""
    sequence: int = 0
    busy_until: float = -inf
    told: RuntimeDesired | None = None
    """What the process was told last, while it is looked at often for that."""
    look_now: asyncio.Event = field(default_factory=asyncio.Event)
    told_at: float = -DETAILS_EVERY
    """When a change was signalled last, by the clock of the event loop."""
    unheard: bool = False
    """The workflow is still to be told that it is watched again."""
    superseded: bool = False
    """A newer watch of the same pipeline has begun here."""

    def pause(self, watches: int) -> float:
        """Seconds until the next look, where there are so many watches."""
        changing = self.known.runtime_status is RuntimeStatus.INITIALIZING
        if changing or monotonic() < self.busy_until:
            return BUSY_EVERY
        return max(IDLE_EVERY, watches / LOOKS_A_SECOND)

    def follows(self, seen: Observation) -> bool:
        """Whether the process does what it was told last; its own word for that may be old."""
        return self.told is not None and seen.runtime_status.value == self.told.value

    def is_news(self, seen: Observation, now: float) -> bool:
        """Whether a look is worth a signal: the first after a watch that failed and a status at once,
        details every few seconds."""
        if self.unheard:
            return True
        if seen == self.known:
            return False
        return self._status(seen) != self._status(self.known) or now - self.told_at >= DETAILS_EVERY

    @staticmethod
    def _status(seen: Observation) -> tuple[object, object]:
        return seen.runtime_status, seen.runtime_desired_status


class Watches:
    """The watches of this worker."""

    def __init__(self, client: Client, provisioner: Provisioner, runtime: RuntimeClient) -> None:
        """Look through the given provisioner and runtime client; signal through the Temporal client."""
        self._client = client
        self._provisioner = provisioner
        self._runtime = runtime
        self._watches: dict[str, _Watch] = {}

    def poke(self, pipeline_id: str, told: RuntimeDesired | None) -> None:
        """Look at a pipeline at once, and often until it does what it was told, or for a while."""
        if watch := self._watches.get(pipeline_id):
            watch.busy_until, watch.told = monotonic() + BUSY_FOR, told
            watch.look_now.set()

    @activity.defn(name="watch")
    async def watch(self, request: WatchRequest) -> Observation:
        """Follow one deployment until it is over; return the last, fatal, observation."""
        watch = _Watch(
            request=request, known=request.baseline, now=clock.of_temporal(), unheard=request.again
        )
        if older := self._watches.get(request.pipeline_id):
            older.superseded = True
            older.look_now.set()
        self._watches[request.pipeline_id] = watch
        try:
            async with heartbeating(BEAT_EVERY):
                return await self._follow(watch)
        finally:
            if self._watches.get(request.pipeline_id) is watch:
                del self._watches[request.pipeline_id]

    async def _follow(self, watch: _Watch) -> Observation:
        seconds = asyncio.get_running_loop().time
        while not watch.superseded:
            seen = await self._look(watch)
            if seen.fatal is not None:
                return seen
            if watch.is_news(seen, seconds()):
                await self._tell(watch, seen)
            if watch.follows(seen) and not watch.is_news(seen, seconds()):
                watch.busy_until = -inf
            # Not `wait_for`, which in Python 3.11 loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(watch.pause(len(self._watches))):
                    await watch.look_now.wait()
            watch.look_now.clear()
        return watch.known

    async def _look(self, watch: _Watch) -> Observation:
        """Ask the process; where it does not answer, ask the provisioner whether it lives."""
        request = watch.request
        try:
            seen = await self._runtime.status(
                request.location,
                request.deployment_id,
                timeout=STATUS_TIMEOUT,
                hung_up=watch.look_now.set,
            )
        except Unreachable as silence:
            return await self._explain(watch, str(silence))
        if seen.storage_status_details is None:
            return seen.model_copy(update={"storage_status_details": watch.known.storage_status_details})
        return seen

    async def _explain(self, watch: _Watch, silence: str) -> Observation:
        request = watch.request
        try:
            ended = await self._provisioner.check(request)
        except ProvisionError as unknown:
            silence, ended = str(unknown), None
        if ended is not None:
            kind = refusals.DeploymentOutdated if ended.stopped else refusals.RunnerCheckError
            problem = kind(error=str(ended))
            fatal = Failure(message=problem.message, error_code=problem.error_code, details=problem.details)
            return watch.known.model_copy(update={"fatal": fatal})
        in_grace = watch.now() < request.provisioned_at + GRACE
        if in_grace and watch.known.runtime_status is RuntimeStatus.INITIALIZING:
            reason = f"The process does not answer yet, which it has {GRACE.seconds} s for: {silence}"
            return watch.known.model_copy(update={"details": {"reason": reason}})
        return Observation(
            runtime_status=RuntimeStatus.UNAVAILABLE,
            runtime_desired_status=RuntimeDesired.UNAVAILABLE,
            details={"reason": f"The process lives but does not answer: {silence}"},
            storage_status_details=watch.known.storage_status_details,
        )

    async def _tell(self, watch: _Watch, seen: Observation) -> None:
        """Signal a change; what could not be sent is still news at the next look."""
        request = watch.request
        watch.sequence += 1
        news = Observed(
            pipeline_id=request.pipeline_id,
            generation=request.generation,
            epoch=request.epoch,
            sequence=watch.sequence,
            observation=seen,
        )
        faults.reach(faults.CHANGE_SEEN)
        try:
            await self._client.get_workflow_handle(request.workflow_id).signal("observed", news)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise
            _log.warning("observation not sent", pipeline_id=request.pipeline_id, error=error.message)
            return
        faults.reach(faults.CHANGE_TOLD)
        watch.known = seen
        watch.unheard = False
        watch.told_at = asyncio.get_running_loop().time()

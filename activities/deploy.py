"""Deploying: binds a pipeline to this host, starts and ends its process, clears and removes what it left."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import clock
from activities.beat import heartbeating
from sluicegate.lifecycle.effects import (
    Addressed,
    ApproveRequest,
    Deployment,
    Host,
    Observation,
    Provisioned,
    SteerRequest,
)
from sluicegate.lifecycle.status import Initial, RuntimeDesired, RuntimeStatus
from sluicegate.provision import Provisioner, ProvisionRejected, ReferenceUnresolved, Superseded
from sluicegate.runtime_client import Refused, RuntimeClient, Unreachable

LOOK_EVERY = 0.003
"""Seconds between looks for the address of a process that starts, which the user waits for. Multiplied by the
number of those that start at the time, or the looks at many would slow them down."""
LOOK_SHARE = 1 / 50
"""At least this share of the time that a start has taken lies between two looks."""
CHECK_EVERY = 0.05
"""Seconds between looks whether it has ended, which cost more; the others are never further apart."""
INITIALISED_WITHIN = timedelta(seconds=1)
"""A process that is initialised sooner is shown with what it became, which saves the user a round."""
TURN = timedelta(seconds=10)
"""A process that takes longer to answer waits on without keeping others from starting."""
STATUS_TIMEOUT = 5.0

# Types of the ApplicationErrors that the workflow decides by
REJECTED = "ProvisionRejected"
UNRESOLVED = "ReferenceUnresolved"
TIMED_OUT = "ProvisionTimedOut"
REFUSED = "SteerRefused"


def pause(taken: float, starting: int) -> float:
    """Seconds until the next look at a process that has taken so many to start, where so many start."""
    return min(max(LOOK_EVERY * starting, taken * LOOK_SHARE), CHECK_EVERY)


class Deployments:
    """Everything that happens to a deployment on this host; holds the host's provisioner."""

    def __init__(
        self,
        provisioner: Provisioner,
        runtime: RuntimeClient,
        host: Host,
        *,
        poke: Callable[[str, RuntimeDesired | None], None] = lambda pipeline_id, told: None,
        provisions_at_once: int = 8,
    ) -> None:
        """Deploy through the given provisioner; `poke` is told the id of a pipeline just steered, and what
        it was told to do, or None where it was an approval."""
        self._provisioner = provisioner
        self._runtime = runtime
        self._host = host
        self._poke = poke
        self._turns = asyncio.Semaphore(provisions_at_once)
        self._starting = 0

    @property
    def host_id(self) -> str:
        """The host that this is."""
        return self._host.host_id

    @activity.defn(name="bind")
    async def bind(self, pipeline: Addressed) -> Host:
        """Offer this host to a pipeline; has no effect of its own."""
        return self._host

    @activity.defn(name="provision")
    async def provision(self, deployment: Deployment) -> Provisioned:
        """Start the process of a deployment unless it runs, and wait until it answers; what comes after the
        deadline starts nothing, so that only a process that is already there counts.

        Waiting for its turn takes none of its time. Idempotent by generation. Raises ApplicationError of type
        ProvisionRejected or ProvisionTimedOut where another attempt cannot help.
        """
        now = clock.of_temporal()
        came = now()
        starts = came < deployment.deadline
        async with heartbeating():
            async with self._turn():
                deadline = deployment.deadline + (now() - came)
                if starts:
                    await self._begin(deployment)
                begun = asyncio.get_running_loop().time()
                found = await self._ready(deployment, now, begun, until=min(deadline, now() + TURN))
            found = found or await self._ready(deployment, now, begun, until=deadline)
        if found is None:
            text = "The process did not answer in time."
            raise ApplicationError(text, type=TIMED_OUT, non_retryable=True)
        return found

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._turns:
            self._starting += 1
            try:
                yield
            finally:
                self._starting -= 1

    async def _begin(self, deployment: Deployment) -> None:
        try:
            await self._provisioner.provision(deployment, self._runtime.token_for(deployment.deployment_id))
        except ReferenceUnresolved as unresolved:
            raise ApplicationError(str(unresolved), type=UNRESOLVED, non_retryable=True) from unresolved
        except (ProvisionRejected, Superseded) as rejected:
            raise ApplicationError(str(rejected), type=REJECTED, non_retryable=True) from rejected

    async def _ready(
        self, deployment: Deployment, now: Callable[[], datetime], begun: float, *, until: datetime
    ) -> Provisioned | None:
        """Wait until a process answers that began at that time of the loop; it is looked at once at least.

        None where it has not answered by `until`, or never began. Raises ApplicationError where it has ended.
        """
        seconds, checked = asyncio.get_running_loop().time, -math.inf
        answered = None
        while True:
            if seconds() >= checked + CHECK_EVERY:
                checked = seconds()
                ended = await self._provisioner.check(deployment)
                if ended is not None and ended.traceless and now() >= until:
                    return None
                if ended is not None:
                    raise ApplicationError(str(ended), type=REJECTED, non_retryable=True)
            found = await self._provisioner.locate(deployment)
            seen = found and await self._first_look(found.address, deployment)
            if found and seen:
                answered = answered or now()
                initialising = seen.runtime_status is RuntimeStatus.INITIALIZING and seen.fatal is None
                if not initialising or now() >= answered + INITIALISED_WITHIN:
                    return Provisioned(location=found.address, details=found.details, observation=seen)
            if now() >= until:
                return None
            await asyncio.sleep(pause(seconds() - begun, self._starting))

    async def _first_look(self, address: str, deployment: Deployment) -> Observation | None:
        try:
            return await self._runtime.status(address, deployment.deployment_id, timeout=STATUS_TIMEOUT)
        except Unreachable:
            return None

    @activity.defn(name="steer")
    async def steer(self, request: SteerRequest) -> None:
        """Tell the process what to do; idempotent, since the process answers a repetition likewise.

        Raises ApplicationError of type SteerRefused where the process says no for good, and Busy or
        Unreachable where it may be tried again.
        """
        words = _ACTIVATING if request.initial is Initial.STANDBY else _STEERING
        await self._tell(request, *words[request.desired])
        self._poke(request.pipeline_id, request.desired)

    @activity.defn(name="approve")
    async def approve(self, request: ApproveRequest) -> None:
        """Tell the process that its bootstrap is approved; it answers once it has left AwaitingApproval.

        Idempotent, and raises as `steer` does.
        """
        flags = [
            f"{flag}={str(getattr(request, flag)).lower()}"
            for flag in ("silent_bootstrap", "concurrent_bootstrap")
        ]
        await self._tell(request, "POST", "/approve?" + "&".join(flags))
        self._poke(request.pipeline_id, None)

    async def _tell(self, request: SteerRequest | ApproveRequest, method: str, path: str) -> None:
        try:
            await self._runtime.command(request.location, request.deployment_id, method, path)
        except Refused as refused:
            raise ApplicationError(str(refused), type=REFUSED, non_retryable=True) from refused

    @activity.defn(name="deprovision")
    async def deprovision(self, deployment: Addressed) -> None:
        """Fence a generation and end every process up to it."""
        async with heartbeating():
            await self._provisioner.deprovision(deployment)

    @activity.defn(name="clear_storage")
    async def clear_storage(self, deployment: Addressed) -> None:
        """Remove what the pipeline stored."""
        async with heartbeating():
            await self._provisioner.clear_storage(deployment)

    @activity.defn(name="remove")
    async def remove(self, deployment: Addressed) -> None:
        """Remove everything that carries the pipeline's id (I6)."""
        async with heartbeating():
            await self._provisioner.deprovision(deployment)
            await self._provisioner.remove(deployment)


_STEERING = {
    RuntimeDesired.RUNNING: ("GET", "/start"),
    RuntimeDesired.PAUSED: ("GET", "/pause"),
    RuntimeDesired.SUSPENDED: ("POST", "/suspend"),
}
"""What the process is told by which call (contract §7.2)."""
_ACTIVATING = {
    RuntimeDesired.RUNNING: ("POST", "/activate?initial=running"),
    RuntimeDesired.PAUSED: ("POST", "/activate?initial=paused"),
    RuntimeDesired.SUSPENDED: ("POST", "/suspend"),
}
"""The same for a deployment that began in standby, which an activation leaves and elsewhere steers."""

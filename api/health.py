"""Whether the parts of the control plane are alive (contract §6.1, `cluster_healthz`).

A worker that asked a queue for tasks within the last minute is alive; nothing else is known of workers from
here. A health says since when it has not changed, as far as this process has seen.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from temporalio.api.enums.v1 import TaskQueueType

from api.rpc import Temporal
from sluicegate import temporal
from sluicegate.errors import TemporalUnavailable
from sluicegate.lifecycle.values import rfc3339

SEEN_WITHIN = timedelta(seconds=70)
"""A poll is renewed at least every minute."""


class _Part(NamedTuple):
    queue: str
    kind: "TaskQueueType.ValueType"
    job: str


_PARTS = {
    "compiler": _Part(temporal.EFFECTS, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, "compile"),
    "runner": _Part(temporal.PIPELINES, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "decide"),
}


class Health:
    """Looks at the control plane, and remembers since when it has been so."""

    def __init__(self, rpc: Temporal) -> None:
        """Look through the given calls."""
        self._rpc = rpc
        self._since: dict[str, tuple[bool, datetime]] = {}

    async def cluster(self, now: datetime) -> dict[str, Any]:
        """Show the health of every part."""
        shown = {"api": self._shown("api", None, "The front end answers.", now)}
        troubles = await asyncio.gather(*(self._trouble(part, now) for part in _PARTS.values()))
        for (name, part), trouble in zip(_PARTS.items(), troubles, strict=True):
            shown[name] = self._shown(name, trouble, f"A worker is there to {part.job}.", now)
        return {"all_healthy": all(part["healthy"] for part in shown.values()), **shown}

    async def _trouble(self, part: _Part, now: datetime) -> str | None:
        """Why nobody does this job, if nobody does."""
        try:
            seen = await self._rpc.last_poll(part.queue, part.kind)
        except TemporalUnavailable as away:
            return away.message
        if seen is None:
            return f"No worker has asked the queue '{part.queue}' for tasks in the last minutes."
        if now - seen > SEEN_WITHIN:
            return f"The last worker asked the queue '{part.queue}' for tasks at {rfc3339(seen)}."
        return None

    def _shown(self, name: str, trouble: str | None, fine: str, now: datetime) -> dict[str, Any]:
        healthy = trouble is None
        was, since = self._since.get(name, (healthy, now))
        if was is not healthy:
            since = now
        self._since[name] = (healthy, since)
        return {
            "healthy": healthy,
            "message": fine if trouble is None else trouble,
            "unchanged_since": rfc3339(since),
            "checked_at": rfc3339(now.astimezone(UTC)),
        }

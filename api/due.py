"""When schedules start a pipeline next, for whoever waits for what a start leads to."""

from datetime import UTC, datetime, timedelta

from api.reading import Reader
from api.rpc import NoSuchWorkflow, Temporal
from sluicegate import temporal


class Due:
    """Asks the record which schedules there are, and Temporal when they are due."""

    def __init__(self, rpc: Temporal, reader: Reader) -> None:
        """Ask through the given calls."""
        self._rpc = rpc
        self._reader = reader

    async def next_start(self, tenant_id: str, name: str) -> datetime | None:
        """Say when a schedule starts a pipeline next; None where none does.

        One that is still being put in place counts as due now. Raises UnknownPipelineName, NotAnsweredYet,
        TemporalUnavailable.
        """
        kept = await self._reader.kept(tenant_id, name)
        starts = [
            schedule
            for schedule, given in kept["schedules"].items()
            if given["verb"] == "start" and not given["paused"]
        ]
        if starts and not kept["in_place"] and not kept["problem"]:
            return datetime.now(UTC)
        times: list[datetime] = []
        for schedule in starts:
            try:
                times += await self._rpc.schedule_times(temporal.schedule_id(kept["id"], schedule))
            except NoSuchWorkflow:
                continue  # it could not be put in place
        return min(times, default=None)

    async def start_within(self, tenant_id: str, name: str, seconds: float) -> float | None:
        """Say in how many seconds a schedule starts a pipeline; None where none does so soon. Raises as
        `next_start`."""
        due_at = await self.next_start(tenant_id, name)
        if due_at is None:
            return None
        left = max((due_at - datetime.now(UTC)) / timedelta(seconds=1), 0.0)
        return left if left <= seconds else None

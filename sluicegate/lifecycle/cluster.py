"""The health of the control plane over time: one event per change, and one every ten minutes (contract §6.1).

Front ends look at the parts and report what they found; what of it becomes an event is decided here.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from sluicegate.lifecycle import ids
from sluicegate.lifecycle.values import Packed, Time, Value, rfc3339

NOTED_EVERY = timedelta(minutes=10)
"""Without a change, an event says that it is still so."""
KEPT_FOR = timedelta(hours=72)
KEPT = 1_000
SCHEMA = 1


class ServiceStatus(StrEnum):
    """How a part is, and whether it has ever been well."""

    INITIAL_UNHEALTHY = "InitialUnhealthy"
    UNHEALTHY = "Unhealthy"
    HEALTHY = "Healthy"


class Finding(Value):
    """What a look at one part found."""

    healthy: bool
    self_info: str
    resources_info: str | None = None


class Probe(Value):
    """What a look at all parts found."""

    at: Time
    api: Finding
    compiler: Finding
    runner: Finding

    @property
    def healthy(self) -> tuple[bool, bool, bool]:
        """Which parts are well."""
        return self.api.healthy, self.compiler.healthy, self.runner.healthy


class ClusterEvent(Value):
    """What was found at a moment, and the status that it means for each part."""

    id: str
    probe: Probe
    api_status: ServiceStatus
    compiler_status: ServiceStatus
    runner_status: ServiceStatus

    def brief(self) -> dict[str, Any]:
        """Show the event with selector `status`."""
        return {
            "id": self.id,
            "recorded_at": rfc3339(self.probe.at),
            "all_healthy": all(self.probe.healthy),
            "api_status": self.api_status.value,
            "compiler_status": self.compiler_status.value,
            "runner_status": self.runner_status.value,
        }

    def whole(self) -> dict[str, Any]:
        """Show the event with selector `all`."""
        shown = self.brief()
        for part, found in self.parts.items():
            shown[f"{part}_self_info"] = found.self_info
            shown[f"{part}_resources_info"] = found.resources_info
        return shown

    @property
    def parts(self) -> dict[str, Finding]:
        """What was found, by part."""
        return {"api": self.probe.api, "compiler": self.probe.compiler, "runner": self.probe.runner}


def is_news(known: Probe | None, probe: Probe) -> bool:
    """Whether a look found something else than what is known, or the same after a long time."""
    if known is None or known.healthy != probe.healthy:
        return True
    return probe.at - known.at >= NOTED_EVERY


class ClusterHistory(Value):
    """The newest events, oldest first, and how many there have ever been."""

    events: tuple[ClusterEvent, ...] = ()
    count: int = 0

    @property
    def newest(self) -> Probe | None:
        """What was found last."""
        return self.events[-1].probe if self.events else None

    def noting(self, probe: Probe) -> Self:
        """Take a report; several front ends may report the same, which is noted once."""
        if not is_news(self.newest, probe):
            return self
        if self.newest is not None and probe.at < self.newest.at:
            probe = probe.but(at=self.newest.at)  # clocks of two machines; the order is that of arrival
        before = self.events[-1] if self.events else None
        event = ClusterEvent(
            id=ids.uuid7(probe.at, f"cluster/{self.count + 1}"),
            probe=probe,
            api_status=_status(before.api_status if before else None, probe.api),
            compiler_status=_status(before.compiler_status if before else None, probe.compiler),
            runner_status=_status(before.runner_status if before else None, probe.runner),
        )
        kept = tuple(e for e in self.events if probe.at - e.probe.at <= KEPT_FOR)
        return self.but(events=(*kept, event)[-KEPT:], count=self.count + 1)

    def current(self, at: datetime) -> list[ClusterEvent]:
        """The events that are kept at a time, newest first."""
        return [event for event in reversed(self.events) if at - event.probe.at <= KEPT_FOR]

    def encoded(self) -> dict[str, Any]:
        """Encode for the next run, and for queries."""
        return {"schema": SCHEMA, "packed": Packed.of_json(self.model_dump(mode="json")).zlib64}

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """Decode what any released version has encoded (I10)."""
        return cls.model_validate(Packed(zlib64=raw["packed"]).json_value)


def _status(before: ServiceStatus | None, found: Finding) -> ServiceStatus:
    if found.healthy:
        return ServiceStatus.HEALTHY
    if before in (None, ServiceStatus.INITIAL_UNHEALTHY):
        return ServiceStatus.INITIAL_UNHEALTHY
    return ServiceStatus.UNHEALTHY

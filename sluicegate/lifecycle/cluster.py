"""The health of the control plane over time: one event per change, and one every ten minutes (contract §6.1).

Front ends look at the parts and report what they found; what of it becomes an event is decided here. Work
that has become stuck, or is so no more, is a change too; an event that is about nothing else is for those
whose work it is, and for owners: its time alone would tell the others something (I9).
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from sluicegate.lifecycle import ids
from sluicegate.lifecycle.stuck import Report, Sight
from sluicegate.lifecycle.values import Packed, Time, Value, rfc3339

NOTED_EVERY = timedelta(minutes=10)
"""Without a change, an event says that it is still so."""
KEPT_FOR = timedelta(hours=72)
KEPT = 1_000
KEPT_OF_TENANTS = 200
"""Events that are about stuck work alone, so that a restless pipeline pushes out none of the others."""
MAX_ENCODED = 1 << 20
"""Bytes of all events; a server takes two million."""
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
    stuck: Report = Report()
    noted_at: Time | None = None
    """Set by the workflow: when it noted last what everybody may see."""

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
    tenants: tuple[str, ...] | None = None
    """Whose stuck work it is about and about nothing else; None where it is for everybody."""

    def seen_by(self, sight: Sight) -> bool:
        """Whether a caller may know of it."""
        return self.tenants is None or any(map(sight.sees, self.tenants))

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

    def whole(self, sight: Sight) -> dict[str, Any]:
        """Show the event with selector `all` to a caller; what is stuck is told with the runner."""
        shown = self.brief()
        for part, found in self.parts.items():
            shown[f"{part}_self_info"] = found.self_info
            shown[f"{part}_resources_info"] = found.resources_info
        shown["runner_resources_info"] = self.probe.stuck.words(sight)
        return shown

    @property
    def parts(self) -> dict[str, Finding]:
        """What was found, by part."""
        return {"api": self.probe.api, "compiler": self.probe.compiler, "runner": self.probe.runner}


def is_news(known: Probe | None, probe: Probe) -> bool:
    """Whether a look found something else than what is known, or the same after a long time."""
    return known is None or _for_everybody(known, probe) or bool(probe.stuck.changed(known.stuck))


def _for_everybody(known: Probe, probe: Probe) -> bool:
    noted_at = known.noted_at or known.at
    return known.healthy != probe.healthy or probe.at - noted_at >= NOTED_EVERY


class ClusterHistory(Value):
    """The newest events, oldest first, and how many there have ever been."""

    events: tuple[ClusterEvent, ...] = ()
    count: int = 0

    @property
    def newest(self) -> Probe | None:
        """What was found last, and when it was noted last for everybody."""
        if not self.events:
            return None
        noted = (event.probe.at for event in reversed(self.events) if event.tenants is None)
        return self.events[-1].probe.but(noted_at=next(noted, None))

    def noting(self, probe: Probe) -> Self:
        """Take a report; several front ends may report the same, which is noted once."""
        newest, probe = self.newest, probe.but(stuck=probe.stuck.kept())
        if not is_news(newest, probe):
            return self
        if newest is not None and probe.at < newest.at:
            probe = probe.but(at=newest.at)  # clocks of two machines; the order is that of arrival
        public = newest is None or _for_everybody(newest, probe)
        before = self.events[-1] if self.events else None
        event = ClusterEvent(
            id=ids.uuid7(probe.at, f"cluster/{self.count + 1}"),
            probe=probe,
            api_status=_status(before.api_status if before else None, probe.api),
            compiler_status=_status(before.compiler_status if before else None, probe.compiler),
            runner_status=_status(before.runner_status if before else None, probe.runner),
            tenants=None if newest is None or public else tuple(sorted(probe.stuck.changed(newest.stuck))),
        )
        return self.but(events=_kept((*self.events, event), probe.at), count=self.count + 1)

    def current(self, at: datetime) -> list[ClusterEvent]:
        """The events that are kept at a time, newest first."""
        return [event for event in reversed(self.events) if at - event.probe.at <= KEPT_FOR]

    def encoded(self) -> dict[str, Any]:
        """Encode for the next run, and for queries. Where it would be larger than a server takes, the older
        half of the events goes."""
        packed = Packed.of_json(self.model_dump(mode="json"))
        if len(packed) <= MAX_ENCODED or not self.events:
            return {"schema": SCHEMA, "packed": packed.zlib64}
        return self.but(events=self.events[len(self.events) // 2 + 1 :]).encoded()

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """Decode what any released version has encoded (I10)."""
        return cls.model_validate(Packed(zlib64=raw["packed"]).json_value)


def _kept(events: tuple[ClusterEvent, ...], at: datetime) -> tuple[ClusterEvent, ...]:
    """The newest events of either kind that are not too old, in their order."""
    recent = [event for event in events if at - event.probe.at <= KEPT_FOR]
    public = [event.id for event in recent if event.tenants is None][-KEPT:]
    others = [event.id for event in recent if event.tenants is not None][-KEPT_OF_TENANTS:]
    kept = {*public, *others}
    return tuple(event for event in recent if event.id in kept)


def _status(before: ServiceStatus | None, found: Finding) -> ServiceStatus:
    if found.healthy:
        return ServiceStatus.HEALTHY
    if before in (None, ServiceStatus.INITIAL_UNHEALTHY):
        return ServiceStatus.INITIAL_UNHEALTHY
    return ServiceStatus.UNHEALTHY

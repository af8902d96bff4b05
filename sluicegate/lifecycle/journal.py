"""The journal: every transition of a pipeline is one event, the newest 720 are kept (contract §5.10)."""

from datetime import datetime
from typing import Any, Self

from sluicegate.lifecycle import explanation, ids
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.values import Packed, Time, Value, rfc3339, to_the_second

KEPT = 720


class Cause(Value):
    """Who and which request brought a transition about."""

    actor: str
    request_id: str | None = None


SYSTEM = Cause(actor="system")


class Since(Value):
    """The argument of the `events` query: how many events are wanted, and how much of each."""

    after: str | None = None
    """Id of the event that is known already; the answer goes down to it, with it. An answer without it says
    that it is no longer kept."""
    brief: bool = False
    """Only what an event shows of itself without details."""


class Event(Value):
    """What a pipeline was after one transition."""

    event_id: str
    recorded_at: Time
    deployment_resources_status: str
    deployment_resources_desired_status: str
    deployment_runtime_status: str | None
    deployment_runtime_desired_status: str | None
    program_status: str
    storage_status: str
    deployment_resources_status_details: dict[str, Any] | None
    deployment_runtime_status_details: dict[str, Any] | None
    deployment_error: Failure | None
    storage_status_details: dict[str, Any] | None
    actor: str
    request_id: str | None = None

    @classmethod
    def of(cls, p: Pipeline, number: int, at: datetime, cause: Cause) -> Self:
        """Record what a pipeline is now, as event of that number."""
        return cls(
            event_id=ids.uuid7(at, f"{p.id}/event/{number}"),
            recorded_at=at,
            deployment_resources_status=p.resources_status.value,
            deployment_resources_desired_status=p.resources_desired.value,
            deployment_runtime_status=p.runtime_status.value if p.runtime_status else None,
            deployment_runtime_desired_status=p.runtime_desired.value if p.runtime_desired else None,
            program_status=p.program_status.value,
            storage_status=p.storage_status.value,
            deployment_resources_status_details=explanation.details(p),
            deployment_runtime_status_details=p.runtime_status_details,
            deployment_error=p.deployment_error,
            storage_status_details=p.storage_status_details,
            actor=cause.actor,
            request_id=cause.request_id,
        )

    def brief(self) -> dict[str, Any]:
        """Show the event without its details (contract §5.10, selector `status`)."""
        return {
            "event_id": self.event_id,
            "recorded_at": rfc3339(self.recorded_at),
            "deployment_resources_status": self.deployment_resources_status,
            "deployment_resources_desired_status": self.deployment_resources_desired_status,
            "deployment_runtime_status": self.deployment_runtime_status,
            "deployment_runtime_desired_status": self.deployment_runtime_desired_status,
            "deployment_has_error": self.deployment_error is not None,
            "program_status": self.program_status,
            "storage_status": self.storage_status,
        }

    def whole(self) -> dict[str, Any]:
        """Show the event with its details (contract §5.10, selector `all`)."""
        return {
            **self.brief(),
            "deployment_resources_status_details": self.deployment_resources_status_details,
            "deployment_runtime_status_details": self.deployment_runtime_status_details,
            "deployment_error": self.deployment_error.model_dump() if self.deployment_error else None,
            "storage_status_details": self.storage_status_details,
        }

    def cause(self) -> dict[str, Any]:
        """Show who and which request brought the transition about; ours."""
        return {"event_id": self.event_id, "actor": self.actor, "request_id": self.request_id}

    def row(self) -> str:
        """One row of the page that people read."""
        resources, runtime = self.deployment_resources_status, self.deployment_runtime_status
        status = runtime if resources == "Provisioned" and runtime else resources
        desired = self.deployment_runtime_desired_status or self.deployment_resources_desired_status
        if self.deployment_resources_desired_status == "Stopped":
            desired = "Stopped"
        error = " ⚠" if self.deployment_error else ""
        at = to_the_second(self.recorded_at)[len("2000-") :]
        return "| " + " | ".join((at, status + error, desired, self.program_status, self.actor)) + " |"


def is_transition(old: Pipeline, new: Pipeline) -> bool:
    """Whether two records differ in anything that an event is about; retries and bookkeeping are not."""
    return _about(old) != _about(new)


def _about(p: Pipeline) -> tuple[Any, ...]:
    return (
        p.resources_status,
        p.resources_desired,
        p.runtime_status,
        p.runtime_desired,
        p.runtime_status_details,
        p.program_status,
        p.program_version,
        p.storage_status,
        p.storage_status_details,
        p.deployment_error,
        p.deployment_id,
    )


class Journal(Value):
    """The newest events, oldest first, and how many there have ever been."""

    events: tuple[Event, ...] = ()
    count: int = 0

    def noting(self, p: Pipeline, at: datetime, cause: Cause) -> Self:
        """Append an event."""
        event = Event.of(p, self.count + 1, at, cause)
        return self.but(events=(*self.events, event)[-KEPT:], count=self.count + 1)

    def answers(self, since: Since) -> Packed:
        """The `events` query: a list of the newest events, newest first, packed since a server bounds
        answers."""
        found = []
        for event in reversed(self.events):
            found.append(event.brief() if since.brief else event.model_dump(mode="json"))
            if event.event_id == since.after:
                break
        return Packed.of_json(found)

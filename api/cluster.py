"""The health of the control plane, now and over time (contract §6.1)."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StrictBool
from starlette.responses import Response

from api.answers import fresh
from api.backend import Backend, Behind, Sees
from api.errors import RETRY_AFTER, documented
from api.events import LATEST, parse_uuid
from api.shapes import Timestamp
from sluicegate import errors
from sluicegate.lifecycle.cluster import ClusterEvent, ServiceStatus
from sluicegate.lifecycle.stuck import Sight

router = APIRouter(prefix="/v0", tags=["Platform"])


class ServiceHealth(BaseModel):
    """One part of the control plane."""

    healthy: StrictBool
    message: str
    unchanged_since: Timestamp
    checked_at: Timestamp


class ClusterHealth(BaseModel):
    """The whole control plane."""

    all_healthy: StrictBool
    api: ServiceHealth
    compiler: ServiceHealth
    runner: ServiceHealth


class ClusterMonitorEvent(BaseModel):
    """What was found of the control plane; the selector says whether the optional keys are there."""

    id: str
    recorded_at: Timestamp
    all_healthy: StrictBool
    api_status: ServiceStatus
    compiler_status: ServiceStatus
    runner_status: ServiceStatus
    api_self_info: str | None = Field(None, description="With `all`.")
    api_resources_info: str | None = Field(None, description="With `all`.")
    compiler_self_info: str | None = Field(None, description="With `all`.")
    compiler_resources_info: str | None = Field(None, description="With `all`.")
    runner_self_info: str | None = Field(None, description="With `all`.")
    runner_resources_info: str | None = Field(None, description="With `all`.")


@router.get(
    "/cluster_healthz",
    response_model=ClusterHealth,
    responses={
        **documented(errors.NoClusterMonitorEventsAvailable),
        503: {"model": ClusterHealth, "description": "A part is not healthy."},
    },
)
async def cluster_healthz(sight: Sees, backend: Behind) -> Response:
    """Tell whether all parts of the control plane are alive, and which work of the caller's is stuck."""
    shown = backend.health.cluster(datetime.now(UTC), sight)
    healthy = shown["all_healthy"]
    return fresh(shown) if healthy else fresh(shown, 503, **RETRY_AFTER)


@router.get(
    "/cluster/events",
    response_model=list[ClusterMonitorEvent],
    responses=documented(errors.NotAnsweredYet),
)
async def list_cluster_events(sight: Sees, backend: Behind) -> Response:
    """List what was found of the control plane in the last 72 hours, newest first."""
    return fresh([event.brief() for event in await _events(backend, sight)])


@router.get(
    "/cluster/events/{event_id}",
    response_model=ClusterMonitorEvent,
    responses=documented(
        errors.InvalidUuidParam,
        errors.UnknownClusterMonitorEvent,
        errors.NoClusterMonitorEventsAvailable,
        errors.NotAnsweredYet,
        plain=[400],
    ),
)
async def get_cluster_event(
    event_id: Annotated[str, Path(description="The id of an event, or `latest`.")],
    sight: Sees,
    backend: Behind,
    selector: Annotated[Literal["status", "all"], Query(description="How much is shown.")] = "status",
) -> Response:
    """Show one event."""
    event = await _find(backend, sight, event_id)
    return fresh(event.whole(sight) if selector == "all" else event.brief())


async def _events(backend: Backend, sight: Sight) -> list[ClusterEvent]:
    """The events that the caller may know of, newest first."""
    return [event for event in await backend.health.events() if event.seen_by(sight)]


async def _find(backend: Backend, sight: Sight, event_id: str) -> ClusterEvent:
    wanted = None if event_id == LATEST else parse_uuid(event_id)
    events = await _events(backend, sight)
    if not events:
        raise errors.NoClusterMonitorEventsAvailable
    if wanted is None:
        return events[0]
    found = next((event for event in events if event.id == wanted), None)
    if found is None:
        raise errors.UnknownClusterMonitorEvent(event_id=wanted)
    return found

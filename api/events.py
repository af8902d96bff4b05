"""The events of a pipeline: what it was after each transition, newest first (contract §5.10).

Who and which request brought a transition about is a resource of its own, since the keys of an event are
fixed.
"""

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import fresh
from api.backend import Backend, Behind
from api.errors import documented
from api.parse import Tenant
from api.shapes import ErrorResponse, Timestamp
from sluicegate import errors
from sluicegate.lifecycle.journal import Event
from sluicegate.lifecycle.status import (
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)

LATEST = "latest"

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}/events", tags=["Events"])

Selector = Annotated[Literal["status", "all"], Query(description="How much of each event is shown.")]
EventId = Annotated[str, Path(description="The id of an event, or `latest`.")]


class PipelineEvent(BaseModel):
    """What a pipeline was after one transition; the selector says whether the optional keys are there."""

    event_id: str
    recorded_at: Timestamp
    deployment_resources_status: ResourcesStatus
    deployment_resources_desired_status: ResourcesDesired
    deployment_runtime_status: RuntimeStatus | None
    deployment_runtime_desired_status: RuntimeDesired | None
    deployment_has_error: bool
    program_status: ProgramStatus
    storage_status: StorageStatus
    deployment_resources_status_details: dict[str, Any] | None = Field(None, description="With `all`.")
    deployment_runtime_status_details: dict[str, Any] | None = Field(None, description="With `all`.")
    deployment_error: ErrorResponse | None = Field(None, description="With `all`.")
    storage_status_details: dict[str, Any] | None = Field(None, description="With `all`.")


class EventCause(BaseModel):
    """Who and which request brought a transition about."""

    event_id: str
    actor: str = Field(description="`system` where nobody asked for it.")
    request_id: str | None


_ONE = documented(
    errors.InvalidUuidParam,
    errors.UnknownPipelineName,
    errors.UnknownPipelineMonitorEvent,
    errors.NoPipelineMonitorEventsAvailable,
    errors.NotAnsweredYet,
    plain=[400],
)


@router.get(
    "",
    response_model=list[PipelineEvent],
    responses=documented(errors.UnknownPipelineName, errors.NotAnsweredYet, plain=[400]),
)
async def list_events(
    pipeline_name: str, tenant: Tenant, backend: Behind, selector: Selector = "status"
) -> Response:
    """List the events that are kept, newest first."""
    return fresh([_shown(event, selector) for event in await backend.reader.events(tenant, pipeline_name)])


@router.get("/{event_id}", response_model=PipelineEvent, responses=_ONE)
async def get_event(
    pipeline_name: str, event_id: EventId, tenant: Tenant, backend: Behind, selector: Selector = "status"
) -> Response:
    """Show one event."""
    return fresh(_shown(await _find(backend, tenant, pipeline_name, event_id), selector))


@router.get("/{event_id}/cause", response_model=EventCause, responses=_ONE)
async def get_cause(pipeline_name: str, event_id: EventId, tenant: Tenant, backend: Behind) -> Response:
    """Show who and which request brought an event about."""
    return fresh((await _find(backend, tenant, pipeline_name, event_id)).cause())


async def _find(backend: Backend, tenant_id: str, name: str, event_id: str) -> Event:
    wanted = None if event_id == LATEST else parse_uuid(event_id)
    events = await backend.reader.events(tenant_id, name)
    if not events:
        raise errors.NoPipelineMonitorEventsAvailable
    if wanted is None:
        return events[0]
    found = next((event for event in events if event.event_id == wanted), None)
    if found is None:
        raise errors.UnknownPipelineMonitorEvent(event_id=wanted)
    return found


def parse_uuid(value: str) -> str:
    """Read a UUID in any of its forms. Raises InvalidUuidParam."""
    try:
        return str(uuid.UUID(value))
    except ValueError as problem:
        raise errors.InvalidUuidParam(value=value, error=str(problem)) from None


def _shown(event: Event, selector: str) -> dict[str, Any]:
    return event.whole() if selector == "all" else event.brief()

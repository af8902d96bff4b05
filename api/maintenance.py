"""Upkeep of a running pipeline, passed on to its process (contract §2.8, §2.10)."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictInt
from starlette.responses import Response

from api.backend import Behind
from api.data_plane import READ_TIMEOUT, RELAYED, relay
from api.parse import Tenant
from api.shapes import Timestamp

MAINTENANCE_TIMEOUT = 120.0
"""Seconds until the process answers (contract §1.11)."""

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Maintenance"])

_EMPTY = {**RELAYED, 200: {"description": "Done, or begun.", "content": {}}}


class ClockAdvance(BaseModel):
    """How far to move the clock of a pipeline whose time is driven over HTTP."""

    delta_ms: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="Milliseconds; null is one resolution of the clock, 0 only reads it."
    )


class Clock(BaseModel):
    """What the clock of a pipeline shows."""

    now_ms: int
    now: Timestamp


class Checkpoint(BaseModel):
    """A checkpoint that a pipeline keeps."""

    uuid: str
    identifier: str | None
    fingerprint: int
    size: int | None
    steps: int | None
    processed_records: int | None


@router.post("/rebalance", response_class=Response, responses=_EMPTY)
async def rebalance(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Spread the state of a pipeline evenly over its workers."""
    return await relay(backend, tenant, pipeline_name, "/rebalance", timeout=MAINTENANCE_TIMEOUT)


@router.post("/start_compaction", response_class=Response, responses=_EMPTY)
async def start_compaction(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Compact what a pipeline stores."""
    return await relay(backend, tenant, pipeline_name, "/start_compaction", timeout=MAINTENANCE_TIMEOUT)


@router.post(
    "/clock/advance",
    response_model=Clock,
    responses=RELAYED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ClockAdvance.model_json_schema()}},
        }
    },
)
async def advance_clock(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Move the clock of a pipeline whose time is driven over HTTP (`dev_tweaks.now_http_driven`)."""
    return await relay(backend, tenant, pipeline_name, "/clock/advance", timeout=READ_TIMEOUT)


@router.get("/checkpoints", response_model=list[Checkpoint], responses=RELAYED)
async def list_checkpoints(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """List the checkpoints that a pipeline keeps, the newest first."""
    return await relay(backend, tenant, pipeline_name, "/checkpoints", timeout=READ_TIMEOUT)

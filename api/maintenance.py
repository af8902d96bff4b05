"""Upkeep of a running pipeline, passed on to its process (contract §2.10)."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictInt
from starlette.requests import Request
from starlette.responses import Response

from api.data_plane import CHOSEN, RELAYED, Reached
from api.errors import documented
from api.parse import JsonRoute
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


@router.post("/rebalance", response_class=Response, responses=_EMPTY)
async def rebalance(process: Reached) -> Response:
    """Spread the state of a pipeline evenly over its workers."""
    return await process.relay("POST", "/rebalance", timeout=MAINTENANCE_TIMEOUT)


@router.post("/start_compaction", response_class=Response, responses=_EMPTY)
async def start_compaction(process: Reached) -> Response:
    """Compact what a pipeline stores."""
    return await process.relay("POST", "/start_compaction", timeout=MAINTENANCE_TIMEOUT)


async def advance_clock(advance: ClockAdvance, request: Request, process: Reached) -> Response:
    """Move the clock of a pipeline whose time is driven over HTTP (`dev_tweaks.now_http_driven`)."""
    return await process.relay("POST", "/clock/advance", content=await request.body())


router.add_api_route(
    "/clock/advance",
    advance_clock,
    methods=["POST"],
    response_model=Clock,
    responses={**CHOSEN, 413: documented(plain=[413])[413]},
    route_class_override=JsonRoute,
)

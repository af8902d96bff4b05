"""What a running pipeline says of itself: statistics, metrics, profiles (contract §5.6, §5.7)."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.data_plane import CHOSEN, RELAYED, Reached, streamed
from api.parse import Flag
from api.shapes import ErrorResponse, TimeSeries

PROFILE_TIMEOUT = 120.0
"""Seconds until a profile begins (contract §1.11)."""

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Observation"])

_METRICS: dict[int | str, dict[str, Any]] = {
    **CHOSEN,
    200: {
        "description": "The metrics, in the format that was asked for.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
        },
    },
}
_RUNNING: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorResponse, "description": "SamplyProfilingInProgress"}
}


@router.get("/stats", response_model=dict[str, object], responses=CHOSEN)
async def stats(process: Reached, include_connector_errors: Flag = False) -> Response:
    """Show the counters of a running pipeline."""
    return await process.relay("GET", "/stats")


@router.get("/metrics", response_class=Response, responses=_METRICS)
async def metrics(process: Reached, format: Literal["prometheus", "json"] = "prometheus") -> Response:
    """Show the metrics of a running pipeline."""
    return await process.relay("GET", "/metrics")


@router.get("/time_series", response_model=TimeSeries, responses=RELAYED)
async def time_series(process: Reached) -> Response:
    """Show what a pipeline processed and held in each second of the last minute."""
    return await process.relay("GET", "/time_series")


@router.get(
    "/time_series_stream",
    response_class=Response,
    responses=streamed("application/x-ndjson", "The samples so far, then each as it is taken."),
)
async def time_series_stream(process: Reached) -> Response:
    """Follow what a pipeline processes and holds."""
    return await process.relay("GET", "/time_series_stream", timeout=None)


@router.get(
    "/circuit_profile",
    response_class=Response,
    responses=streamed("application/zip", "What the views cost, as an archive."),
)
async def circuit_profile(process: Reached) -> Response:
    """Profile a pipeline."""
    return await process.relay("GET", "/dump_profile", timeout=PROFILE_TIMEOUT)


@router.get(
    "/circuit_json_profile",
    response_class=Response,
    responses=streamed("application/json", "What the views cost; compressed where that is accepted."),
)
async def circuit_json_profile(process: Reached) -> Response:
    """Profile a pipeline."""
    return await process.relay("GET", "/dump_json_profile", timeout=PROFILE_TIMEOUT)


@router.get(
    "/heap_profile",
    response_class=Response,
    responses=streamed("application/protobuf", "What holds memory, in the format of pprof."),
)
async def heap_profile(process: Reached) -> Response:
    """Profile the memory of a pipeline."""
    return await process.relay("GET", "/heap_profile", timeout=PROFILE_TIMEOUT)


@router.post(
    "/samply_profile",
    status_code=202,
    response_class=Response,
    responses=CHOSEN | _RUNNING | {202: {"description": "It has begun.", "content": {}}},
)
async def start_samply_profile(
    process: Reached, duration_secs: Annotated[int, Query(ge=1, description="How long to look.")] = 30
) -> Response:
    """Begin to look where a pipeline spends its time."""
    return await process.relay("POST", "/samply_profile")


@router.get(
    "/samply_profile",
    response_class=Response,
    responses={
        **CHOSEN,
        200: {"description": "The newest profile.", "content": {"application/gzip": {}}},
        204: {"description": "It is being made; `Retry-After` says when to ask again.", "content": {}},
    },
)
async def samply_profile(process: Reached, latest: Flag = False) -> Response:
    """Fetch the newest profile, or (`latest`) the one that is being made."""
    return await process.relay("GET", "/samply_profile", timeout=None)

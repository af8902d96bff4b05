"""Checkpoints of a running pipeline: its process makes, pushes and lists them (contract §2.8)."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from api.data_plane import RELAYED, Reached
from api.maintenance import MAINTENANCE_TIMEOUT
from api.shapes import Timestamp

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Checkpoints"])

_OF_ONE_PROCESS: dict[str, Any] = {
    "parameters": [
        {
            "name": "incarnation_uuid",
            "in": "query",
            "schema": {"type": "string", "format": "uuid"},
            "description": "Which process is meant; another one refuses with IncarnationUuidMismatch.",
        }
    ]
}


class Checkpoint(BaseModel):
    """A checkpoint that a pipeline keeps."""

    uuid: str
    identifier: str | None
    fingerprint: int
    size: int | None
    steps: int | None
    processed_records: int | None


class RemoteCheckpoint(BaseModel):
    """A checkpoint in the object store of a pipeline."""

    uuid: str


class CheckpointBegun(BaseModel):
    """A checkpoint that a process was asked for."""

    checkpoint_sequence_number: int
    """Which one it is of this process, counted from 0."""
    incarnation_uuid: str
    """Which process that is."""


class CheckpointFailure(BaseModel):
    """The last checkpoint that could not be made."""

    sequence_number: int
    error: str
    failed_at: Timestamp


class CheckpointStatus(BaseModel):
    """What has become of the checkpoints that a process was asked for."""

    success: int | None
    """The highest number that is finished."""
    failure: CheckpointFailure | None


class SyncBegun(BaseModel):
    """A push to the object store that a process was asked for."""

    checkpoint_uuid: str
    incarnation_uuid: str


class SyncFailure(BaseModel):
    """The last checkpoint that could not be pushed."""

    uuid: str
    error: str


class SyncStatus(BaseModel):
    """What has become of the pushes of a process."""

    success: str | None
    """The last that was asked for and is there."""
    failure: SyncFailure | None
    periodic: str | None
    """The last that was pushed without being asked for."""
    running: list[str] = []
    """Those that are being pushed."""


@router.post("/checkpoint", response_model=CheckpointBegun, responses=RELAYED)
async def make_checkpoint(process: Reached) -> Response:
    """Begin a checkpoint; its status tells when it is whole."""
    return await process.relay("POST", "/checkpoint", timeout=MAINTENANCE_TIMEOUT)


@router.get(
    "/checkpoint_status", response_model=CheckpointStatus, responses=RELAYED, openapi_extra=_OF_ONE_PROCESS
)
async def checkpoint_status(process: Reached) -> Response:
    """Tell what has become of the checkpoints that were begun."""
    return await process.relay("GET", "/checkpoint_status")


@router.post("/checkpoint/sync", status_code=202, response_model=SyncBegun, responses=RELAYED)
async def sync_checkpoint(process: Reached) -> Response:
    """Begin to push the newest checkpoint to the pipeline's object store."""
    return await process.relay("POST", "/checkpoint/sync", timeout=MAINTENANCE_TIMEOUT)


@router.get(
    "/checkpoint/sync_status", response_model=SyncStatus, responses=RELAYED, openapi_extra=_OF_ONE_PROCESS
)
async def sync_checkpoint_status(process: Reached) -> Response:
    """Tell what has become of the pushes that were begun."""
    return await process.relay("GET", "/checkpoint/sync_status")


@router.get("/checkpoints", response_model=list[Checkpoint], responses=RELAYED)
async def list_checkpoints(process: Reached) -> Response:
    """List the checkpoints that a pipeline keeps, the newest first."""
    return await process.relay("GET", "/checkpoints")


@router.get("/checkpoints/remote", response_model=list[RemoteCheckpoint], responses=RELAYED)
async def list_remote_checkpoints(process: Reached) -> Response:
    """List the checkpoints in the pipeline's object store, which may take its time."""
    return await process.relay("GET", "/checkpoints/remote", timeout=MAINTENANCE_TIMEOUT)

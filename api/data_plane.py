"""The data plane: ingress, queries and statistics, passed on to the process (contract §2.0, §5)."""

from functools import partial
from urllib.parse import quote

import httpx
from fastapi import APIRouter
from starlette.responses import Response

from api import errors as answered
from api.answers import Relay
from api.backend import Backend, Behind
from api.parse import Tenant
from api.projection import Projection
from api.shapes import CompletionStatus, CompletionToken, ErrorResponse
from sluicegate import errors
from sluicegate.runtime_client import Outgoing, Unreachable

INGRESS_TIMEOUT = 30.0
READ_TIMEOUT = 10.0

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Data"])

PRECHECKS = answered.documented(
    errors.UnknownPipelineName,
    errors.PipelineInteractionNotDeployed,
    errors.PipelineUnavailable,
    errors.PipelineInteractionUnreachable,
    errors.PipelineMissingDeploymentLocation,
)
RELAYED = {
    **PRECHECKS,
    400: {"model": ErrorResponse, "description": "The process refused."},
    410: {"model": ErrorResponse, "description": "The process is about to end, or what is meant is gone."},
    500: {**PRECHECKS[500], "description": f"{PRECHECKS[500]['description']}, or the process failed."},
}
"""The refusals of every call that is passed on (contract §2.0)."""
_QUERY = [
    {"name": "sql", "in": "query", "required": True, "schema": {"type": "string"}},
    {
        "name": "format",
        "in": "query",
        "schema": {"enum": ["text", "json", "parquet", "arrow_ipc", "hash"], "default": "text"},
    },
]


def _parameters(*names: str) -> dict[str, object]:
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


@router.post(
    "/ingress/{table_name}",
    response_model=CompletionToken,
    responses=RELAYED,
    openapi_extra=_parameters("format", "force", "array", "update_format", "json_flavor"),
)
async def ingress(pipeline_name: str, table_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Push rows into a table."""
    path = f"/ingress/{quote(table_name, safe='')}"
    return await relay(backend, tenant, pipeline_name, path, timeout=INGRESS_TIMEOUT)


@router.get(
    "/query",
    response_class=Response,
    responses={**RELAYED, 200: {"description": "The rows, in the format that was asked for."}},
    openapi_extra={"parameters": _QUERY},
)
async def query(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Run an ad-hoc query; it takes as long as it takes."""
    return await relay(backend, tenant, pipeline_name, "/query", timeout=None)


@router.get("/stats", response_model=dict[str, object], responses=RELAYED)
async def stats(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show the counters of a running pipeline."""
    return await relay(backend, tenant, pipeline_name, "/stats", timeout=READ_TIMEOUT)


@router.get(
    "/completion_status",
    response_model=CompletionStatus,
    responses=RELAYED,
    openapi_extra=_parameters("token"),
)
async def completion_status(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Tell whether what a token stands for has been processed."""
    return await relay(backend, tenant, pipeline_name, "/completion_status", timeout=READ_TIMEOUT)


async def relay(backend: Backend, tenant_id: str, name: str, path: str, *, timeout: float | None) -> Response:
    """Pass a request on to the process of a pipeline, with so many seconds until its answer begins.

    Raises what contract §2.0 says, in its order.
    """
    shown = await backend.reader.projection(tenant_id, name)
    return Relay(partial(_forward, backend, shown, address(shown)), path.encode(), timeout=timeout)


def address(shown: Projection) -> str:
    """Where the process of a pipeline answers. Raises what contract §2.0 says, in its order."""
    status, name = shown.status, shown.name
    if status["deployment_resources_status"] != "Provisioned":
        raise errors.PipelineInteractionNotDeployed(
            pipeline_name=name,
            status=status["deployment_resources_status"],
            desired_status=status["deployment_resources_desired_status"],
        )
    if status["deployment_runtime_status"] in (None, "Unavailable"):
        raise errors.PipelineUnavailable(pipeline_name=name)
    if not shown.location:
        raise errors.PipelineMissingDeploymentLocation(pipeline_name=name)
    return shown.location


async def _forward(backend: Backend, shown: Projection, location: str, outgoing: Outgoing) -> httpx.Response:
    try:
        return await backend.runtimes.forward(location, shown.status["deployment_id"], outgoing)
    except Unreachable as silence:
        request = f"{outgoing.method} {outgoing.target.partition(b'?')[0].decode()}"
        raise errors.PipelineInteractionUnreachable(
            pipeline_name=shown.name, request=request, error=str(silence)
        ) from silence

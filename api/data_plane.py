"""The data plane: rows in and out, queries, transactions, passed on to the process (contract §2.0, §5)."""

from functools import partial
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import errors as answered
from api.answers import Forward, Relay
from api.backend import Backend, Behind
from api.parse import Tenant
from api.projection import Projection
from api.shapes import CompletionStatus, CompletionToken, ErrorResponse, Transaction
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
RELAYED: dict[int | str, dict[str, Any]] = {
    **PRECHECKS,
    400: {"model": ErrorResponse, "description": "The process refused."},
    410: {"model": ErrorResponse, "description": "The process is about to end, or what is meant is gone."},
    500: {**PRECHECKS[500], "description": f"{PRECHECKS[500]['description']}, or the process failed."},
}
"""The refusals of every call that is passed on (contract §2.0)."""
CHOSEN = {**RELAYED, 400: {**RELAYED[400], **answered.documented(plain=[400])[400]}}
"""The same, where we refuse what is malformed before."""
_CROWDED: dict[int | str, dict[str, Any]] = {
    429: {"model": ErrorResponse, "description": "ApiConnectionLimit"}
}
_BUSY: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorResponse, "description": "TransactionInProgress"}
}


def _parameter(name: str, *values: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind, **({"enum": values} if values else {})}}


_QUERY = [
    {**_parameter("sql"), "required": True},
    _parameter("format", "text", "json", "parquet", "arrow_ipc", "hash"),
]
_INGRESS = [_parameter(name) for name in ("format", "force", "array", "update_format", "json_flavor")]
_EGRESS = [
    _parameter("format", "csv", "json"),
    *(_parameter(name, kind="boolean") for name in ("backpressure", "send_snapshot", "array")),
]


class Process(NamedTuple):
    """The process of a pipeline, which is looked up when something is passed on to it."""

    backend: Backend
    tenant_id: str
    pipeline: str

    async def relay(
        self, method: str, path: str, *, timeout: float | None = READ_TIMEOUT, content: bytes | None = None
    ) -> Response:
        """Pass a request on, with so many seconds until its answer begins.

        Raises what contract §2.0 says, in its order.
        """
        return Relay(
            await self.forwarder(), Outgoing(method, path.encode(), timeout=timeout), content=content
        )

    async def forwarder(self) -> Forward:
        """What passes requests on. Raises as `relay`."""
        shown = await self.backend.reader.projection(self.tenant_id, self.pipeline)
        return partial(_forward, self.backend, shown, address(shown))


async def _process(pipeline_name: str, tenant: Tenant, backend: Behind) -> Process:
    return Process(backend, tenant, pipeline_name)


Reached = Annotated[Process, Depends(_process)]


def streamed(kind: str, description: str) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that is passed on as it comes."""
    return {**RELAYED, 200: {"description": description, "content": {kind: {}}}}


@router.post(
    "/ingress/{table_name}",
    response_model=CompletionToken,
    responses=RELAYED | _CROWDED,
    openapi_extra={"parameters": _INGRESS},
)
async def ingress(table_name: str, process: Reached) -> Response:
    """Push rows into a table."""
    return await process.relay("POST", f"/ingress/{segment(table_name)}", timeout=INGRESS_TIMEOUT)


@router.post(
    "/egress/{view_or_table}",
    response_class=Response,
    responses=streamed("application/json", "Changes as they come, one JSON object a line.") | _CROWDED,
    openapi_extra={
        "parameters": _EGRESS,
        "requestBody": {
            "description": "The configuration of a connector, instead of `format` and `backpressure`.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    },
)
async def egress(view_or_table: str, process: Reached) -> Response:
    """Follow the changes of a view or table until either side ends it."""
    return await process.relay("POST", f"/egress/{segment(view_or_table)}", timeout=None)


@router.get(
    "/query",
    response_class=Response,
    responses={**RELAYED, 200: {"description": "The rows, in the format that was asked for."}},
    openapi_extra={"parameters": _QUERY},
)
async def query(process: Reached) -> Response:
    """Run an ad-hoc query; it takes as long as it takes."""
    return await process.relay("GET", "/query", timeout=None)


@router.get(
    "/completion_status",
    response_model=CompletionStatus,
    responses=RELAYED,
    openapi_extra={"parameters": [_parameter("token")]},
)
async def completion_status(process: Reached) -> Response:
    """Tell whether what a token stands for has been processed."""
    return await process.relay("GET", "/completion_status")


@router.post("/start_transaction", response_model=Transaction, responses=RELAYED | _BUSY)
async def start_transaction(process: Reached) -> Response:
    """Begin a transaction: views change once for all that comes until its commit."""
    return await process.relay("POST", "/start_transaction")


@router.post("/commit_transaction", response_model=str, responses=RELAYED | _BUSY)
async def commit_transaction(process: Reached) -> Response:
    """Begin to commit the transaction that is open; the statistics tell when it is done."""
    return await process.relay("POST", "/commit_transaction")


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


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

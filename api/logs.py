"""The log of a pipeline, passed on from the host that keeps it, in every status (contract §5.8)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import httpx
from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api import errors as answered
from api.answers import Relay
from api.backend import Backend, Behind
from api.parse import Tenant
from api.projection import Projection
from sluicegate import errors
from sluicegate.lifecycle.effects import Host
from sluicegate.lifecycle.values import rfc3339
from sluicegate.logs import CURSOR
from sluicegate.runtime_client import Outgoing, Unreachable, parts

LOOK_EVERY = 1.0
"""Seconds between looks for a host, while a pipeline that was never deployed is followed."""
_HEADERS = {"X-Content-Type-Options": "nosniff"}

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Data"])


@router.get(
    "/logs",
    response_class=Response,
    responses={
        **answered.documented(errors.UnknownPipelineName, errors.RunnerInteractionUnreachable, plain=[400]),
        200: {"description": "The lines so far, then each line as it comes.", "content": {"text/plain": {}}},
    },
)
async def logs(
    pipeline_name: str,
    tenant: Tenant,
    backend: Behind,
    cursor: Annotated[
        str | None,
        Query(
            pattern=f"^{CURSOR.pattern}$",
            description="Go on after what was read: `<epoch>:<lines>`, from the headers of an earlier answer"
            " and the lines that it had; empty for the beginning. Headers then say where the answer begins.",
        ),
    ] = None,
) -> Response:
    """Follow the log of a pipeline."""
    shown = await backend.reader.projection(tenant, pipeline_name)
    if shown.logs is None:
        lines = _before_any_host(backend, tenant, shown)
        headers = _HEADERS if cursor is None else {**_HEADERS, **_beginning(shown)}
        return StreamingResponse(lines, media_type="text/plain; charset=utf-8", headers=headers)
    return Relay(partial(_forward, backend, shown.logs), Outgoing("GET", _path(shown)))


def _beginning(shown: Projection) -> dict[str, str]:
    """The position of lines that no host keeps, in an epoch that none knows: who comes back gets them all."""
    return {"feldera-logs-epoch": shown.id, "feldera-logs-seq": "0", "feldera-logs-gap": "0"}


def _path(shown: Projection) -> bytes:
    return f"/logs/{shown.id}".encode()


async def _forward(backend: Backend, host: Host, outgoing: Outgoing) -> httpx.Response:
    try:
        return await backend.hosts.forward(host.logs_address, host.host_id, outgoing)
    except Unreachable as silence:
        raise errors.RunnerInteractionUnreachable(error=str(silence)) from silence


async def _before_any_host(backend: Backend, tenant_id: str, shown: Projection) -> AsyncIterator[bytes]:
    """Say that nothing has happened yet, wait for the first deployment, go on with its host's log."""
    at = rfc3339(datetime.now(UTC))
    yield f"Fresh start of pipeline logs ({at}): {shown.name} has not been deployed yet\n".encode()
    try:
        host = await _first_host(backend, tenant_id, shown)
        answer = await _forward(backend, host, Outgoing("GET", _path(shown)))
    except errors.Refusal as refused:
        yield f"The logs end here: {refused.message}\n".encode()
        return
    try:
        async for part in parts(answer):
            yield part
    except Unreachable as silence:
        yield f"The logs end here: {silence}\n".encode()
    finally:
        await answer.aclose()


async def _first_host(backend: Backend, tenant_id: str, shown: Projection) -> Host:
    """Wait for the host of a pipeline. Raises UnknownPipelineName when it is deleted before."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        now = await backend.reader.projection(tenant_id, shown.name)
        if now.id != shown.id:
            raise errors.UnknownPipelineName(pipeline_name=shown.name)
        if now.logs is not None:
            return now.logs

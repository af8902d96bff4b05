"""Support bundles: an archive with what was collected of a pipeline now and earlier (contract §5.9).

    metadata.txt, metadata.json            what is in here, and why other things are not
    <moment>/stats.json, <moment>/logs.txt …  one folder for each collection, the newest `limit` of them

What is collected is left with the pipeline's host, which keeps the newest beside the log until the pipeline
is deleted; so it is found through every process of the front end. Where there is no host yet, there is only
what is collected now.
"""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.collecting import PARTS, Found, Subject, collect, content, files_of
from api.data_plane import Reached
from api.errors import documented
from api.parse import Flag
from sluicegate import errors
from sluicegate.lifecycle.effects import Host
from sluicegate.lifecycle.values import rfc3339
from sluicegate.runtime_client import Outgoing, Unreachable

AT_ONCE = 2
"""Bundles that one process makes at a time: each is put together in memory."""
WITHIN = 20.0
"""Seconds that a host may take to give or take collections."""
LARGEST = 128 << 20
"""Bytes of all collections that a host keeps."""
_METADATA = "metadata.json"
_turns = asyncio.Semaphore(AT_ONCE)
_log = structlog.get_logger()

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Observation"])


class Wanted(BaseModel):
    """What a bundle is to hold."""

    collect: Flag = Field(True, description="Collect now; otherwise only what was collected earlier.")
    limit: int | None = Field(None, description="Collections at the most.", json_schema_extra={"minimum": 1})
    circuit_profile: Flag = True
    heap_profile: Flag = True
    metrics: Flag = True
    logs: Flag = True
    stats: Flag = True
    pipeline_config: Flag = True
    system_config: Flag = True
    dataflow_graph: Flag = True
    pipeline_events: Flag = True

    @property
    def parts(self) -> list[str]:
        """The parts that are switched on."""
        return [part for part in PARTS if getattr(self, part)]


@router.get(
    "/support_bundle",
    response_class=Response,
    responses={
        **documented(errors.InvalidSupportBundleParameter, errors.UnknownPipelineName, plain=[400]),
        200: {"description": "The archive.", "content": {"application/zip": {}}},
    },
)
async def support_bundle(wanted: Annotated[Wanted, Query()], process: Reached) -> Response:
    """Collect what helps to find out what is wrong with a pipeline, in every status."""
    if wanted.limit is not None and wanted.limit < 1:
        raise errors.InvalidSupportBundleParameter(reason="the limit is at least 1")
    shown = await process.backend.reader.projection(process.tenant_id, process.pipeline)
    async with _turns:
        collections = {moment: found async for moment, found in _collections(Subject(process, shown), wanted)}
        archive = await asyncio.to_thread(_archive, _about(shown.status, collections), collections)
    headers = {
        "Content-Disposition": f'attachment; filename="{shown.name}-support-bundle.zip"',
        "Cache-Control": "no-cache",
    }
    return Response(archive, media_type="application/zip", headers=headers)


async def _collections(subject: Subject, wanted: Wanted) -> AsyncIterator[tuple[str, Found]]:
    """The newest collections, with the parts that are wanted."""
    if not wanted.parts:
        return
    left, host = wanted.limit or LARGEST, subject.shown.logs
    earlier = await _kept(subject, host) if host is not None else {}
    if wanted.collect:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        found = await collect(subject, wanted.parts)
        yield moment, found
        left -= 1
        if host is not None:
            await _keep(subject, host, moment, found)
    names = files_of(wanted.parts)
    for moment, data in list(earlier.items())[:left]:
        found = await asyncio.to_thread(_unpacked, data, names)
        if found.files or found.failed:
            yield moment, found


async def _kept(subject: Subject, host: Host) -> dict[str, bytes]:
    """What the host keeps, newest first; nothing where it does not answer."""
    outgoing = Outgoing("GET", f"/collected/{subject.shown.id}".encode(), timeout=WITHIN)
    try:
        answer = await subject.backend.hosts.forward(host.logs_address, host.host_id, outgoing)
        with zipfile.ZipFile(io.BytesIO(await content(answer, LARGEST))) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (Unreachable, ValueError, zipfile.BadZipFile) as trouble:
        _log.warning("no earlier collections", pipeline=subject.shown.name, error=str(trouble))
        return {}


async def _keep(subject: Subject, host: Host, moment: str, found: Found) -> None:
    """Leave a collection with the host; a bundle does not depend on it."""
    data = await asyncio.to_thread(_packed, found)

    async def whole() -> AsyncIterator[bytes]:
        yield data

    headers = [("content-length", str(len(data)))]
    target = f"/collected/{subject.shown.id}/{moment}".encode()
    outgoing = Outgoing("PUT", target, headers, whole(), WITHIN)
    try:
        await content(await subject.backend.hosts.forward(host.logs_address, host.host_id, outgoing))
    except (Unreachable, ValueError) as trouble:
        _log.warning("collection not kept", pipeline=subject.shown.name, error=str(trouble))


def _packed(found: Found) -> bytes:
    return _zipped({**found.files, _METADATA: json.dumps({"failed": dict(found.failed)}).encode()})


def _unpacked(data: bytes, names: frozenset[str]) -> Found:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        failed: dict[str, str] = json.loads(archive.read(_METADATA))["failed"]
        files = {name: archive.read(name) for name in archive.namelist() if name in names}
    return Found(files, {name: why for name, why in failed.items() if name in names})


def _about(status: Mapping[str, Any], collections: Mapping[str, Found]) -> dict[str, Any]:
    return {
        "pipeline_name": status["name"],
        "pipeline_id": status["id"],
        "deployment_status": status["deployment_status"],
        "made_at": rfc3339(datetime.now(UTC)),
        "collections": [
            {"directory": moment, "files": sorted(found.files), "failed": dict(found.failed)}
            for moment, found in collections.items()
        ],
    }


def _archive(about: Mapping[str, Any], collections: Mapping[str, Found]) -> bytes:
    files = {
        f"{moment}/{name}": data
        for moment, found in collections.items()
        for name, data in found.files.items()
    }
    metadata = {"metadata.txt": _told(about).encode(), _METADATA: json.dumps(about, indent=2).encode()}
    return _zipped({**metadata, **files})


def _told(about: Mapping[str, Any]) -> str:
    """The metadata for a person."""
    lines = [f"{key}: {value}" for key, value in about.items() if key != "collections"]
    for collection in about["collections"]:
        lines += ["", f"{collection['directory']}/", *(f"  {name}" for name in collection["files"])]
        lines += [f"  {name} is missing: {why}" for name, why in collection["failed"].items()]
    return "\n".join(lines) + "\n"


def _zipped(files: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return whole.getvalue()

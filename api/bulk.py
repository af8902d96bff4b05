"""Bulk operations: one verb for every pipeline that carries a tag (docs/additions.md).

What carries the tag when the call comes is what is meant; the rest is a workflow's (`workflows/bulk.py`).
"""

import asyncio
import random
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.responses import JSONResponse, Response

from api.answers import fresh
from api.backend import Backend, Behind
from api.errors import documented
from api.parse import Called, Caller, JsonRoute, Tenant
from api.rpc import AlreadyThere, BufferFull, NoSuchWorkflow, Run, Unanswered
from api.shapes import Timestamp
from api.verbs import check_flags
from sluicegate import errors, temporal
from sluicegate.lifecycle import edits, refusals
from sluicegate.lifecycle.bulk import MAX_AT_ONCE, MAX_PAGE, MAX_PIPELINES, Bulk, Outcome, Page
from sluicegate.lifecycle.commands import Start, Stop

router = APIRouter(prefix="/v0/bulk", tags=["Bulk"], route_class=JsonRoute)

ANSWERED_WITHIN = 4.0
FIRST_PAGE = 100
CANCELLED = "No further pipeline is told; those that have been told are waited for."
_READ = (errors.UnknownBulk, errors.NotAnsweredYet)


class _NewBulk(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tag: StrictStr = Field(
        min_length=1,
        max_length=edits.MAX_TAG,
        description="All pipelines that carry it at this moment are meant.",
    )
    at_once: StrictInt = Field(
        10, ge=1, le=MAX_AT_ONCE, description="How many are on their way at the same time."
    )


class BulkStart(_NewBulk):
    """Start them."""

    verb: Literal["start"]
    arguments: Start = Start()


class BulkStop(_NewBulk):
    """Stop them."""

    verb: Literal["stop"]
    arguments: Stop = Stop()


class BulkPipeline(BaseModel):
    """One of the pipelines."""

    name: str
    pipeline_id: str
    outcome: Outcome = Field(
        description="`failed`: it came to rest elsewhere; `gone`: it was deleted or renamed meanwhile;"
        " `dropped`: the operation was cancelled before its turn."
    )
    since: Timestamp | None
    status: str | None = Field(description="The deployment status that it was seen in at its end.")
    error_code: str | None
    message: str | None


class BulkCounts(BaseModel):
    """How many pipelines there are of each outcome."""

    waiting: int
    working: int
    done: int
    refused: int
    failed: int
    gone: int
    dropped: int


class BulkInfo(BaseModel):
    """A bulk operation, and a page of its pipelines in an order that stays."""

    id: str
    verb: Literal["start", "stop"]
    tag: str
    at_once: int
    arguments: dict[str, Any]
    state: Literal["running", "cancelling", "cancelled", "finished"]
    created_at: Timestamp
    cancelled_at: Timestamp | None
    finished_at: Timestamp | None
    counts: BulkCounts
    pipelines: list[BulkPipeline]
    next_offset: int | None = Field(description="Where the next page begins; null on the last one.")


@router.post(
    "",
    status_code=202,
    response_model=BulkInfo,
    responses=documented(
        refusals.InvalidTag,
        refusals.InvalidBootstrapConfig,
        errors.TooManyPipelines,
        errors.InvalidIdempotencyKey,
        refusals.IdempotencyKeyReused,
        errors.NotAnsweredYet,
        plain=[400, 413],
    ),
)
async def begin_bulk(
    new: Annotated[BulkStart | BulkStop, Body(discriminator="verb")], caller: Called, backend: Behind
) -> Response:
    """Start or stop all pipelines that carry a tag, so many at a time."""
    edits.check_tags((new.tag,))
    if isinstance(new.arguments, Start):
        flags = new.arguments
        check_flags(silent=flags.silent_bootstrap, concurrent=flags.concurrent_bootstrap)
    shown = await _begun(backend, await _bulk(backend, caller, new))
    return JSONResponse(shown, 202, headers={"Location": f"/v0/bulk/{shown['id']}"})


@router.get("/{bulk_id}", response_model=BulkInfo, responses=documented(*_READ, plain=[400]))
async def get_bulk(
    bulk_id: str,
    tenant: Tenant,
    backend: Behind,
    offset: Annotated[int, Query(ge=0, le=MAX_PIPELINES, description="The first pipeline shown.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many are shown.")] = FIRST_PAGE,
) -> Response:
    """Show how a bulk operation stands; one that has ended can be asked for while Temporal retains it."""
    page = Page(offset=offset, limit=limit)
    shown = await _progress(backend, _workflow_id(tenant, bulk_id), page)
    if shown is None:
        raise errors.UnknownBulk(bulk_id=bulk_id)
    return fresh(_without_fingerprint(shown))


@router.post("/{bulk_id}/cancel", status_code=202, response_model=str, responses=documented(*_READ))
async def cancel_bulk(bulk_id: str, tenant: Tenant, backend: Behind) -> Response:
    """Hand nothing more out; pipelines that have been told already go on. A second time changes nothing."""
    workflow = _workflow_id(tenant, bulk_id)
    try:
        await backend.rpc.signal(workflow, "cancel", {}, str(uuid.uuid4()))
    except NoSuchWorkflow:
        if await _progress(backend, workflow, Page(limit=0)) is None:
            raise errors.UnknownBulk(bulk_id=bulk_id) from None
    return JSONResponse(CANCELLED, 202, headers={"Location": f"/v0/bulk/{bulk_id}"})


async def _bulk(backend: Backend, caller: Caller, new: BulkStart | BulkStop) -> Bulk:
    """Make the operation. Its id follows from the caller's key: the same key, the same operation."""
    listed = await backend.listing.projections(caller.tenant_id)
    found = sorted((shown for shown in listed if new.tag in shown.status["tags"]), key=lambda shown: shown.id)
    if len(found) > MAX_PIPELINES:
        raise errors.TooManyPipelines(tag=new.tag, count=len(found), maximum=MAX_PIPELINES)
    return Bulk.new(
        datetime.now(UTC),
        [(shown.name, shown.id) for shown in found],
        id=str(uuid.UUID(caller.request_id)),
        tenant_id=caller.tenant_id,
        actor=caller.actor,
        **new.model_dump(mode="json"),
    )


async def _begun(backend: Backend, bulk: Bulk) -> dict[str, Any]:
    """Begin it, or find that it has begun. Raises IdempotencyKeyReused, NotAnsweredYet."""
    workflow, page = temporal.bulk_workflow_id(bulk.tenant_id, bulk.id), Page(limit=FIRST_PAGE)
    try:
        await backend.rpc.begin("Bulk", workflow, bulk.encoded(), f"{bulk.verb} what is tagged {bulk.tag}")
    except AlreadyThere:
        shown = await _progress(backend, workflow, page)
        if shown is None:
            raise errors.NotAnsweredYet from None
        if shown["fingerprint"] != bulk.fingerprint:
            raise refusals.IdempotencyKeyReused(request_id=bulk.id) from None
        return _without_fingerprint(shown)
    return bulk.shown(page)


async def _progress(backend: Backend, workflow: str, page: Page) -> dict[str, Any] | None:
    """Ask how an operation stands, open or not; None where there is none. Raises NotAnsweredYet."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + ANSWERED_WITHIN
    while (left := deadline - clock()) > 0:
        try:
            answer: dict[str, Any] = await backend.rpc.query(
                workflow, "progress", page, within=left, run=Run.ANY
            )
        except BufferFull:
            await asyncio.sleep(random.uniform(0.01, 0.05))
        except NoSuchWorkflow:
            return None
        except Unanswered:
            break
        else:
            return answer
    raise errors.NotAnsweredYet


def _workflow_id(tenant_id: str, bulk_id: str) -> str:
    """Find the workflow. Raises UnknownBulk for what cannot be an id."""
    try:
        return temporal.bulk_workflow_id(tenant_id, str(uuid.UUID(bulk_id)))
    except ValueError:
        raise errors.UnknownBulk(bulk_id=bulk_id) from None


def _without_fingerprint(shown: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key != "fingerprint"}

"""Pipelines as resources: create, list, get, replace, patch, delete (contract §3)."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api import waiting
from api.answers import fresh, unless_hung_up
from api.backend import Behind
from api.descriptors import platform_pretence, platform_update
from api.errors import documented
from api.parse import Called, JsonRoute, Tenant
from api.shapes import Dataflow, NewPipeline, PatchPipeline, PipelineInfo, PipelineSelectedInfo, Selector
from api.waiting import Wait
from sluicegate import errors
from sluicegate.lifecycle import refusals

router = APIRouter(prefix="/v0/pipelines", tags=["Pipelines"], route_class=JsonRoute)

Selected = Annotated[Selector, Query(description="How much of each pipeline is shown.")]

MAX_VERSION = 100
"""Characters of a platform version."""


async def _waited(
    pipeline_name: str,
    tenant: Tenant,
    backend: Behind,
    wait_for: Annotated[
        str | None,
        Query(
            pattern=waiting.WAIT_FOR,
            description="Answer when the pipeline is one of these comma-separated: deployment statuses in"
            " snake case, `compiled`, `cleared`. `stopped` is one that shall not run either.",
        ),
    ] = None,
    timeout: Annotated[
        str,
        Query(
            pattern=waiting.TIMEOUT,
            description="How long to wait: `500ms`, `30s`, `2m`; at most `5m`, or what the server is set to.",
        ),
    ] = waiting.DEFAULT,
) -> Wait:
    """Read what is waited for."""
    longest = timedelta(seconds=backend.settings.longest_wait)
    return Wait.of(tenant, pipeline_name, (wait_for, timeout), longest)


Waited = Annotated[Wait, Depends(_waited)]

_DESCRIPTOR = (
    errors.EmptyName,
    errors.TooLongName,
    errors.NameDoesNotMatchPattern,
    refusals.TooLongDescription,
    refusals.TooManyTags,
    refusals.InvalidTag,
    errors.InvalidRuntimeConfig,
    errors.InvalidProgramConfig,
    errors.InvalidIdempotencyKey,
    refusals.PipelineTooLarge,
    errors.DuplicateName,
    refusals.IdempotencyKeyReused,
    errors.NotAnsweredYet,
)
_EDIT = (
    *_DESCRIPTOR,
    refusals.UpdateRestrictedToStopped,
    refusals.EditRestrictedToClearedStorage,
    errors.OutcomeUnknown,
)


@router.get(
    "",
    response_model=list[PipelineSelectedInfo],
    responses=documented(errors.NotAnsweredYet, plain=[400]),
)
async def list_pipelines(tenant: Tenant, backend: Behind, selector: Selected = "all") -> Response:
    """List all pipelines, in the order of their creation."""
    return fresh(await backend.listing.pipelines(tenant, selector))


@router.get(
    "/{pipeline_name}",
    response_model=PipelineSelectedInfo,
    responses=documented(
        errors.UnknownPipelineName,
        errors.NotAnsweredYet,
        errors.WaitInVain,
        errors.WaitTimedOut,
        errors.TooManyWatchers,
        errors.ShuttingDown,
        plain=[400],
    ),
)
async def get_pipeline(
    pipeline_name: str, wait: Waited, request: Request, backend: Behind, selector: Selected = "all"
) -> Response:
    """Show a pipeline, at once or when it is what is waited for; `status` needs no worker."""
    tenant = wait.tenant_id
    if not wait.words:
        return fresh(await backend.reader.selected(tenant, pipeline_name, selector))
    shown = await unless_hung_up(request, backend.waiting.reached(wait))
    return fresh(await backend.reader.answer(tenant, shown, selector))


@router.get(
    "/{pipeline_name}/dataflow_graph",
    response_model=Dataflow,
    responses=documented(
        errors.UnknownPipelineName,
        errors.ProgramNotCompiled,
        errors.ProgramInfoMissesDataflow,
        errors.NotAnsweredYet,
    ),
)
async def get_dataflow_graph(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show what the program computes from what, and how each view follows its tables."""
    return fresh(await backend.reader.dataflow(tenant, pipeline_name))


@router.post(
    "", status_code=201, response_model=PipelineInfo, responses=documented(*_DESCRIPTOR, plain=[400, 413])
)
async def post_pipeline(new: NewPipeline, caller: Called, backend: Behind) -> Response:
    """Create a pipeline; its program is compiled at once."""
    return fresh(await backend.gateway.create(caller, new), status=201)


@router.put(
    "/{pipeline_name}",
    response_model=PipelineInfo,
    responses={
        **documented(*_EDIT, errors.CannotRenameNonExistingPipeline, plain=[400, 413]),
        201: {"model": PipelineInfo, "description": "It did not exist and was created."},
    },
)
async def put_pipeline(pipeline_name: str, new: NewPipeline, caller: Called, backend: Behind) -> Response:
    """Replace a pipeline, or create it."""
    created, info = await backend.gateway.replace(caller, pipeline_name, new)
    return fresh(info, status=201 if created else 200)


@router.patch(
    "/{pipeline_name}",
    response_model=PipelineInfo,
    responses=documented(*_EDIT, errors.UnknownPipelineName, plain=[400, 413]),
)
async def patch_pipeline(
    pipeline_name: str, patch: PatchPipeline, caller: Called, backend: Behind
) -> Response:
    """Change what is given."""
    return fresh(await backend.gateway.patch(caller, pipeline_name, patch))


@router.delete(
    "/{pipeline_name}",
    response_class=Response,
    responses={
        **documented(
            errors.UnknownPipelineName,
            refusals.DeleteRestrictedToFullyStopped,
            refusals.DeleteRestrictedToClearedStorage,
            errors.InvalidIdempotencyKey,
            refusals.IdempotencyKeyReused,
            errors.OutcomeUnknown,
        ),
        200: {"description": "It is gone, and its name is free.", "content": {}},
    },
)
async def delete_pipeline(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Delete a stopped pipeline whose storage is cleared."""
    await backend.gateway.delete(caller, pipeline_name)
    return Response(headers={"Cache-Control": "no-cache"})


@router.post(
    "/{pipeline_name}/update_runtime",
    response_model=PipelineInfo,
    responses=documented(
        errors.UnknownPipelineName,
        refusals.UpdateRestrictedToStopped,
        errors.InvalidIdempotencyKey,
        refusals.IdempotencyKeyReused,
        errors.OutcomeUnknown,
    ),
)
async def update_runtime(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Move a stopped pipeline to the current platform, which compiles it again; nothing to do is no error."""
    return fresh(await backend.gateway.edit(caller, pipeline_name, platform_update(caller)))


@router.post(
    "/{pipeline_name}/testing",
    response_class=Response,
    responses={
        **documented(
            errors.UnsupportedPipelineAction,
            errors.UnknownPipelineName,
            errors.InvalidIdempotencyKey,
            refusals.IdempotencyKeyReused,
            errors.OutcomeUnknown,
            plain=[400],
        ),
        200: {"description": "It is done.", "content": {}},
    },
)
async def pretend_platform(
    pipeline_name: str,
    caller: Called,
    backend: Behind,
    set_platform_version: Annotated[str | None, Query(max_length=MAX_VERSION)] = None,
) -> Response:
    """Pretend that a pipeline was made on another platform; only with the unstable feature `testing`."""
    if "testing" not in backend.features:
        reason = "it needs the unstable feature 'testing', which is not enabled"
        raise errors.UnsupportedPipelineAction(action="/testing", reason=reason)
    await backend.gateway.edit(caller, pipeline_name, platform_pretence(caller, set_platform_version))
    return Response()

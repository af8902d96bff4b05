"""Lifecycle verbs: each call becomes a signal, its answer is the receipt of the workflow (contract §2).

A 2xx carries `Location`, the address of the request, which tells how it was decided; where nobody could
decide it yet that is the only place that does.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import JSONResponse, Response

from api.backend import Behind
from api.errors import body, documented
from api.gateway import Accepted
from api.parse import Called, Flag, Tenant
from api.reading import Found, outcome
from api.rpc import Unanswered
from api.shapes import RequestOutcome
from sluicegate import errors
from sluicegate.lifecycle import refusals
from sluicegate.lifecycle.commands import (
    Activate,
    Approve,
    Clear,
    DismissError,
    Pause,
    Resume,
    Start,
    Stop,
)
from sluicegate.lifecycle.record import Bootstrap
from sluicegate.lifecycle.status import BootstrapPolicy, Initial
from sluicegate.lifecycle.values import Origin, rfc3339

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Lifecycle"])

_ANY = (
    errors.UnknownPipelineName,
    errors.InvalidIdempotencyKey,
    refusals.IdempotencyKeyReused,
    refusals.Overloaded,
)
_STEERING = (errors.PipelineInteractionNotDeployed, errors.PipelineUnavailable, refusals.InvalidTransition)
_RECORDED: dict[int | str, dict[str, Any]] = {
    202: {"model": str, "description": "Nobody has decided it yet; its address tells later."}
}
_INITIAL = {initial.value.lower(): initial for initial in Initial}


def check_flags(*, silent: bool, concurrent: bool) -> None:
    """Raise InvalidBootstrapConfig for flags that exclude each other."""
    if silent and concurrent:
        reason = "silent_bootstrap and concurrent_bootstrap are mutually exclusive"
        raise refusals.InvalidBootstrapConfig(reason=reason)


async def _options(
    bootstrap_policy: Annotated[
        BootstrapPolicy, Query(description="What to do when a checkpoint was made by another program.")
    ] = BootstrapPolicy.AWAIT_APPROVAL,
    silent_bootstrap: Flag = False,
    concurrent_bootstrap: Flag = False,
    checkpoint: Annotated[
        Origin,
        Query(description="What it begins from: the UUID of a checkpoint, or `none`; else the newest."),
    ] = None,
) -> Bootstrap:
    """Read what a deployment begins from, and how."""
    return Bootstrap(
        policy=bootstrap_policy,
        silent=silent_bootstrap,
        concurrent=concurrent_bootstrap,
        checkpoint=checkpoint,
    )


async def _start(
    options: Annotated[Bootstrap, Depends(_options)],
    dismiss_error: Flag = True,
    initial: Annotated[str, Query(json_schema_extra={"enum": list(_INITIAL)})] = "running",
) -> Start:
    """Read the arguments of a start, in the order of contract §2.1, rows 1 to 3."""
    check_flags(silent=options.silent, concurrent=options.concurrent)
    if initial not in _INITIAL:
        reason = f"initial must be one of {', '.join(_INITIAL)}"
        raise errors.UnsupportedPipelineAction(action=f"/start?initial={initial}", reason=reason)
    return Start(
        initial=_INITIAL[initial],
        bootstrap_policy=options.policy,
        silent_bootstrap=options.silent,
        concurrent_bootstrap=options.concurrent,
        dismiss_error=dismiss_error,
        checkpoint=options.checkpoint,
    )


@router.post(
    "/start",
    status_code=202,
    response_model=str,
    responses=documented(
        *_ANY,
        refusals.InvalidBootstrapConfig,
        errors.UnsupportedPipelineAction,
        refusals.IllegalPipelineAction,
        refusals.CannotStartWithUndismissedError,
        refusals.CannotStartWhileClearingStorage,
        refusals.CannotStartWithCompilationError,
        refusals.InitialImmutableUnlessStopped,
        refusals.BootstrapPolicyImmutableUnlessStopped,
        refusals.InitialStandbyNotAllowed,
        plain=[400],
    ),
)
async def start(
    pipeline_name: str, verb: Annotated[Start, Depends(_start)], caller: Called, backend: Behind
) -> Response:
    """Deploy a pipeline; one that still compiles starts when it has compiled."""
    return _answer(await backend.gateway.command(caller, pipeline_name, "start", verb))


@router.post(
    "/stop",
    status_code=202,
    response_model=str,
    responses=documented(*_ANY, errors.PipelineUnavailable, refusals.InvalidTransition, plain=[400]),
)
async def stop(pipeline_name: str, caller: Called, backend: Behind, force: Flag = False) -> Response:
    """Stop a pipeline: after a checkpoint, or at once with `force`."""
    accepted = await backend.gateway.command(caller, pipeline_name, "stop", Stop(force=force))
    if accepted.decided:
        await backend.reader.moved(caller.tenant_id, pipeline_name, _shows_the_stop)
    return _answer(accepted)


@router.post("/pause", status_code=202, response_model=str, responses=documented(*_ANY, *_STEERING))
async def pause(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Stop taking input."""
    return _answer(await backend.gateway.command(caller, pipeline_name, "pause", Pause()))


@router.post("/resume", status_code=202, response_model=str, responses=documented(*_ANY, *_STEERING))
async def resume(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Take input again."""
    return _answer(await backend.gateway.command(caller, pipeline_name, "resume", Resume()))


@router.post(
    "/activate",
    status_code=202,
    response_model=str,
    responses=documented(*_ANY, *_STEERING, refusals.InvalidActivateStatus),
)
async def activate(
    pipeline_name: str,
    caller: Called,
    backend: Behind,
    initial: Annotated[str, Query(json_schema_extra={"enum": ["running", "paused"]})] = "running",
) -> Response:
    """Leave standby; a pipeline that is not in standby is resumed or paused."""
    return _answer(
        await backend.gateway.command(caller, pipeline_name, "activate", Activate(initial=initial))
    )


async def _approve(silent_bootstrap: Flag = False, concurrent_bootstrap: Flag = False) -> Approve:
    """Read the arguments of an approval."""
    check_flags(silent=silent_bootstrap, concurrent=concurrent_bootstrap)
    return Approve(silent_bootstrap=silent_bootstrap, concurrent_bootstrap=concurrent_bootstrap)


@router.post(
    "/approve",
    response_model=str,
    responses={
        **documented(
            *_ANY,
            refusals.InvalidBootstrapConfig,
            errors.PipelineInteractionNotDeployed,
            errors.PipelineUnavailable,
            plain=[400],
        ),
        **_RECORDED,
    },
)
async def approve(
    pipeline_name: str, verb: Annotated[Approve, Depends(_approve)], caller: Called, backend: Behind
) -> Response:
    """Approve the bootstrap that a pipeline waits with; its flags replace those of the start."""
    accepted = await backend.gateway.command(caller, pipeline_name, "approve", verb)
    if accepted.decided:
        await backend.reader.moved(caller.tenant_id, pipeline_name, _awaits_nothing)
    return _answer(accepted, status=200)


@router.post(
    "/clear",
    status_code=202,
    response_model=str,
    responses=documented(*_ANY, refusals.StorageStatusImmutableUnlessStopped),
)
async def clear(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Empty the storage of a stopped pipeline."""
    return _answer(await backend.gateway.command(caller, pipeline_name, "clear", Clear()))


@router.post(
    "/dismiss_error",
    response_model=str,
    responses={**documented(*_ANY, refusals.DismissErrorRestrictedToFullyStopped), **_RECORDED},
)
async def dismiss_error(pipeline_name: str, caller: Called, backend: Behind) -> Response:
    """Forget the last deployment error of a stopped pipeline."""
    accepted = await backend.gateway.command(caller, pipeline_name, "dismiss_error", DismissError())
    return _answer(accepted, status=200)


@router.get(
    "/requests/{request_id}",
    response_model=RequestOutcome,
    responses={
        **documented(errors.UnknownPipelineName, errors.UnknownRequest),
        202: {"model": RequestOutcome, "description": "Nobody has said yet how it was decided; ask again."},
    },
)
async def get_request(pipeline_name: str, request_id: str, tenant: Tenant, backend: Behind) -> Response:
    """Tell how a request was decided: 200 once that is known, 202 with status `pending` before.

    A 404 is certain: the request never arrived here, or was decided so long ago that its receipt is gone.
    """
    try:
        found = await outcome(backend.reader, tenant, pipeline_name, request_id)
    except Unanswered:
        return JSONResponse(_shown(request_id), 202, headers={"Retry-After": "1"})
    return JSONResponse(_shown(request_id, found), headers={"Cache-Control": "no-cache"})


def _answer(accepted: Accepted, status: int = 202) -> Response:
    return JSONResponse(
        accepted.words, status if accepted.decided else 202, headers={"Location": accepted.location}
    )


def _shows_the_stop(status: dict[str, Any]) -> bool:
    return status["deployment_desired_status"] in ("Stopped", "Suspended")


def _awaits_nothing(status: dict[str, Any]) -> bool:
    return bool(status["deployment_status"] != "AwaitingApproval")


def _shown(request_id: str, found: Found | None = None) -> dict[str, Any]:
    receipt = found.receipt if found else None
    if receipt is None:
        blank = {"decided_at": None, "outcome": None, "error": None}
        return {"request_id": request_id, "status": "pending", **blank}
    refusal = receipt.refusal()
    return {
        "request_id": request_id,
        "status": "refused" if refusal else "accepted",
        "decided_at": rfc3339(receipt.at),
        "outcome": None if refusal else receipt.info,
        "error": body(refusal) if refusal else None,
    }

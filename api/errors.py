"""Which refusal is which HTTP status, and how errors look on the wire (contract §0, §4.1).

This is the only place that knows both. A `Refusal` becomes an ErrorResponse; what the framework itself
refuses (a body that is not JSON, a query value of the wrong kind) is a line of plain text; an unknown route
is an empty 404.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path  # what the router itself matches
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.shapes import ErrorResponse
from sluicegate import errors
from sluicegate.codec import Undecodable
from sluicegate.errors import Refusal

RETRY_AFTER = {"Retry-After": "5"}
"""On every 503 of ours (contract §0)."""

STATUS: dict[str, int] = {
    "EmptyName": 400,
    "TooLongName": 400,
    "NameDoesNotMatchPattern": 400,
    "TooLongDescription": 400,
    "TooManyTags": 400,
    "InvalidTag": 400,
    "InvalidRuntimeConfig": 400,
    "InvalidProgramConfig": 400,
    "InvalidBootstrapConfig": 400,
    "InvalidIdempotencyKey": 400,
    "MessageNotUnderstood": 400,
    "CannotRenameNonExistingPipeline": 400,
    "IllegalPipelineAction": 400,
    "CannotStartWithUndismissedError": 400,
    "CannotStartWhileClearingStorage": 400,
    "CannotStartWithCompilationError": 400,
    "InitialImmutableUnlessStopped": 400,
    "BootstrapPolicyImmutableUnlessStopped": 400,
    "InitialStandbyNotAllowed": 400,
    "StorageStatusImmutableUnlessStopped": 400,
    "DismissErrorRestrictedToFullyStopped": 400,
    "UpdateRestrictedToStopped": 400,
    "EditRestrictedToClearedStorage": 400,
    "DeleteRestrictedToFullyStopped": 400,
    "DeleteRestrictedToClearedStorage": 400,
    "InvalidActivateStatus": 400,
    "InvalidTransition": 400,
    "PipelineTooLarge": 413,
    "StartFailedDueToFailedCompilation": 400,
    "Unexplained": 400,
    "InsufficientPermissions": 403,
    "EmptyOidcTrustField": 400,
    "InvalidOidcIssuerUrl": 400,
    "RoleExceedsCreator": 403,
    "NoTenantMemberships": 403,
    "NotATenantMember": 403,
    "OidcTenantNotTrusted": 403,
    "AmbiguousTenantMembership": 400,
    "AmbiguousOidcTenant": 400,
    "IdentityProviderUnavailable": 503,
    "OwnerAdminNotMintableAsApiKey": 403,
    "OwnerRoleNotAssignable": 403,
    "UnknownTenant": 404,
    "UnknownTenantName": 404,
    "UnknownApiKey": 404,
    "UnknownOidcTrust": 404,
    "UnknownUser": 404,
    "TenantNotEmpty": 409,
    "LimitReached": 409,
    "UnknownPipelineName": 404,
    "UnknownRequest": 404,
    "UnknownBulk": 404,
    "UnknownSchedule": 404,
    "InvalidSchedule": 400,
    "TooManySchedules": 400,
    "TooManyPipelines": 400,
    "ScheduleNotInForce": 400,
    "AnotherPipeline": 400,
    "NotInStandby": 400,
    "UnknownClusterMonitorEvent": 404,
    "NoClusterMonitorEventsAvailable": 404,
    "InvalidUuidParam": 400,
    "InvalidConnectorAction": 400,
    "InvalidSupportBundleParameter": 400,
    "InvalidRuntimeVersion": 400,
    "InvalidNewProgramSql": 400,
    "BootstrapNotAllowed": 400,
    "NewProgramCompilationFailed": 500,
    "ProgramNotCompiled": 404,
    "ProgramInfoMissesDataflow": 404,
    "UnknownPipelineMonitorEvent": 404,
    "NoPipelineMonitorEventsAvailable": 404,
    "UnsupportedPipelineAction": 405,
    "DuplicateName": 409,
    "IdempotencyKeyReused": 409,
    "PipelineMissingDeploymentLocation": 500,
    "PipelineInteractionInvalidResponse": 500,
    "AutomatonProvisioningTimeout": 500,
    "AutomatonSuspendingComputeTimeout": 500,
    "RunnerProvisionError": 500,
    "UnresolvedReference": 500,
    "RunnerCheckError": 500,
    "DeploymentOutdated": 500,
    "PrimaryOutOfReach": 500,
    "WaitInVain": 409,
    "WaitTimedOut": 504,
    "TooManyWatchers": 503,
    "ShuttingDown": 503,
    "PipelineInteractionNotDeployed": 503,
    "PipelineUnavailable": 503,
    "PipelineInteractionUnreachable": 503,
    "RunnerInteractionUnreachable": 503,
    "CompilerUnavailable": 503,
    "CompilerTimeout": 504,
    "Overloaded": 503,
    "OutcomeUnknown": 503,
    "NotAnsweredYet": 503,
    "TemporalUnavailable": 503,
}

_log = structlog.get_logger()


class PlainText(HTTPException):
    """A refusal that is a line of text, as the contract has it where the request itself is malformed."""


class Located(Exception):
    """A refusal whose outcome the caller can ask for elsewhere."""

    def __init__(self, refusal: Refusal, location: str) -> None:
        """Point to where the outcome will be."""
        super().__init__(str(refusal))
        self.refusal = refusal
        self.location = location


def body(refusal: Refusal) -> dict[str, Any]:
    """A refusal as ErrorResponse."""
    return {
        "message": refusal.message,
        "error_code": refusal.error_code,
        "details": refusal.shown_details,
    }


def response(refusal: Refusal, **headers: str) -> Response:
    """Answer with a refusal."""
    status = STATUS[refusal.error_code]
    retry = RETRY_AFTER if status == 503 else {}
    return JSONResponse(body(refusal), status, headers={**retry, **headers})


def documented(*refusals: type[Refusal], plain: Sequence[int] = ()) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals of a route for OpenAPI; every route may find Temporal away."""
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": "The request is malformed.", **text} for status in plain
    }
    by_status: dict[int, list[str]] = {}
    for refusal in (*refusals, errors.TemporalUnavailable):
        by_status.setdefault(STATUS[refusal.__name__], []).append(refusal.__name__)
    for status, codes in by_status.items():
        also = described.get(status, {})
        described[status] = {**also, "model": ErrorResponse, "description": ", ".join(codes)}
    return described


def install(app: FastAPI) -> None:
    """Answer every exception in the way of the contract."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(Located, _refused)
    app.add_exception_handler(Undecodable, _undecodable)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)


async def _refused(request: Request, problem: Exception) -> Response:
    if isinstance(problem, Located):
        return response(problem.refusal, Location=problem.location)
    assert isinstance(problem, Refusal)
    return response(problem)


async def _undecodable(request: Request, problem: Exception) -> Response:
    """What Temporal stores is out of reach for us, whatever it is; nothing is lost."""
    return response(errors.TemporalUnavailable(error=str(problem)))


async def _malformed(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return PlainTextResponse(f"{where}: {first['msg']}", 400)


async def _plain(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if not isinstance(problem, PlainText) and problem.status_code == 405:
        return Response(status_code=405, headers={"Allow": ", ".join(_methods(request))})
    if not isinstance(problem, PlainText) and problem.status_code == 404:
        return Response(status_code=404, headers=problem.headers)
    return PlainTextResponse(problem.detail, problem.status_code, headers=problem.headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes of an address; the router names those of the first one only."""
    contexts = iter_route_contexts(request.app.routes)
    matching = (route for route in contexts if route.path_regex.match(get_route_path(request.scope)))
    return sorted({method for route in matching for method in route.methods or ()})


async def _gone(request: Request, problem: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _failed(request: Request, problem: Exception) -> Response:
    _log.error("request failed", path=request.url.path, exc_info=problem)
    text = "Something went wrong in the front end; its log says what."
    return JSONResponse({"message": text, "error_code": "InternalError", "details": {}}, 500)

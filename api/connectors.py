"""Connectors of a running pipeline: paused, started, asked (contract §5.5, §7.2)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.data_plane import CHOSEN, RELAYED, Reached, segment
from api.errors import documented
from api.parse import Flag, JsonRoute
from api.shapes import CompletionToken, InputStats, OutputStats
from sluicegate import errors

_CONNECTOR = "/connectors/{connector_name}"
_ACTIONS = ("start", "pause")

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Connectors"])

_STEERED: dict[int | str, dict[str, Any]] = {
    **RELAYED,
    400: documented(errors.InvalidConnectorAction)[400],
    200: {"description": "Done.", "content": {}},
}


async def _input(table_name: str, connector_name: str) -> str:
    return f"/input_endpoints/{_endpoint(table_name, connector_name)}"


async def _output(view_name: str, connector_name: str) -> str:
    return f"/output_endpoints/{_endpoint(view_name, connector_name)}"


def _endpoint(relation: str, connector: str) -> str:
    """The name of an endpoint in a path; the relation is an SQL identifier."""
    quoted = len(relation) > 1 and relation.startswith('"') and relation.endswith('"')
    exact = relation[1:-1].replace('""', '"') if quoted else relation.lower()
    return segment(f"{exact}.{connector}")


Input = Annotated[str, Depends(_input)]
Output = Annotated[str, Depends(_output)]


@router.get(f"/tables/{{table_name}}{_CONNECTOR}/stats", response_model=InputStats, responses=CHOSEN)
async def input_stats(endpoint: Input, process: Reached, include_connector_errors: Flag = False) -> Response:
    """Show the counters of an input connector."""
    return await process.relay("GET", f"{endpoint}/stats")


@router.get(
    f"/tables/{{table_name}}{_CONNECTOR}/completion_token", response_model=CompletionToken, responses=RELAYED
)
async def completion_token(endpoint: Input, process: Reached) -> Response:
    """Make a token for all that an input connector has brought so far."""
    return await process.relay("GET", f"{endpoint}/completion_token")


@router.post(f"/tables/{{table_name}}{_CONNECTOR}/{{action}}", response_class=Response, responses=_STEERED)
async def steer_input(action: str, endpoint: Input, process: Reached) -> Response:
    """Start or pause an input connector."""
    return await process.relay("GET", f"{endpoint}/{_checked(action)}")


@router.get(f"/views/{{view_name}}{_CONNECTOR}/stats", response_model=OutputStats, responses=CHOSEN)
async def output_stats(
    endpoint: Output, process: Reached, include_connector_errors: Flag = False
) -> Response:
    """Show the counters of an output connector."""
    return await process.relay("GET", f"{endpoint}/stats")


async def command_output(
    command: Annotated[Any, Body(description="What the transport understands.")],
    request: Request,
    endpoint: Output,
    process: Reached,
) -> Response:
    """Tell an output connector something that only its transport understands."""
    return await process.relay("POST", f"{endpoint}/command", content=await request.body())


router.add_api_route(
    f"/views/{{view_name}}{_CONNECTOR}/command",
    command_output,
    methods=["POST"],
    response_model=Any,
    responses={**CHOSEN, 413: documented(plain=[413])[413]},
    route_class_override=JsonRoute,
)


@router.post(f"/views/{{view_name}}{_CONNECTOR}/{{action}}", response_class=Response, responses=_STEERED)
async def steer_output(action: str, endpoint: Output, process: Reached) -> Response:
    """Start or pause an output connector; what comes while it is paused is not written later."""
    return await process.relay("GET", f"{endpoint}/{_checked(action)}")


def _checked(action: str) -> str:
    if action not in _ACTIONS:
        raise errors.InvalidConnectorAction(action=action)
    return action

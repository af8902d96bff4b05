"""Ingress: takes the body of a request into a table, and tells later whether it has been processed."""

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from sluicegate.engine import defaults, plan
from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.connection import unless_disconnected
from sluicegate.engine.errors import EngineError, ParseFailure, PlainError
from sluicegate.engine.metrics import Endpoint
from sluicegate.engine.parameters import flag, required
from sluicegate.engine.pipeline import Pipeline
from sluicegate.engine.plan import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from sluicegate.engine.batch import Batch
    from sluicegate.engine.formats.config import InputFormat

LARGEST = 64 << 20
"""Bytes of one request."""
SMALL = 4 << 10
"""Bytes that are read sooner than a thread has begun to."""
READING = "sluicegate.engine.formats.reading"
SETTINGS = {"json": ("update_format", "json_flavor", "lines"), "raw": ("mode", "column_name")}
"""Query parameters that configure a format; CSV always takes its defaults (contract §9.7)."""


async def push(pipeline: Pipeline, request: Request) -> dict[str, Any]:
    """Ingest one request; returns its completion token.

    Where what is acknowledged must survive a crash, the answer comes after the commit. Elsewhere it comes as
    soon as the rows are read and judged and wait for their step, unless a crowd waits: then all wait with it.
    Within a transaction it comes once they are held.
    An answer that has no token, since there are errors to be told, comes after the commit as well.
    """
    force = flag(request, "force")
    pipeline.check_ready()
    endpoint, table, reading = _endpoint(pipeline, request)
    found = defaults.metadata(request.query_params.get("connector_metadata"))
    with ExitStack() as stack:
        held = stack.enter_context(pipeline.bodies.held())
        body = await _body(request, held)
        if not force and pipeline.state != "Running":
            await unless_disconnected(request, pipeline.running())
        if not endpoint.has_room:
            await unless_disconnected(request, pipeline.steps.room(endpoint))
        batch = _read_here(body, table, reading) if found is None and len(body) <= SMALL else None
        if batch is None:
            batch = await asyncio.to_thread(_read, pipeline.cursor(), body, table, reading, found)
        pipeline.steps.check()
        prompt = pipeline.steps.takes_promptly and not (pipeline.is_tolerant or batch.errors.count)
        taking = pipeline.steps.put(Arrival(table, batch, endpoint, size=len(body), acknowledged=prompt))
        if prompt:
            body_held = stack.pop_all()
            taking.add_done_callback(lambda _: body_held.close())
            step = pipeline.steps.horizon
        else:
            step = (await taking).step
    if batch.errors.count:
        raise ParseFailure(batch.errors.count, batch.errors.in_order())
    return {"token": token(pipeline, endpoint, step)}


def completion(pipeline: Pipeline, request: Request) -> dict[str, Any]:
    """Tell whether what a token stands for has been processed: committed, and delivered to all who listen."""
    pipeline.check_ready()
    given = required(request, "token")
    try:
        padded = given + "=" * (-len(given) % 4)
        raw = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        incarnation, number, step = str(raw["u"]), int(raw["e"]), int(raw["c"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"invalid completion token: {error}"
        raise EngineError(400, "InvalidParam", reason, {"error": reason}) from error
    if incarnation != str(pipeline.metrics.incarnation):
        message = "The pipeline has been restarted since the completion token was made"
        raise EngineError(410, "PipelineRestarted", message)
    if not 0 <= number < len(pipeline.metrics.endpoints):
        message = "The completion token names an endpoint that does not exist"
        raise EngineError(410, "UnknownEndpointInCompletionToken", message)
    metrics, settled = pipeline.metrics, pipeline.steps.settled
    if settled or metrics.completed_steps >= step:
        return {"status": "complete", "step": min(step, metrics.completed_steps)}
    return {"status": "inprogress", "step": step if metrics.steps >= step else None}


def _endpoint(pipeline: Pipeline, request: Request) -> "tuple[Endpoint, Table, InputFormat]":
    from sluicegate.engine.formats import config

    path = request.path_params["table"]
    name = path[1:-1] if len(path) > 1 and path[0] == path[-1] == '"' else path
    table = plan.find(pipeline.plan.tables, name)
    if not isinstance(table, Table):
        details = {"endpoint_name": f"{name}.api-ingress", "stream_name": name}
        raise EngineError(404, "ConfigError.UnknownInputStream", f"Table '{name}' does not exist", details)
    written_as = request.query_params.get("format", "csv")
    settings = {
        key: request.query_params[key] for key in SETTINGS.get(written_as, ()) if key in request.query_params
    }
    array = {"array": flag(request, "array")} if written_as == "json" else {}
    reading = config.reading(f"{table.name}.api-ingress", written_as, settings | array, table)
    return pipeline.metrics.endpoint(table.name, reading), table, reading


async def _body(request: Request, held: Callable[[int], None]) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        held(len(piece))
        size += len(piece)
        if size > LARGEST:
            raise PlainError(413, f"The body is larger than {LARGEST >> 20} MiB; send it in several requests")
        pieces.append(piece)
    return b"".join(pieces)


def _read_here(body: bytes, table: Table, reading: "InputFormat") -> "Batch | None":
    """Read a small body without a thread, where that takes neither an import nor DuckDB; None elsewhere."""
    if READING not in sys.modules:
        return None
    from sluicegate.engine.formats.casting import CursorNeeded
    from sluicegate.engine.formats.reading import read

    try:
        return read(body, table, reading, None)
    except CursorNeeded:
        return None


def _read(
    cursor: "DuckDBPyConnection",
    body: bytes,
    table: Table,
    reading: "InputFormat",
    found: Mapping[str, Any] | None,
) -> "Batch":
    """Read a body in a thread; pyarrow is imported here, with the first input."""
    from sluicegate.engine.formats.reading import read

    with cursor:
        if found is not None:
            table = defaults.with_metadata(table, found, cursor)
        return read(body, table, reading, cursor)


def token(pipeline: Pipeline, endpoint: Endpoint, step: int) -> str:
    """Return a token that stands for all steps up to one."""
    raw = {"u": str(pipeline.metrics.incarnation), "e": endpoint.number, "c": step}
    text = json.dumps(raw, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

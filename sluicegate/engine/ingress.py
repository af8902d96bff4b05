"""Ingress: takes the body of a request into a table, and tells later whether it has been processed."""

import asyncio
import base64
import json
from typing import Any

from starlette.requests import Request

from sluicegate.engine import plan, records
from sluicegate.engine.connection import unless_disconnected
from sluicegate.engine.errors import EngineError, ParseFailure, PlainError
from sluicegate.engine.metrics import Endpoint
from sluicegate.engine.parameters import flag, required
from sluicegate.engine.pipeline import Pipeline
from sluicegate.engine.plan import Table
from sluicegate.engine.records import Format

LARGEST = 64 << 20
"""Bytes of one request: parsed, they take some ten times as much memory."""


async def push(pipeline: Pipeline, request: Request) -> dict[str, Any]:
    """Ingest one request; returns its completion token."""
    force, reading = flag(request, "force"), _format(request)
    pipeline.check_ready()
    endpoint, table = _endpoint(pipeline, request.path_params["table"], reading)
    body = await _body(request)
    if not force:
        await unless_disconnected(request, pipeline.running())
    metrics = pipeline.metrics
    metrics.buffered_bytes += len(body)
    try:
        parsed = await _parsed(body, table, reading)
        pandas = reading.flavor == "pandas"
        loaded = await pipeline.write(lambda loader: loader.load(table, parsed.changes, pandas=pandas))
    finally:
        metrics.buffered_bytes -= len(body)
    metrics.step(loaded.records)
    metrics.input_bytes += len(body)
    endpoint.total_bytes += len(body)
    endpoint.total_records += loaded.records
    endpoint.completions += 1
    errors = sorted(parsed.errors + loaded.errors, key=lambda error: int(error["event_number"]))
    if errors:
        endpoint.complain(errors)
        raise ParseFailure(errors)
    return {"token": _token(pipeline, endpoint)}


def completion(pipeline: Pipeline, request: Request) -> dict[str, Any]:
    """Tell whether what a token stands for has been processed: committed is processed."""
    pipeline.check_ready()
    token = required(request, "token")
    try:
        padded = token + "=" * (-len(token) % 4)
        raw = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        incarnation, number, _ = str(raw["u"]), int(raw["e"]), int(raw["c"])
    except (ValueError, TypeError, KeyError) as error:
        reason = f"invalid completion token: {error}"
        raise EngineError(400, "InvalidParam", reason, {"error": reason}) from error
    if incarnation != str(pipeline.metrics.incarnation):
        message = "The pipeline has been restarted since the completion token was made"
        raise EngineError(410, "PipelineRestarted", message)
    if number >= len(pipeline.metrics.endpoints):
        message = "The completion token names an endpoint that does not exist"
        raise EngineError(410, "UnknownEndpointInCompletionToken", message)
    return {"status": "complete", "step": pipeline.metrics.steps}


def _format(request: Request) -> Format:
    given = request.query_params
    reading = Format(name=given.get("format", "csv"))
    array = flag(request, "array")
    if reading.name == "json":
        update_format, flavor = (
            given.get("update_format", "insert_delete"),
            given.get("json_flavor", "default"),
        )
        reading = Format("json", array, update_format, flavor)
    return reading


def _endpoint(pipeline: Pipeline, path: str, reading: Format) -> tuple[Endpoint, Table]:
    name = path[1:-1] if len(path) > 1 and path[0] == path[-1] == '"' else path
    table = plan.find(pipeline.plan.tables, name)
    if not isinstance(table, Table):
        details = {"endpoint_name": f"{name}.api-ingress", "stream_name": name}
        raise EngineError(404, "ConfigError.UnknownInputStream", f"Table '{name}' does not exist", details)
    records.check(reading)
    return pipeline.metrics.endpoint(table.name, reading), table


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST:
            raise PlainError(413, f"The body is larger than {LARGEST >> 20} MiB; send it in several requests")
        pieces.append(piece)
    return b"".join(pieces)


async def _parsed(body: bytes, table: Table, reading: Format) -> records.Parsed:
    return await asyncio.to_thread(records.read, body, table, reading)


def _token(pipeline: Pipeline, endpoint: Endpoint) -> str:
    raw = {"u": str(pipeline.metrics.incarnation), "e": endpoint.number, "c": endpoint.completions}
    text = json.dumps(raw, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

"""Egress: somebody listens to a relation over HTTP (contract §5.3).

What is asked for comes as query parameters, or as the configuration of a connector in the body.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request

from sluicegate.engine import plan
from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats import config
from sluicegate.engine.formats.config import KEYED, CsvOutput, JsonOutput, OutputFormat
from sluicegate.engine.metrics import OutputEndpoint
from sluicegate.engine.parameters import flag
from sluicegate.engine.pipeline import Pipeline
from sluicegate.engine.plan import Relation, View, stream_name
from sluicegate.engine.stream import Listener, Stream

if TYPE_CHECKING:
    from sluicegate.engine.encoding import Encoder

FORMATS = ("csv", "json")
TRANSPORT = "http_output"


@dataclass(frozen=True)
class _Wanted:
    format: str
    settings: Mapping[str, Any]
    backpressure: bool
    snapshot: bool


async def listen(pipeline: Pipeline, request: Request) -> Stream:
    """`POST /egress/{relation}`: return the stream of its changes."""
    pipeline.check_ready()
    relation = _relation(pipeline, request.path_params["relation"])
    wanted = await _wanted(request)
    endpoint = OutputEndpoint(f"{relation.name}.api-{uuid4()}", stream_name(relation))
    writing = _writing(endpoint.name, wanted, relation)
    if wanted.snapshot and not relation.queryable:
        raise _no_snapshot(endpoint.name, relation)
    listener = Listener(
        relation.physical,
        endpoint,
        text=isinstance(writing, CsvOutput),
        backpressure=wanted.backpressure,
        snapshot=wanted.snapshot,
    )
    stream = Stream(listener, pipeline.streams, pipeline.steps, pipeline.metrics)
    await stream.open(lambda: _encoder(pipeline, relation, writing))
    return stream


def _encoder(pipeline: Pipeline, relation: Relation, writing: OutputFormat) -> "Encoder":
    from sluicegate.engine.encoding import Encoder

    return Encoder(pipeline.cursor(), relation.physical, writing)


def _relation(pipeline: Pipeline, path: str) -> Relation:
    name = path[1:-1] if len(path) > 1 and path[0] == path[-1] == '"' else path
    relation = plan.find(pipeline.plan.relations, name)
    if relation is None or (isinstance(relation, View) and relation.local):
        details = {"endpoint_name": f"{name}.api", "stream_name": name}
        message = f"There is no table or view '{name}' to listen to"
        raise EngineError(404, "ConfigError.UnknownOutputStream", message, details)
    return relation


async def _wanted(request: Request) -> _Wanted:
    body = (await request.body()).strip()
    if body:
        return _configured(request, body)
    name = request.query_params.get("format", "csv")
    flag(request, "array")  # the stream carries lists either way
    settings = {"array": True} if name == "json" else {}
    return _Wanted(name, settings, flag(request, "backpressure"), flag(request, "send_snapshot"))


def _configured(request: Request, body: bytes) -> _Wanted:
    """Read the configuration of a connector."""
    for key in ("format", "backpressure"):
        if key in request.query_params:
            raise _invalid(f"'{key}' is given as a query parameter beside a configuration in the body")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the body is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise _invalid("the body must be the configuration of a connector, a JSON object")
    if given.get("enable_output_buffer"):
        raise _invalid("'enable_output_buffer' is not for HTTP, where each step is sent at once")
    transport, form = _part(given, "transport", {"name": TRANSPORT}), _part(given, "format", {})
    if transport["name"] != TRANSPORT:
        raise _invalid(f"the transport must be {TRANSPORT}, or left out, not '{transport['name']}'")
    if form["name"] == "json" and form["config"].get("array") is not True:
        raise _invalid('the format json needs "array": true in its config')
    snapshot = _flag(given, "send_snapshot") or flag(request, "send_snapshot")
    return _Wanted(form["name"], form["config"], _flag(transport["config"], "backpressure"), snapshot)


def _part(given: Mapping[str, Any], key: str, default: Mapping[str, Any]) -> dict[str, Any]:
    found = given.get(key) or default
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise _invalid(f"'{key}' must be an object with a name")
    settings = found.get("config") or {}
    if not isinstance(settings, dict):
        raise _invalid(f"the config of '{key}' must be an object")
    return {"name": found["name"], "config": settings}


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise _invalid(f"'{key}' must be true or false, not {value!r}")
    return value


def _writing(endpoint: str, wanted: _Wanted, relation: Relation) -> OutputFormat:
    names = relation.columns if isinstance(relation, View) else tuple(c.name for c in relation.columns)
    if wanted.format not in FORMATS:
        message = f"Unknown output format '{wanted.format}': HTTP egress has {', '.join(FORMATS)}"
        details = {"endpoint_name": endpoint, "format_name": wanted.format}
        raise EngineError(400, "ConfigError.UnknownOutputFormat", message, details)
    writing = config.writing(endpoint, wanted.format, wanted.settings, names)
    if isinstance(writing, JsonOutput) and writing.update_format in KEYED:
        raise config.keyed(endpoint, writing.update_format, "HTTP egress")
    return writing


def _no_snapshot(endpoint: str, relation: Relation) -> EngineError:
    message = (
        f"'{relation.name}' has no snapshot to send: declare it as materialized, or leave send_snapshot out"
    )
    details = {"endpoint_name": endpoint, "error": message}
    return EngineError(400, "ConfigError.InvalidOutputConfiguration", message, details)


def _invalid(reason: str) -> EngineError:
    return EngineError(400, "InvalidParam", f"Invalid parameter: {reason}", {"error": reason})

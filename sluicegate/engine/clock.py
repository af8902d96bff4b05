"""The clock of a pipeline, which nobody can move in this release: NOW is the time of the host."""

import json
from typing import Any

from sluicegate.engine.errors import EngineError, PlainError

LARGEST_DELTA = (1 << 64) - 1
"""Milliseconds that fit the protocol's number."""


def refusal(body: bytes, runtime_config: dict[str, Any]) -> EngineError | PlainError:
    """Say why the clock does not advance: the request is malformed, or time is not driven over HTTP.

    A pipeline that asks for `dev_tweaks.now_http_driven` is told that this engine cannot do it, rather than
    be shown a time that its queries do not see.
    """
    if problem := _problem(body):
        return PlainError(400, f"Json deserialize error: {problem}")
    tweaks = runtime_config.get("dev_tweaks") or {}
    reason = "the clock is not driven over HTTP: runtime_config.dev_tweaks.now_http_driven is not set"
    if tweaks.get("now_http_driven"):
        reason = "this engine's NOW is the time of its host, which cannot be driven over HTTP"
    return EngineError(400, "InvalidParam", f"Invalid parameter: {reason}", {"error": reason})


def _problem(body: bytes) -> str | None:
    """What is wrong with the body, if anything is."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        return str(error)
    if not isinstance(given, dict):
        return "an object is expected"
    delta = given.get("delta_ms")
    if delta is None:
        return None
    if isinstance(delta, bool) or not isinstance(delta, int) or not 0 <= delta <= LARGEST_DELTA:
        return "delta_ms must be a non-negative integer or null"
    return None

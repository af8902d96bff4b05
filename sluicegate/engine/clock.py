"""The clock of a pipeline: the time that NOW() has in a step.

It follows the host, in steps of the configured resolution, or is driven by `POST /clock/advance` where
`dev_tweaks.now_http_driven` asks for that (contract §2.10, §9.6). It never goes back.
"""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sluicegate.engine.errors import EngineError, PlainError

LARGEST_DELTA = (1 << 64) - 1
"""Milliseconds that fit the protocol's number."""
LAST = 253_402_300_799_999
"""The last millisecond of the year 9999, which is the last that NOW can be."""
RESOLUTION_USECS = 1_000_000
OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


class Clock:
    """The time of a pipeline's steps, in milliseconds since the epoch."""

    def __init__(self, runtime_config: dict[str, Any]) -> None:
        tweaks = runtime_config.get("dev_tweaks") or {}
        usecs = runtime_config.get("clock_resolution_usecs") or RESOLUTION_USECS
        self.resolution = max(1, usecs // 1000)
        self.driven = bool(tweaks.get("now_http_driven"))
        self._shift = _offset(runtime_config.get("clock_timezone_offset"))
        self._now = 0

    def begin(self, stored: int) -> int:
        """Go on from the last time that the database knows, 0 where it knows none; return the time."""
        self._now = stored
        return self._now if self.driven and stored else self._follow()

    def read(self) -> int:
        """Return the time for a step that begins now."""
        return self._now if self.driven else self._follow()

    @property
    def until_next(self) -> float:
        """Return the seconds after which the time is another."""
        return self.resolution / 1000

    def advance(self, body: bytes, *, reads_now: bool) -> int:
        """Set the time forth as a request says; return it. Raises what the client is told."""
        if problem := _problem(body):
            raise PlainError(400, f"Json deserialize error: {problem}")
        if not self.driven:
            raise _refusal(
                "the clock is not driven over HTTP: runtime_config.dev_tweaks.now_http_driven is not set"
            )
        if not reads_now:
            raise _refusal("no view of the program calls NOW(), so there is no clock to advance")
        delta = json.loads(body).get("delta_ms")
        steps = 1 if delta is None else -(-delta // self.resolution)
        if self._now + steps * self.resolution > LAST:
            raise _refusal("the time would be later than the year 9999")
        self._now += steps * self.resolution
        return self._now

    def _follow(self) -> int:
        host = time.time_ns() // 1_000_000 + self._shift
        self._now = max(self._now, host - host % self.resolution)
        return self._now


def answer(now: int) -> dict[str, Any]:
    """Return the answer of a request that reads or advances the clock."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now)
    return {"now_ms": now, "now": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _offset(text: str | None) -> int:
    found = OFFSET.fullmatch(text or "")
    if found is None:
        return 0
    sign, hours, minutes = found.groups()
    return (-1 if sign == "-" else 1) * (int(hours) * 60 + int(minutes)) * 60_000


def _refusal(reason: str) -> EngineError:
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

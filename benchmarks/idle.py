"""What a pipeline that runs and is left alone costs Temporal: events of its history, and requests."""

import asyncio
import re
import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from activities.watch import BEAT_EVERY
from benchmarks.measure import AtMost, Figure
from benchmarks.plane import Plane, command, create, each, settled
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

PIPELINES = 20
SETTLE = BEAT_EVERY.total_seconds() + 10
"""Seconds after which all that a start brings about is over, the first heartbeat of its watch included."""
WINDOW = 240.0
BEAT = "RecordActivityTaskHeartbeat"
IGNORED = ("Poll", "GetSystemInfo", "DescribeTaskQueue", "QueryWorkflow", "Check")
"""Requests that a worker or the API makes however many pipelines there are."""


def measure(plane: Plane) -> list[Figure]:
    """Let twenty stubs run, and look only before and after a while at what the server has counted."""
    names = [f"idle-{number:02}" for number in range(PIPELINES)]
    api = plane.wire()
    each(lambda name: create(api, name), names)
    settled(api, "program_status", "Success", set(names))
    each(lambda name: command(api, name, "start"), names)
    settled(api, "deployment_status", "Running", set(names))
    time.sleep(SETTLE)
    events, requests = asyncio.run(_events(plane, names)), _requests(plane)
    time.sleep(WINDOW)
    more = [after - before for before, after in zip(events, asyncio.run(_events(plane, names)), strict=True)]
    later = _requests(plane)
    each(lambda name: command(api, name, "stop?force=true"), names)
    settled(api, "deployment_status", "Stopped", set(names))
    asked = {name: count - requests.get(name, 0.0) for name, count in later.items()}
    per_minute = asked.get(BEAT, 0.0) / PIPELINES / (WINDOW / 60)
    note = ", ".join(f"{name} {count:.0f}" for name, count in sorted(asked.items()) if count)
    return [
        Figure(
            "history events of an idle pipeline, an hour",
            [count * 3600 / WINDOW for count in more],
            aims=[AtMost(0, 100)],
            unit="events",
        ),
        Figure(
            "heartbeats of an idle pipeline, a minute",
            [per_minute],
            aims=[AtMost(1)],
            unit="requests",
            note=f"{PIPELINES} pipelines, {WINDOW:.0f} s, by operation: {note}",
        ),
    ]


async def _events(plane: Plane, names: list[str]) -> list[int]:
    client = await plane.client()
    found = []
    for name in names:
        handle = client.get_workflow_handle(temporal.pipeline_workflow_id(DEFAULT_TENANT, name))
        found.append((await handle.describe()).history_length)
    return found


def _requests(plane: Plane) -> dict[str, float]:
    """Requests that the server has answered, by operation."""
    log = (plane.home / "logs" / "temporal.log").read_text()
    [address] = re.findall(r"http://\S+/metrics", log)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(address).text):
        for sample in family.samples:
            named = sample.labels.get("operation", "")
            frontend = sample.labels.get("service_name") == "frontend"
            if sample.name.startswith("service_requests") and frontend and not named.startswith(IGNORED):
                found[named] = found.get(named, 0.0) + sample.value
    return found

"""How long after a transition its watcher has it, beside the bare describe RPC that notices it."""

import asyncio
import json
import time
from datetime import UTC, datetime

import httpx
from temporalio.client import Client

from benchmarks.measure import AtMost, Figure
from benchmarks.plane import Pipeline, Plane
from benchmarks.reading import describe
from sluicegate import temporal
from sluicegate.access.entries import DEFAULT_TENANT

SAMPLES = 60


def measure(plane: Plane) -> list[Figure]:
    """Cause a transition, wait for it on the stream, look up the pipeline by a bare call."""
    measured, bare = [], []
    with httpx.Client(base_url=plane.url, timeout=120) as api, asyncio.Runner() as runner:
        pipeline = Pipeline(plane)
        workflow = temporal.pipeline_workflow_id(DEFAULT_TENANT, pipeline.name)
        client = runner.run(Client.connect(plane.temporal_address, plugins=[temporal.PLUGIN]))
        with api.stream("GET", f"/v0/pipelines/{pipeline.name}/watch") as stream:
            lines = (line for line in stream.iter_lines() if line.startswith("data: "))
            next(lines)
            for _ in range(SAMPLES):
                pipeline.post("dismiss_error")
                event = json.loads(next(lines).removeprefix("data: "))
                seen = datetime.now(UTC)
                recorded = datetime.fromisoformat(event["recorded_at"])
                measured.append((seen - recorded).total_seconds() * 1e3)
                started = time.perf_counter()
                runner.run(describe(client, workflow))
                bare.append((time.perf_counter() - started) * 1e3)
        pipeline.remove()
    aims = [AtMost(250)]
    return [Figure("transition until its watcher has it", measured, "bare describe RPC", bare, aims)]

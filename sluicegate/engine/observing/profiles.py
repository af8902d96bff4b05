"""Circuit profiles (contract §5.7): how views are maintained, what that has cost, and DuckDB's own profiles.

A profile is made anew once a step has changed something, so that the same moment is told the same in every
form: as JSON, compressed or not, and as a zip.
"""

import asyncio
import gzip
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from sluicegate.engine.observing import rehearsal
from sluicegate.engine.pipeline import Pipeline

if TYPE_CHECKING:
    from sluicegate.engine.writer import Writer

ABOUT = (
    f"The statements of each view were profiled in a step that was rehearsed and rolled back, in which every "
    f"table changed by at most {rehearsal.ROWS} of its own rows. steps, seconds and last_seconds are of the "
    "steps that this process has really taken."
)
MEMORY = "SELECT tag, memory_usage_bytes, temporary_storage_bytes FROM duckdb_memory()"
PIECE = 64 << 10


class Profiles:
    """The profiles of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lock = asyncio.Lock()
        self._made: tuple[int, dict[str, Any]] | None = None

    async def json(self) -> bytes:
        """Return the profile as JSON."""
        return json.dumps(await self._profile()).encode()

    async def compressed(self) -> bytes:
        """Return the same, compressed with gzip."""
        return await asyncio.to_thread(gzip.compress, await self.json(), mtime=0)

    async def zip(self) -> bytes:
        """Return the same as a zip with a file for each view."""
        return await asyncio.to_thread(_zipped, await self._profile())

    async def _profile(self) -> dict[str, Any]:
        async with self._lock:
            step = self._pipeline.metrics.steps
            if self._made is None or self._made[0] != step:
                self._made = (step, await self._pipeline.steps.alone(self._make))
            return self._made[1]

    def _make(self, writer: "Writer") -> dict[str, Any]:
        plan, metrics = self._pipeline.plan, self._pipeline.metrics
        profiled = writer.rehearse(plan)
        cursor = self._pipeline.cursor()
        with cursor:
            memory = cursor.execute(MEMORY).fetchall()
        views = []
        for view in plan.views:
            maintenance, spent = view.maintenance, metrics.view_times.get(view.name)
            views.append(
                {
                    "name": view.name,
                    "maintenance": maintenance.kind if maintenance is not None else None,
                    "reason": (maintenance.reason or None) if maintenance is not None else None,
                    "reads_now": view.reads_now,
                    "steps": spent.count if spent else 0,
                    "seconds": spent.seconds if spent else 0.0,
                    "last_seconds": spent.last if spent else None,
                    "statements": profiled.get(view.name, []),
                }
            )
        return {
            "about": ABOUT,
            "step": metrics.steps,
            "steps": {"count": metrics.step_times.count, "seconds": metrics.step_times.seconds},
            "memory": [
                {"tag": tag, "bytes": used, "spilled_bytes": spilled} for tag, used, spilled in memory
            ],
            "waterlines": writer.waterlines(),
            "views": views,
        }


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Yield data in pieces, so that it is sent in chunks."""
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


def _zipped(profile: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, view in enumerate(profile["views"]):
            name = "".join(letter if letter.isalnum() else "_" for letter in view["name"])
            archive.writestr(f"views/{number:03}-{name}.json", json.dumps(view, indent=1))
        rest = {**profile, "views": [view["name"] for view in profile["views"]]}
        archive.writestr("profile.json", json.dumps(rest, indent=1))
    return file.getvalue()

"""What the process answers about itself (contract §5.6, §5.7, §7.2).

The API calls the profiles by other names.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sluicegate.engine.errors import EngineError, PlainError
from sluicegate.engine.observing.sampling import LONGEST
from sluicegate.engine.observing.series import Sample
from sluicegate.engine.parameters import flag
from sluicegate.engine.pipeline import Pipeline

if TYPE_CHECKING:
    from sluicegate.engine.observing.profiles import Profiles

METRIC_FORMATS = ("prometheus", "json")
DURATION = "30"
"""Seconds of a sampling profile where nothing is asked for."""


class OwnAnswers:
    """The answers of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._profiles: Profiles | None = None

    def routes(self) -> list[Route]:
        """Return what is answered where."""
        return [
            Route("/stats", self.stats),
            Route("/metrics", self.metrics),
            Route("/time_series", self.time_series),
            Route("/time_series_stream", self.time_series_stream),
            Route("/dump_profile", self.dump_profile),
            Route("/dump_json_profile", self.dump_json_profile),
            Route("/heap_profile", self.heap_profile),
            Route("/samply_profile", self.start_sampling, methods=["POST"]),
            Route("/samply_profile", self.sampled),
        ]

    async def stats(self, request: Request) -> Response:
        """`GET /stats`."""
        with_errors = flag(request, "include_connector_errors")
        if not self._pipeline.is_bootstrapping:
            self._pipeline.check_ready()
        state = self._pipeline.state
        told = await self._pipeline.account.stats(state, with_errors=with_errors)
        told["global_metrics"]["bootstrap_in_progress"] = self._pipeline.is_bootstrapping
        told["global_metrics"]["concurrent_bootstrap_phase"] = self._pipeline.situation.backfill
        return JSONResponse(told)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        written_as = request.query_params.get("format", "prometheus")
        if written_as not in METRIC_FORMATS:
            known = " or ".join(METRIC_FORMATS)
            raise PlainError(400, f"Query deserialize error: format must be {known}, not `{written_as}`")
        self._pipeline.check_ready()
        sample = await self._pipeline.series.now()
        if written_as == "json":
            return JSONResponse(await asyncio.to_thread(self._json_metrics, sample))
        text = await asyncio.to_thread(self._text_metrics, sample)
        return Response(text, headers={"content-type": "text/plain"})

    async def time_series(self, _: Request) -> Response:
        """`GET /time_series`."""
        self._pipeline.check_ready()
        samples = [sample._asdict() for sample in await self._pipeline.series.history()]
        return JSONResponse({"now": samples[-1]["t"], "samples": samples})

    async def time_series_stream(self, _: Request) -> Response:
        """`GET /time_series_stream`."""
        self._pipeline.check_ready()
        return StreamingResponse(self._lines(), headers={"content-type": "application/x-ndjson"})

    async def dump_profile(self, _: Request) -> Response:
        """`GET /dump_profile`, a zip: what the API calls `circuit_profile`."""
        from sluicegate.engine.observing.profiles import pieces

        data = await self._made_profiles().zip()
        headers = _attachment("application/zip", "circuit_profile.zip")
        return StreamingResponse(pieces(data), headers=headers)

    async def dump_json_profile(self, request: Request) -> Response:
        """`GET /dump_json_profile`: what the API calls `circuit_json_profile`."""
        from sluicegate.engine.observing.profiles import pieces

        profiles = self._made_profiles()
        headers = {"content-type": "application/json", "vary": "accept-encoding"}
        if _takes_gzip(request):
            data = await profiles.compressed()
            headers["content-encoding"] = "gzip"
        else:
            data = await profiles.json()
        return StreamingResponse(pieces(data), headers=headers)

    async def heap_profile(self, _: Request) -> Response:
        """`GET /heap_profile`: refused; the memory is DuckDB's, which says elsewhere what it is for."""
        self._pipeline.check_ready()
        message = (
            "The built-in engine has no heap profile: nearly all of its memory is DuckDB's. "
            "See `memory` in circuit_json_profile, which says how much is held and spilled for what"
        )
        raise EngineError(400, "HeapProfilerError", message, {"error": message})

    async def start_sampling(self, request: Request) -> Response:
        """`POST /samply_profile?duration_secs=`."""
        self._pipeline.check_ready()
        self._pipeline.sampling.start(_seconds(request))
        return Response(status_code=202)

    async def sampled(self, request: Request) -> Response:
        """`GET /samply_profile?latest=`."""
        latest = flag(request, "latest")
        self._pipeline.check_ready()
        sampling = self._pipeline.sampling
        if latest and sampling.is_running:
            return Response(status_code=204, headers={"retry-after": str(sampling.remaining)})
        headers = _attachment("application/gzip", "samply_profile.json.gz")
        return Response(sampling.last(), headers=headers)

    def _json_metrics(self, sample: Sample) -> list[dict[str, object]]:
        from sluicegate.engine.observing.exposition import Exposition

        return Exposition(self._pipeline.metrics, self._pipeline.plan, sample).json()

    def _text_metrics(self, sample: Sample) -> str:
        from sluicegate.engine.observing.exposition import Exposition

        return Exposition(self._pipeline.metrics, self._pipeline.plan, sample).text()

    async def _lines(self) -> AsyncIterator[bytes]:
        async for sample in self._pipeline.series.follow():
            yield json.dumps(sample._asdict()).encode() + b"\n"

    def _made_profiles(self) -> "Profiles":
        from sluicegate.engine.observing.profiles import Profiles

        self._pipeline.check_ready()
        if self._profiles is None:
            self._profiles = Profiles(self._pipeline)
        return self._profiles


def _seconds(request: Request) -> int:
    given = request.query_params.get("duration_secs", DURATION)
    if not given.isdecimal() or not 0 < int(given) <= LONGEST:
        message = f"duration_secs must be a number from 1 to {LONGEST}, not `{given}`"
        raise EngineError(400, "InvalidParam", f"Invalid parameter: {message}", {"error": message})
    return int(given)


def _takes_gzip(request: Request) -> bool:
    offered = request.headers.get("accept-encoding", "")
    for coding in offered.split(","):
        name, _, quality = coding.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0")
    return False


def _attachment(kind: str, name: str) -> dict[str, str]:
    return {"content-type": kind, "content-disposition": f'attachment; filename="{name}"'}

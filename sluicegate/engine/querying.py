"""Queries over HTTP: a thread works, the response streams, and nothing goes on for a client that has left."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import StreamingResponse

from sluicegate.engine.connection import unless_disconnected
from sluicegate.engine.errors import EngineError, query_failed
from sluicegate.engine.parameters import required
from sluicegate.engine.pipeline import Pipeline

if TYPE_CHECKING:
    from sluicegate.engine.adhoc import Insert, Statement

TIMEOUT_TWEAK = "adhoc_query_timeout_secs"
TIMEOUT = 600
"""Seconds a query may take: long enough for a full scan of a large table to a slow reader, and bounded."""
CONTENT_TYPES = {"text": "text/plain", "json": "application/json"}
"""To the letter: the official client compares the whole header."""


async def query(pipeline: Pipeline, request: Request) -> StreamingResponse:
    """Run the statements of a request and stream the rows of the last."""
    pipeline.check_ready()
    sql, written_as = required(request, "sql"), request.query_params.get("format", "text")
    statements = await asyncio.to_thread(_parse, sql, written_as, pipeline)
    job = Job(pipeline, written_as)
    begun = False
    try:
        first = await unless_disconnected(request, job.begin(statements))
        begun = True
    finally:
        if not begun:
            job.finish()
    return StreamingResponse(job.rest(first), headers={"content-type": CONTENT_TYPES[written_as]})


class Job:
    """One request's statements, with a time limit on them all."""

    def __init__(self, pipeline: Pipeline, written_as: str) -> None:
        from sluicegate.engine.adhoc import Run

        self._pipeline = pipeline
        self._written_as = written_as
        self._run = Run(pipeline.cursor())
        self._pieces: Iterator[bytes] = iter(())
        self._limit = float(_tweaks(pipeline).get(TIMEOUT_TWEAK, TIMEOUT))
        self._late = False
        self._timer = asyncio.get_running_loop().call_later(self._limit, self._expire)
        pipeline.queries.add(self._run)

    async def begin(self, statements: "Sequence[Statement]") -> bytes:
        """Run all statements; return the first piece of what the last one yields."""
        from sluicegate.engine.adhoc import Insert, count_of_inserted

        for place, statement in enumerate(statements, start=1):
            last = place == len(statements)
            if isinstance(statement, Insert):
                count = await self._insert(statement)
                statement = count_of_inserted(count)  # noqa: PLW2901 - an INSERT is answered by a query
            if last:
                write = self._run.text if self._written_as == "text" else self._run.json
                self._pieces = write(statement)
            else:
                self._pieces = self._run.rows_unread(statement)
            first = await self._next()
        return first

    async def rest(self, first: bytes) -> AsyncIterator[bytes]:
        """Yield the result piece by piece; an error in the middle is its last line."""
        piece = first
        try:
            while piece:
                yield piece
                piece = await self._next()
        except EngineError as error:
            shown = {"error": str(error.message)}
            yield (
                f"ERROR: {error.message}\n" if self._written_as == "text" else f"{json.dumps(shown)}\n"
            ).encode()
        finally:
            self.finish()

    def finish(self) -> None:
        """Let go of everything; what still runs is interrupted."""
        self._timer.cancel()
        self._pipeline.queries.discard(self._run)
        self._run.interrupt()

    async def _next(self) -> bytes:
        try:
            return await asyncio.to_thread(next, self._pieces, b"")
        except Exception as error:
            raise self._explain(error) from error

    async def _insert(self, insert: "Insert") -> int:
        try:
            count = await self._pipeline.write(
                lambda loader: loader.insert_query(insert.table, insert.columns, insert.sql)
            )
        except EngineError:
            raise
        except Exception as error:
            raise self._explain(error) from error
        self._pipeline.metrics.step(count)
        return count

    def _explain(self, error: Exception) -> EngineError:
        from sluicegate.engine.adhoc import explain

        if self._late:
            return query_failed(f"the query took longer than {self._limit:g} seconds")
        return explain(error)

    def _expire(self) -> None:
        self._late = True
        self._run.interrupt()


def _parse(sql: str, written_as: str, pipeline: Pipeline) -> "list[Statement]":
    from sluicegate.engine import adhoc

    adhoc.check_format(written_as)
    return adhoc.parse(sql, pipeline.plan)


def _tweaks(pipeline: Pipeline) -> dict[str, float]:
    tweaks: dict[str, float] = pipeline.deployment.config.runtime_config.get("dev_tweaks") or {}
    return tweaks

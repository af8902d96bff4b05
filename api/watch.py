"""`GET …/watch`: the transitions of a pipeline as server-sent events, from where the caller left off.

transition   one for each event of the journal; its id is the cursor to resume from
gap          what came after the caller's cursor is no longer kept; goes on with the oldest that is
deleted      the name is no longer that of this pipeline; nothing follows
"""

import json
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import errors as answered
from api.backend import Behind
from api.lookouts import Lookout, Lookouts
from api.parse import Tenant
from sluicegate import errors

KEEP_ALIVE = 10
"""Seconds between two comments, which keep proxies from closing a quiet stream."""
READ_WITHIN = 15
"""Seconds that a reader may leave what is sent unread, past what the connection itself takes."""
ENDS_WITHIN = 3
"""Seconds that a stream gets to end by itself when the front end does, before it is cut."""
RESUME_AFTER = 500
"""Milliseconds until a browser connects again."""

_EVENT = {
    "type": "object",
    "description": "What each event has; comments come in between.",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["transition", "gap", "deleted"]},
        "id": {"type": "string", "format": "uuid"},
        "data": {"type": "string"},
    },
}

_log = structlog.get_logger()

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Pipelines"])


@router.get(
    "/watch",
    response_class=Response,
    responses={
        **answered.documented(
            errors.UnknownPipelineName,
            errors.NotAnsweredYet,
            errors.TooManyWatchers,
            errors.ShuttingDown,
            plain=[400],
        ),
        200: {
            "description": "One event per transition, as it comes; `data` is JSON.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
    },
)
async def watch(
    pipeline_name: str,
    tenant: Tenant,
    backend: Behind,
    after: Annotated[UUID | None, Query(description="Id of the last event that is known.")] = None,
    last_event_id: Annotated[
        UUID | None, Header(description="The same, as browsers say it; goes before `after`.")
    ] = None,
) -> Response:
    """Follow the transitions of a pipeline; without a cursor the newest one comes first."""
    await backend.reader.projection(tenant, pipeline_name)  # which knows whether there is one
    cursor = last_event_id or after
    return _Stream(backend.lookouts, tenant, pipeline_name, str(cursor) if cursor else None)


class _Stream(Response):
    """Streams while the caller reads; whatever refuses it is raised before the answer begins."""

    def __init__(self, lookouts: Lookouts, tenant_id: str, name: str, cursor: str | None) -> None:
        super().__init__()
        self._lookouts = lookouts
        self._tenant_id = tenant_id
        self._name = name
        self._cursor = cursor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until either side ends it."""
        async with self._lookouts.watching(self._tenant_id, self._name) as lookout:
            events = events_of(lookout, self._name, self._cursor)
            stream = EventSourceResponse(
                events, ping=KEEP_ALIVE, send_timeout=READ_WITHIN, shutdown_grace_period=ENDS_WITHIN
            )
            try:
                await stream(scope, receive, send)
            except SendTimeoutError:
                # The answer is left unfinished, so that the connection is closed.
                _log.warning("a watcher does not read", path=scope["path"])


async def events_of(lookout: Lookout, name: str, cursor: str | None) -> AsyncIterator[ServerSentEvent]:
    """Give the events after a cursor, or from the newest on, until the pipeline is gone."""
    yield ServerSentEvent(retry=RESUME_AFTER)
    number = await _begin(lookout, cursor)
    while not lookout.closed:
        moved = lookout.moved
        if lookout.failure:
            raise lookout.failure
        if number < lookout.tail.first:
            yield _event("gap", after=cursor, oldest_kept=lookout.tail.oldest)
            number = lookout.tail.first
        for entry in lookout.tail.since(number):
            number += 1
            cursor = entry.event_id
            yield ServerSentEvent(entry.text, event="transition", id=cursor)
        if lookout.gone:
            if not lookout.complete:
                yield _event("gap", after=cursor, oldest_kept=None)
            yield _event("deleted", name=name)
            return
        await moved.wait()


async def _begin(lookout: Lookout, cursor: str | None) -> int:
    """Find the number to begin with; one below all that are kept where the cursor is not among them."""
    if cursor is None or lookout.tail.after(cursor) is None:
        # Another process may have shown the caller more than this one has read so far.
        demand = lookout.demand()
        while not (lookout.served(demand) or lookout.gone or lookout.closed or lookout.failure):
            await lookout.moved.wait()
    if cursor is None:
        return max(lookout.tail.end - 1, 0)
    number = lookout.tail.after(cursor)
    return lookout.tail.first - 1 if number is None else number


def _event(kind: str, **data: str | None) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data), event=kind)

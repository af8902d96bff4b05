"""Queries over HTTP and WebSocket (contract §5.4): what is asked, and how the pieces of the answer travel."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sluicegate.engine.connection import unless_disconnected
from sluicegate.engine.errors import EngineError, query_failed
from sluicegate.engine.job import Job
from sluicegate.engine.parameters import required
from sluicegate.engine.pipeline import Pipeline

CONTENT_TYPES = {
    "text": "text/plain",
    "json": "application/json",
    "parquet": "application/octet-stream",
    "arrow_ipc": "application/octet-stream",
    "hash": "text/plain",
}
"""To the letter: the official client compares the whole header."""
TEXTS = {"text", "json", "hash"}
"""Formats whose frames are texts."""
FRAME = 1 << 20
"""Bytes of a frame: the protocol has 2 MiB, and a text may not be cut within a letter."""
NORMAL, ERROR = 1000, 1011
"""Close codes."""


class _CutShort(Exception):
    """A result of which no more comes, in a format that cannot say so."""


class _Streamed(StreamingResponse):
    """Leaves the answer unfinished where it was cut short, so that the client sees that it is not whole."""

    async def stream_response(self, send: Send) -> None:
        with suppress(_CutShort):
            await super().stream_response(send)


async def query(pipeline: Pipeline, request: Request) -> StreamingResponse:
    """`GET /query`: run the statements of a request and stream the rows of the last."""
    pipeline.check_ready()
    sql, form = required(request, "sql"), request.query_params.get("format", "text")
    pieces = Job(pipeline, sql, form).pieces()
    begun = False
    try:
        first = await unless_disconnected(request, anext(pieces, b""))
        begun = True
    finally:
        if not begun:
            await pieces.aclose()
    headers = {"content-type": CONTENT_TYPES[form]}
    if form == "parquet":
        name = f"results_{datetime.now(UTC):%Y%m%d_%H%M%S}.parquet"
        headers["content-disposition"] = f'attachment; filename="{name}"'
    return _Streamed(_rest(first, pieces, form), headers=headers)


async def _rest(first: bytes, pieces: AsyncGenerator[bytes, None], form: str) -> AsyncIterator[bytes]:
    """Yield the result; an error in the middle is its last line, where it has lines."""
    async with aclosing(pieces):
        try:
            yield first
            async for piece in pieces:
                yield piece
        except EngineError as error:
            if form == "json":
                yield f"{json.dumps({'error': error.message})}\n".encode()
            elif form in TEXTS:
                yield f"ERROR: {error.message}\n".encode()
            else:
                raise _CutShort from error


async def converse(pipeline: Pipeline, socket: WebSocket) -> None:
    """`GET /query` as a WebSocket: one question, the answer in frames, and the end."""
    await socket.accept(subprotocol=next(iter(socket.scope.get("subprotocols", ())), None))
    code, reason = NORMAL, ""
    try:
        sql, form = _question(await socket.receive())
        await _unless_gone(socket, _answer(pipeline, socket, sql, form))
    except WebSocketDisconnect:
        return
    except EngineError as error:
        await socket.send_text(json.dumps({**error.body(), "error": error.message}))
        code, reason = ERROR, "the query failed"
    await socket.close(code, reason)


def _question(message: MutableMapping[str, Any]) -> tuple[str, str]:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    try:
        asked = json.loads(message.get("text") or message.get("bytes") or "")
        sql, form = asked["sql"], asked.get("format", "text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sql = form = None
    if not isinstance(sql, str) or not isinstance(form, str):
        raise query_failed('the first frame must be the JSON object {"sql": "…", "format": "…"}')
    return sql, form


async def _answer(pipeline: Pipeline, socket: WebSocket, sql: str, form: str) -> None:
    pipeline.check_ready()
    async with aclosing(Job(pipeline, sql, form).pieces()) as pieces:
        async for piece in pieces:
            for frame in _frames(piece, form):
                await (socket.send_text(frame) if isinstance(frame, str) else socket.send_bytes(frame))


def _frames(piece: bytes, form: str) -> list[str] | list[bytes]:
    if form not in TEXTS:
        return [piece[at : at + FRAME] for at in range(0, len(piece), FRAME)]
    text, size = piece.decode(), FRAME // 4  # a letter has four bytes at most
    return [text[at : at + size] for at in range(0, len(text), size)]


async def _unless_gone(socket: WebSocket, answer: Any) -> None:
    """Wait for the answer to be sent; a client that leaves, or says more than it may, ends it."""
    answering = asyncio.create_task(answer)
    leaving = asyncio.create_task(socket.receive())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
        elif leaving.result()["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(NORMAL)
        else:
            raise query_failed("a connection is for one query: open another for the next")
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)

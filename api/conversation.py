"""Queries over a WebSocket, passed on to the process frame by frame (contract §5.4)."""

import asyncio

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from api import errors as answered
from api.backend import Backend
from api.data_plane import address
from sluicegate import errors
from sluicegate.runtime_client import Unreachable

PREFERRED = "feldera-ws-v1"
FAILED = 1011
"""Close code of a conversation that did not end as it should."""
_UNSPEAKABLE = {None, 1005, 1006, 1015}
"""Close codes that say how a connection ended, and that nobody may send."""

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}")


@router.websocket("/query")
async def query(socket: WebSocket, pipeline_name: str) -> None:
    """Run one ad-hoc query: the question is the first frame, the answer follows in frames."""
    backend: Backend = socket.app.state.backend
    try:
        process = await _reached(backend, socket.state.tenant_id, pipeline_name)
    except errors.Refusal as refusal:
        await socket.send_denial_response(answered.response(refusal))
        return
    async with process:
        await socket.accept(subprotocol=_echoed(socket.scope.get("subprotocols", [])))
        await _relay(socket, process)


async def _reached(backend: Backend, tenant_id: str, name: str) -> ClientConnection:
    shown = await backend.reader.projection(tenant_id, name)
    try:
        return await backend.runtimes.converse(address(shown), shown.status["deployment_id"], "/query")
    except Unreachable as silence:
        raise errors.PipelineInteractionUnreachable(
            pipeline_name=name, request="GET /query", error=str(silence)
        ) from silence


def _echoed(offered: list[str]) -> str | None:
    """One protocol is named back; a browser hangs up where it offered some and none is."""
    return PREFERRED if PREFERRED in offered else next(iter(offered), None)


async def _relay(socket: WebSocket, process: ClientConnection) -> None:
    """Pass frames both ways until either side ends it; the process hears at once that a client has left."""
    asking, answering = (
        asyncio.create_task(_ask(socket, process)),
        asyncio.create_task(_answer(process, socket)),
    )
    try:
        await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
            code = FAILED if process.close_code in _UNSPEAKABLE else process.close_code
            await socket.close(code or FAILED, process.close_reason)
        else:
            asking.result()
    except WebSocketDisconnect:
        return
    finally:
        for task in (asking, answering):
            task.cancel()
        await asyncio.gather(asking, answering, return_exceptions=True)


async def _ask(socket: WebSocket, process: ClientConnection) -> None:
    """Pass on what the client says, until it leaves."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        try:
            await process.send(message.get("text") or message.get("bytes") or b"")
        except ConnectionClosed:
            await asyncio.Event().wait()  # the other direction tells how it ended


async def _answer(process: ClientConnection, socket: WebSocket) -> None:
    """Pass on what the process says, until it has ended; a slow client slows it down."""
    try:
        while True:
            frame = await process.recv()
            await (socket.send_text(frame) if isinstance(frame, str) else socket.send_bytes(frame))
    except ConnectionClosed:
        return

"""Answers that several routes give: JSON that is not to be cached, and an answer relayed as it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sluicegate.runtime_client import Outgoing, Unreachable, parts, relayed_headers


def fresh(body: Any, status: int = 200, **headers: str) -> JSONResponse:
    """Answer with what holds now and must not be cached."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-cache", **headers})


def nothing() -> Response:
    """Answer that it is done, with no body (contract §0)."""
    return Response(headers={"Cache-Control": "no-cache"})


_log = structlog.get_logger()
T = TypeVar("T")


async def unless_hung_up(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """Wait for an answer that may take long; when the caller hangs up it is cancelled.

    The request must have no body. Raises ClientDisconnect.
    """
    answering = asyncio.create_task(answer)
    nothing_more = asyncio.Event()
    nothing_more.set()
    watching = asyncio.create_task(_hung_up(request.receive, nothing_more))
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        watching.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


Forward = Callable[[Outgoing], Awaitable[httpx.Response]]


class Relay(Response):
    """Passes the request on and its answer back, both as they come.

    Whatever goes wrong before the answer begins is raised, and so answered as any other refusal. When the
    caller hangs up the request behind it is cancelled, also while there is nothing to send.
    """

    def __init__(self, forward: Forward, path: bytes, *, timeout: float | None) -> None:
        """Forward to a path (encoded); the query goes along."""
        super().__init__()
        self._forward = forward
        self._path = path
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay until either side ends it."""
        sent = asyncio.Event()
        relaying = asyncio.create_task(self._relay(scope, _body(scope, receive, sent), send))
        watching = asyncio.create_task(_hung_up(receive, sent))
        try:
            await asyncio.wait({relaying, watching}, return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                with suppress(ClientDisconnect):
                    relaying.result()
        finally:
            relaying.cancel()
            watching.cancel()
            await asyncio.gather(relaying, watching, return_exceptions=True)

    async def _relay(self, scope: Scope, body: AsyncIterator[bytes] | None, send: Send) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query: bytes = scope["query_string"]
        target = self._path + (b"?" + query if query else b"")
        answer = await self._forward(Outgoing(scope["method"], target, headers, body, self._timeout))
        try:
            head = {"status": answer.status_code, "headers": relayed_headers(answer)}
            await send({"type": "http.response.start", **head})
            async for part in parts(answer):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Unreachable as broken:
            # The answer is left unfinished, so that the caller sees that it is not whole.
            _log.warning("answer broke off", path=self._path.decode(), error=str(broken))
        finally:
            await answer.aclose()


def _body(scope: Scope, receive: Receive, sent: asyncio.Event) -> AsyncIterator[bytes] | None:
    """The body of the request, where it has one; `sent` is set when nothing more of it will come."""
    names = {name for name, _ in scope["headers"]}
    if not names & {b"content-length", b"transfer-encoding"}:
        sent.set()
        return None
    return _parts_of(receive, sent)


async def _parts_of(receive: Receive, sent: asyncio.Event) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if part := message.get("body", b""):
            yield part
        if not message.get("more_body", False):
            break
    sent.set()


async def _hung_up(receive: Receive, sent: asyncio.Event) -> None:
    """Return when the caller has hung up; the body must have been read before."""
    await sent.wait()
    while (await receive())["type"] != "http.disconnect":
        pass

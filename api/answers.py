"""Answers that several routes give: JSON that is not to be cached, and an answer relayed as it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import httpx
import structlog
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluicegate.runtime_client import Outgoing, Unreachable, parts, relayed_headers


class Json(Response):
    """JSON that is written in a fraction of the time that the standard library takes, for long lists."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the content."""
        return to_json(content, inf_nan_mode="null")


def fresh(body: Any, status: int = 200, **headers: str) -> Response:
    """Answer with what holds now and must not be cached."""
    return Json(body, status, headers={"Cache-Control": "no-cache", **headers})


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
_OF_A_BODY = {"content-length", "content-type"}
"""Headers of a request that go with its body."""


class Relay(Response):
    """Passes the request on and its answer back, both as they come.

    Whatever goes wrong before the answer begins is raised, and so answered as any other refusal. When the
    caller hangs up the request behind it is cancelled, also while there is nothing to send.
    """

    def __init__(self, forward: Forward, outgoing: Outgoing, *, content: bytes | None = None) -> None:
        """Forward with the method and to the path that are given; the query goes along, and so does the body,
        or what was read of it already, where the method is the caller's own."""
        super().__init__()
        self._content = content
        self._forward = forward
        self._outgoing = outgoing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay until either side ends it."""
        sent = asyncio.Event()
        body = self._body(scope, receive, sent)
        relaying = asyncio.create_task(self._relay(scope, body, send))
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

    def _body(self, scope: Scope, receive: Receive, sent: asyncio.Event) -> AsyncIterator[bytes] | None:
        if self._outgoing.method != scope["method"]:
            sent.set()
            return None
        return _body(scope, receive, sent) if self._content is None else _read(self._content, sent)

    async def _relay(self, scope: Scope, body: AsyncIterator[bytes] | None, send: Send) -> None:
        named = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        headers = [pair for pair in named if body is not None or pair[0] not in _OF_A_BODY]
        query: bytes = scope["query_string"]
        target = self._outgoing.target + (b"?" + query if query else b"")
        answer = await self._forward(self._outgoing._replace(target=target, headers=headers, body=body))
        try:
            head = {"status": answer.status_code, "headers": relayed_headers(answer)}
            await send({"type": "http.response.start", **head})
            async for part in parts(answer):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Unreachable as broken:
            # The answer is left unfinished, so that the caller sees that it is not whole.
            _log.warning("answer broke off", path=self._outgoing.target.decode(), error=str(broken))
        finally:
            await answer.aclose()


def _read(content: bytes, sent: asyncio.Event) -> AsyncIterator[bytes]:
    """A body that has come already."""

    async def whole() -> AsyncIterator[bytes]:
        yield content

    sent.set()
    return whole()


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

"""A host's log service: whoever has the token reads the logs of the pipelines of this host, and leaves there
what was collected of them for support.

It runs inside the host's worker and answers in every status of a pipeline, since logs outlive processes. The
source of the logs is given, so that this module knows no provisioner. Who gives a cursor gets lines only, to
count them, and is told in headers which line comes first (contract §5.8).
"""

import asyncio
import contextlib
import hmac
import io
import re
import socket
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Protocol
from uuid import UUID

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sluicegate.provision import LogPlace
from sluicegate.provision.collected import NAME

CURSOR = re.compile(r"(?:[0-9a-fA-F-]{36}:[0-9]{1,20})?")
"""`<epoch>:<lines read>`, or nothing for the beginning."""


LARGEST = 32 << 20
"""Bytes of what was collected at once."""


class LogSource(Protocol):
    """What is served: see `sluicegate.provision.Provisioner`."""

    def logs(
        self, pipeline_id: str, *, follow: bool = True, start: int | None = None
    ) -> AsyncIterator[bytes]:
        """Give chunks of whole lines."""

    async def log_place(self, pipeline_id: str, cursor: str) -> LogPlace:
        """Say where a reader begins."""

    async def keep(self, pipeline_id: str, name: str, data: bytes) -> None:
        """Keep what was collected."""

    async def kept(self, pipeline_id: str) -> Mapping[str, bytes]:
        """Give what is kept."""


_CLOSING = b"[manager] end of the logs: the log service of this host is stopping\n"
_STOP_BOUND = 2
"""Seconds that open streams may take to say goodbye."""


def create_app(source: LogSource, token: str) -> Starlette:
    """Make the application: logs and collections for the bearer of the token, `GET /healthz` for all."""
    routes = [
        Route("/logs/{pipeline_id}", _logs),
        Route("/collected/{pipeline_id}", _collected),
        Route("/collected/{pipeline_id}/{name}", _collect, methods=["PUT"]),
        Route("/healthz", _healthz),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    app.state.source = source
    app.state.token = token
    app.state.closing = asyncio.Event()
    return app


def bind(host: str, preferred_port: int | None = None) -> socket.socket:
    """Bind the preferred port, so that addresses given out stay valid, or any other if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (preferred_port, 0) if preferred_port else (0,):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError:
            bound.close()
            if port == 0:
                raise
            continue
        return bound
    raise AssertionError("port 0 is bound or refused")


async def serve(app: Starlette, bound: socket.socket, stop: asyncio.Event) -> None:
    """Serve on a bound socket until told to stop; streams end with a line that says so."""
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_STOP_BOUND)
    )
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        app.state.closing.set()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Leaves the signals to the worker that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _refused(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    return PlainTextResponse(f"{problem.detail}\n", problem.status_code, problem.headers)


def _asked(request: Request) -> str:
    """The pipeline that is meant by who has the token."""
    if not _bears(request, request.app.state.token):
        raise HTTPException(401, "a valid token is required", {"WWW-Authenticate": "Bearer"})
    try:
        return str(UUID(request.path_params["pipeline_id"]))
    except ValueError:
        raise HTTPException(404, "not a pipeline id") from None


async def _collected(request: Request) -> Response:
    kept = await request.app.state.source.kept(_asked(request))
    return Response(await asyncio.to_thread(_archive, kept), media_type="application/zip")


def _archive(kept: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    return whole.getvalue()


async def _collect(request: Request) -> Response:
    pipeline_id, name, data = _asked(request), request.path_params["name"], bytearray()
    if not NAME.fullmatch(name):
        raise HTTPException(404, "not a name of what was collected")
    async for part in request.stream():
        data += part
        if len(data) > LARGEST:
            raise HTTPException(413, f"more than {LARGEST} bytes")
    try:
        await request.app.state.source.keep(pipeline_id, name, bytes(data))
    except FileNotFoundError:
        raise HTTPException(404, "it has never been deployed here") from None
    return Response(status_code=204)


async def _logs(request: Request) -> Response:
    state, pipeline_id = request.app.state, _asked(request)
    follow = request.query_params.get("follow", "true").lower() != "false"
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return _text(_until_closing(state.source.logs(pipeline_id, follow=follow), state.closing, _CLOSING))
    if not CURSOR.fullmatch(cursor):
        raise HTTPException(400, "not a cursor")
    place = await state.source.log_place(pipeline_id, cursor)
    lines = state.source.logs(pipeline_id, follow=follow, start=place.start)
    position = {"epoch": place.epoch, "seq": place.seq, "gap": place.gap}
    headers = {f"feldera-logs-{name}": str(value) for name, value in position.items()}
    return _text(_until_closing(lines, state.closing), headers)


def _text(chunks: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return StreamingResponse(chunks, media_type="text/plain; charset=utf-8", headers=headers)


def _bears(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


async def _until_closing(
    chunks: AsyncIterator[bytes], closing: asyncio.Event, goodbye: bytes = b""
) -> AsyncGenerator[bytes]:
    """Pass the chunks on until they end, the client leaves (we are closed) or the service stops."""
    stopping = asyncio.ensure_future(closing.wait())
    upcoming: asyncio.Future[bytes] | None = None
    try:
        while not closing.is_set():
            upcoming = asyncio.ensure_future(anext(chunks))
            await asyncio.wait({upcoming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done():
                yield upcoming.result()
        if goodbye:
            yield goodbye
    except StopAsyncIteration:
        return
    finally:
        stopping.cancel()
        await _abandon(upcoming, chunks)


async def _abandon(upcoming: asyncio.Future[bytes] | None, chunks: AsyncIterator[bytes]) -> None:
    """End the source where it stands."""
    if upcoming is not None and not upcoming.done():
        upcoming.cancel()
        await asyncio.wait({upcoming})
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()

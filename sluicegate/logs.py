"""A host's log service: whoever has the token reads the logs of the pipelines of this host.

It runs inside the host's worker and answers in every status of a pipeline, since logs outlive processes. The
source of the logs is given as a function, so that this module knows no provisioner.
"""

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from uuid import UUID

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

LogSource = Callable[[str, bool], AsyncIterator[bytes]]
"""From a pipeline's id, and whether to follow, to chunks of whole lines."""

_CLOSING = b"[manager] end of the logs: the log service of this host is stopping\n"
_STOP_BOUND = 2
"""Seconds that open streams may take to say goodbye."""


def create_app(source: LogSource, token: str) -> Starlette:
    """Make the application: `GET /logs/{pipeline_id}` for the bearer of the token, `GET /healthz` for all."""
    app = Starlette(routes=[Route("/logs/{pipeline_id}", _logs), Route("/healthz", _healthz)])
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


async def _logs(request: Request) -> Response:
    state = request.app.state
    if not _bears(request, state.token):
        return PlainTextResponse("a valid token is required\n", 401, {"WWW-Authenticate": "Bearer"})
    try:
        pipeline_id = str(UUID(request.path_params["pipeline_id"]))
    except ValueError:
        return PlainTextResponse("not a pipeline id\n", 404)
    follow = request.query_params.get("follow", "true").lower() != "false"
    chunks = _until_closing(state.source(pipeline_id, follow), state.closing)
    return StreamingResponse(
        chunks, media_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"}
    )


def _bears(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


async def _until_closing(chunks: AsyncIterator[bytes], closing: asyncio.Event) -> AsyncGenerator[bytes]:
    """Pass the chunks on until they end, the client leaves (we are closed) or the service stops."""
    stopping = asyncio.ensure_future(closing.wait())
    upcoming: asyncio.Future[bytes] | None = None
    try:
        while not closing.is_set():
            upcoming = asyncio.ensure_future(anext(chunks))
            await asyncio.wait({upcoming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done():
                yield upcoming.result()
        yield _CLOSING
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

"""The HTTP surface of a running pipeline: who may call, what is called what, and how errors are written."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sluicegate.engine import clock, ingress, querying
from sluicegate.engine.connection import Gone
from sluicegate.engine.errors import EngineError, PlainError
from sluicegate.engine.parameters import flag
from sluicegate.engine.pipeline import Pipeline

Handler = Callable[[Request], Awaitable[Response]]
CLIENT_CLOSED = 499
"""What nobody reads: the client has gone."""


class Authentication:
    """Lets only those in who know the deployment's token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                headers = {"www-authenticate": "Bearer"}
                await _plain(401, "The token of this deployment is required", headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Endpoints:
    """What the process answers; see the contract for each."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def status(self, _: Request) -> Response:
        """`GET /status`."""
        state = asdict(self._pipeline.status())
        if self._pipeline.metrics.num_errors:
            state["runtime_status_details"]["connector_stats"] = {
                "num_errors": self._pipeline.metrics.num_errors
            }
        return JSONResponse(state)

    async def start(self, _: Request) -> Response:
        """`GET /start`: take input."""
        return JSONResponse(self._pipeline.resume(), 202)

    async def pause(self, _: Request) -> Response:
        """`GET /pause`: take none."""
        return JSONResponse(self._pipeline.pause(), 202)

    async def activate(self, request: Request) -> Response:
        """`POST /activate?initial=`: as start or pause, since this release has no standby."""
        initial = request.query_params.get("initial", "running")
        if initial not in ("running", "paused"):
            message = f"The initial status '{initial}' is neither running nor paused"
            raise EngineError(400, "InvalidActivateStatus", message, initial)
        return JSONResponse(self._pipeline.activate(initial.capitalize()), 202)

    async def approve(self, request: Request) -> Response:
        """`POST /approve`: nothing ever waits for approval here."""
        if flag(request, "silent_bootstrap") and flag(request, "concurrent_bootstrap"):
            message = "A bootstrap cannot be both silent and concurrent"
            raise EngineError(400, "InvalidBootstrapConfig", message, {})
        return JSONResponse("Bootstrap approved")

    async def suspend(self, _: Request) -> Response:
        """`POST /suspend`: checkpoint and let go."""
        self._pipeline.suspend()
        return JSONResponse("Pipeline is suspending", 202)

    async def stats(self, request: Request) -> Response:
        """`GET /stats`."""
        with_errors = flag(request, "include_connector_errors")
        self._pipeline.check_ready()
        storage = self._pipeline.storage
        if storage is not None:
            self._pipeline.metrics.storage_bytes = storage.bytes_used()
        body = self._pipeline.metrics.stats(
            self._pipeline.state, with_errors=with_errors, has_storage=storage is not None
        )
        return JSONResponse(body)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        if request.query_params.get("format", "prometheus") != "prometheus":
            raise PlainError(400, "Query deserialize error: this release writes the format prometheus only")
        self._pipeline.check_ready()
        return _plain(200, self._pipeline.metrics.prometheus())

    async def checkpoints(self, _: Request) -> Response:
        """`GET /checkpoints`."""
        return JSONResponse([checkpoint.describe() for checkpoint in self._pipeline.checkpoints])

    async def rebalance(self, _: Request) -> Response:
        """`POST /rebalance`: one process has nothing to spread over others, so there is nothing to do."""
        self._pipeline.check_ready()
        return Response()

    async def start_compaction(self, _: Request) -> Response:
        """`POST /start_compaction`: fold the write-ahead log into the database file and free its blocks."""
        await self._pipeline.write(lambda loader: loader.compact())
        return Response()

    async def advance_clock(self, request: Request) -> Response:
        """`POST /clock/advance`: refused, since NOW follows the clock of the host in this release."""
        self._pipeline.check_ready()
        raise clock.refusal(await request.body(), self._pipeline.deployment.config.runtime_config)

    async def ingress(self, request: Request) -> Response:
        """`POST /ingress/{table}`."""
        return JSONResponse(await ingress.push(self._pipeline, request))

    async def completion_status(self, request: Request) -> Response:
        """`GET /completion_status`."""
        return JSONResponse(ingress.completion(self._pipeline, request))

    async def query(self, request: Request) -> Response:
        """`GET /query`."""
        return await querying.query(self._pipeline, request)


def create_app(pipeline: Pipeline) -> Starlette:
    """Return the application of one pipeline."""
    endpoints = Endpoints(pipeline)
    routes = [
        Route("/status", endpoints.status),
        Route("/start", endpoints.start),
        Route("/pause", endpoints.pause),
        Route("/activate", endpoints.activate, methods=["POST"]),
        Route("/approve", endpoints.approve, methods=["POST"]),
        Route("/suspend", endpoints.suspend, methods=["POST"]),
        Route("/stats", endpoints.stats),
        Route("/metrics", endpoints.metrics),
        Route("/checkpoints", endpoints.checkpoints),
        Route("/rebalance", endpoints.rebalance, methods=["POST"]),
        Route("/start_compaction", endpoints.start_compaction, methods=["POST"]),
        Route("/clock/advance", endpoints.advance_clock, methods=["POST"]),
        Route("/ingress/{table:path}", endpoints.ingress, methods=["POST"]),
        Route("/completion_status", endpoints.completion_status),
        Route("/query", endpoints.query),
    ]
    handlers: dict[Any, Any] = {
        EngineError: _engine_error,
        PlainError: _plain_error,
        Gone: _gone,
        404: _not_found,
        Exception: _unexpected,
    }
    token = pipeline.deployment.config.auth_token
    return Starlette(
        routes=routes, exception_handlers=handlers, middleware=[Middleware(Authentication, token=token)]
    )


async def _engine_error(request: Request, error: EngineError) -> Response:
    # A 503 from /status would read as "ask again"; a failure that stays is told as one.
    final = request.url.path == "/status" and error.status == 503
    return JSONResponse(error.body(), 500 if final else error.status)


async def _plain_error(_: Request, error: PlainError) -> Response:
    return _plain(error.status, str(error))


async def _gone(_: Request, __: Gone) -> Response:
    return Response(status_code=CLIENT_CLOSED)


async def _not_found(request: Request, _: Exception) -> Response:
    message = f"The built-in engine has no {request.method} {request.url.path}"
    return JSONResponse({"message": message, "error_code": "NotFound", "details": {}}, 404)


async def _unexpected(_: Request, error: Exception) -> Response:
    message = f"{type(error).__name__}: {error}"
    return JSONResponse({"message": message, "error_code": "InternalError", "details": {}}, 500)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers={"content-type": "text/plain", **(headers or {})})

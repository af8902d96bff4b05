"""The HTTP surface of a running pipeline: who may call, what is called what, and how errors are written."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sluicegate.engine import clock, errors, ingress, querying
from sluicegate.engine.checkpoints.making import check_incarnation
from sluicegate.engine.connecting.answers import ConnectorAnswers
from sluicegate.engine.connection import Gone
from sluicegate.engine.errors import EngineError, PlainError
from sluicegate.engine.observing.answers import OwnAnswers
from sluicegate.engine.parameters import flag
from sluicegate.engine.pipeline import Pipeline
from sluicegate.engine.remote.answers import RemoteAnswers

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
        if scope["type"] in ("http", "websocket"):
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
        """`POST /activate?initial=`: end standing by; else as start or pause."""
        initial = request.query_params.get("initial", "running")
        if initial not in ("running", "paused"):
            message = f"The initial status '{initial}' is neither running nor paused"
            raise EngineError(400, "InvalidActivateStatus", message, initial)
        return JSONResponse(self._pipeline.activate(initial.capitalize()), 202)

    async def approve(self, request: Request) -> Response:
        """`POST /approve`: have a changed program go on with what is stored."""
        silent, concurrent = flag(request, "silent_bootstrap"), flag(request, "concurrent_bootstrap")
        if silent and concurrent:
            message = "A bootstrap cannot be both silent and concurrent"
            raise EngineError(400, "InvalidBootstrapConfig", message, {})
        await self._pipeline.approve(silent=silent, concurrent=concurrent)
        return JSONResponse("Bootstrap approved")

    async def suspend(self, _: Request) -> Response:
        """`POST /suspend`: checkpoint and let go."""
        self._pipeline.suspend()
        return JSONResponse("Pipeline is suspending", 202)

    async def checkpoints(self, _: Request) -> Response:
        """`GET /checkpoints`."""
        return JSONResponse([checkpoint.describe() for checkpoint in self._pipeline.situation.checkpoints])

    async def checkpoint(self, _: Request) -> Response:
        """`POST /checkpoint`: begin to make one."""
        self._pipeline.check_ready()
        number, incarnation = self._pipeline.checkpoints.ask(), self._pipeline.metrics.incarnation
        return JSONResponse({"checkpoint_sequence_number": number, "incarnation_uuid": str(incarnation)})

    async def checkpoint_status(self, request: Request) -> Response:
        """`GET /checkpoint_status`."""
        asked = request.query_params.get("incarnation_uuid")
        check_incarnation(asked, self._pipeline.metrics.incarnation)
        return JSONResponse(self._pipeline.checkpoints.status())

    async def rebalance(self, _: Request) -> Response:
        """`POST /rebalance`: one process has nothing to spread over others, so there is nothing to do."""
        self._pipeline.check_ready()
        return Response()

    async def start_compaction(self, _: Request) -> Response:
        """`POST /start_compaction`: fold the write-ahead log into the database file and free its blocks."""
        if self._pipeline.situation.transition is not None:
            raise errors.bootstrapping()  # views are being written into the file
        if not await self._pipeline.checkpoints.alone(lambda writer: writer.try_to_fold()):
            raise errors.read_meanwhile()
        return Response()

    async def advance_clock(self, request: Request) -> Response:
        """`POST /clock/advance`."""
        return JSONResponse(clock.answer(await self._pipeline.advance_clock(await request.body())))

    async def start_transaction(self, _: Request) -> Response:
        """`POST /start_transaction`."""
        return JSONResponse({"transaction_id": await self._pipeline.start_transaction()})

    async def commit_transaction(self, _: Request) -> Response:
        """`POST /commit_transaction`: begin to."""
        self._pipeline.check_ready()
        self._pipeline.transactions.commit()
        return JSONResponse("Transaction commit initiated")

    async def ingress(self, request: Request) -> Response:
        """`POST /ingress/{table}`."""
        return JSONResponse(await ingress.push(self._pipeline, request))

    async def egress(self, request: Request) -> Response:
        """`POST /egress/{relation}`."""
        from sluicegate.engine import egress

        return await egress.listen(self._pipeline, request)

    async def completion_status(self, request: Request) -> Response:
        """`GET /completion_status`."""
        return JSONResponse(ingress.completion(self._pipeline, request))

    async def query(self, request: Request) -> Response:
        """`GET /query`."""
        return await querying.query(self._pipeline, request)

    async def converse(self, socket: WebSocket) -> None:
        """`GET /query`, upgraded to a WebSocket."""
        await querying.converse(self._pipeline, socket)


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
        Route("/checkpoint", endpoints.checkpoint, methods=["POST"]),
        Route("/checkpoint_status", endpoints.checkpoint_status),
        Route("/checkpoints", endpoints.checkpoints),
        Route("/rebalance", endpoints.rebalance, methods=["POST"]),
        Route("/start_compaction", endpoints.start_compaction, methods=["POST"]),
        Route("/clock/advance", endpoints.advance_clock, methods=["POST"]),
        Route("/start_transaction", endpoints.start_transaction, methods=["POST"]),
        Route("/commit_transaction", endpoints.commit_transaction, methods=["POST"]),
        Route("/ingress/{table:path}", endpoints.ingress, methods=["POST"]),
        Route("/egress/{relation:path}", endpoints.egress, methods=["POST"]),
        Route("/completion_status", endpoints.completion_status),
        Route("/query", endpoints.query),
        *ConnectorAnswers(pipeline).routes(),
        *OwnAnswers(pipeline).routes(),
        *RemoteAnswers(pipeline).routes(),
        WebSocketRoute("/query", endpoints.converse),
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

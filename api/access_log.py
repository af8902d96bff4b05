"""One line per request: what was asked, what was answered, how long it took; never a query or a header,
since both may hold secrets."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_QUIET = {"/healthz"}
_log = structlog.get_logger()


class AccessLog:
    """Logs each request when its answer is complete."""

    def __init__(self, app: ASGIApp) -> None:
        """Log the requests of an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log it."""
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - began) * 1000, 1),
                actor=scope.get("state", {}).get("actor"),
                tenant=scope.get("state", {}).get("tenant_id"),
            )

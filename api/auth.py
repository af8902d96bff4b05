"""Who may call: whoever brings a credential, where settings ask for one; otherwise this machine only, and no
web page of others.

It stands before everything else. Without authentication the API is for whoever sits at this machine, so a
request must name this machine as its Host (a foreign name that resolves here is a rebinding attack) and must
not come from a page of another origin, since a page must not be able to start a pipeline.
"""

import asyncio
import ipaddress
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.authentication import AuthenticationFailed, Authenticator, Unauthenticated
from api.principal import ANONYMOUS, Principal
from api.roles import OPEN
from api.websocket import promote
from sluicegate.errors import Refusal
from sluicegate.settings import Settings

TENANT_HEADER = "Feldera-Tenant"
_FOREIGN = {"cross-site", "same-site"}
DOUBT_EVERY = 2.0
"""Seconds after which whoever still listens is asked for once more: a credential that is revoked ends the
stream that it has opened."""
_READING = {"GET", "HEAD"}
_LISTENING = "/egress/"
"""Within the path of a POST that only reads, and has no end."""


def reads(scope: Scope) -> bool:
    """Whether a call leaves nothing undone whose outcome would be unknown, if it is cut off in the middle."""
    listens = scope.get("method") == "POST" and _LISTENING in scope["path"]
    return scope["type"] == "websocket" or scope.get("method") in _READING or listens


class UnsafeBinding(Exception):
    """The API would be open to other machines without asking for a key."""


def check_binding(settings: Settings) -> None:
    """Raise UnsafeBinding where other machines could call without a key."""
    if not settings.auth_required and not settings.binds_loopback:
        raise UnsafeBinding(
            f"Without API keys the front end binds this machine's loopback address only, not"
            f" {settings.api_host}: set SLUICEGATE_API_KEYS, or SLUICEGATE_API_HOST=127.0.0.1."
        )


class Guard:
    """Lets a request through with its principal, or answers it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Guard an application."""
        self._app = app
        self._required = settings.auth_required
        self._hosts = {host.lower() for host in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with what is known of its caller in its state."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        found = await self._authenticated(scope) if self._required else self._local(scope)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if isinstance(found, Refusal):
            state["refusal"] = found  # which the gate answers with, where there is such a route
            await self._app(scope, receive, send)
            return
        state.update(
            principal=found,
            actor=found.actor,
            tenant_id=found.tenant_id,
            role=found.role,
            memberships=found.memberships,
            refusal=found.refusal,
        )
        if self._required and reads(scope) and scope["path"] not in OPEN:
            await self._doubting(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _doubting(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a read for as long as its credential counts; what has begun by then is left unfinished."""
        begun = asyncio.Event()

        async def noted(message: Message) -> None:
            begun.set()
            await send(message)

        async def serve() -> None:
            await self._app(scope, receive, noted)

        serving = asyncio.create_task(serve())
        refused: Response | None = None
        try:
            while refused is None and not (await asyncio.wait({serving}, timeout=DOUBT_EVERY))[0]:
                refused = await self._refused(scope)
        finally:
            if not serving.done():
                serving.cancel()
                await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()
        elif refused is not None and not begun.is_set():
            await refused(scope, receive, send)

    async def _refused(self, scope: Scope) -> Response | None:
        """The refusal of a caller who was let in, if there is one by now; that nobody can tell is none."""
        found = await self._authenticated(scope)
        if isinstance(found, Refusal):
            found = errors.response(found)
        if isinstance(found, Response):
            return None if found.status_code == 503 else found
        before: Principal = scope["state"]["principal"]
        same = (found.tenant_id, found.role) == (before.tenant_id, before.role)
        return None if same else PlainTextResponse("", 401, headers={"WWW-Authenticate": "Bearer"})

    async def _authenticated(self, scope: Scope) -> Principal | Response | Refusal:
        """Who calls; a response to a bad credential, or the refusal of a good one in the tenant wanted."""
        if scope["path"] in OPEN:
            return Principal(ANONYMOUS, None, None)
        promote(scope)
        headers = Headers(scope=scope)
        authenticator: Authenticator = scope["app"].state.backend.authenticator
        try:
            return await authenticator.principal(headers.get("authorization"), _wanted(headers))
        except Unauthenticated:
            return PlainTextResponse("", 401, headers={"WWW-Authenticate": "Bearer"})
        except AuthenticationFailed as failed:
            body = {"message": str(failed), "error_code": "AuthenticationFailed"}
            return PlainTextResponse(json.dumps(body), 401)
        except Refusal as refusal:
            return refusal

    def _local(self, scope: Scope) -> Principal | Response:
        reason = self._foreign(scope, Headers(scope=scope))
        return PlainTextResponse(reason, 403) if reason else Principal(ANONYMOUS)

    def _foreign(self, scope: Scope, headers: Headers) -> str | None:
        """Why a request without a key is not from this machine's user, if it is not."""
        if not _on_loopback(scope.get("server")):
            return "Other machines need an API key."
        host = headers.get("host", "").lower()
        if _name(host) not in self._hosts:
            return "This Host name is not one of SLUICEGATE_ALLOWED_HOSTS."
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            return "Pages of other origins may not call."
        if headers.get("sec-fetch-site") in _FOREIGN and scope["path"] not in OPEN:
            return "Pages of other sites may not call."
        return None


def _wanted(headers: Headers) -> str | None:
    """The tenant that a request names; names may have any letters, and headers are bytes."""
    given = headers.get(TENANT_HEADER)
    return given.encode("latin-1").decode(errors="replace") if given is not None else None


def _place(origin: str) -> str | None:
    """Host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _on_loopback(server: tuple[str, int | None] | None) -> bool:
    """Whether the address that was called is of this machine only, however the server was started."""
    try:
        return server is None or ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return True  # a name or a socket file: it cannot be called from elsewhere

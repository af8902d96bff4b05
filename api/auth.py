"""Who may call: API keys where settings have some; otherwise this machine only, and no web page of others.

It stands before everything else. Without keys the API is for whoever sits at this machine, so a request must
name this machine as its Host (a foreign name that resolves here is a rebinding attack) and must not come
from a page of another origin, since a page must not be able to start a pipeline.
"""

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.roles import OPEN
from sluicegate.access.entries import DEFAULT_TENANT
from sluicegate.access.roles import Role
from sluicegate.settings import Settings

ANONYMOUS = "anonymous"
_FOREIGN = {"cross-site", "same-site"}


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
    """Lets a request through with its tenant and actor, or answers it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Guard an application."""
        self._app = app
        keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._keys = {hashlib.sha256(key).digest(): _actor(key) for key in keys}
        self._hosts = {host.lower() for host in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with `tenant_id` and `actor` in its state."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        actor: str | None = ANONYMOUS
        refused = None
        if self._keys:
            actor = self._known(headers.get("authorization", ""))
            if actor is None and scope["path"] not in OPEN:
                refused = Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        elif reason := self._foreign(scope, headers):
            refused = PlainTextResponse(reason, 403)
        if refused is not None:
            await refused(scope, receive, send)
            return
        role = Role.ADMIN if actor else None
        scope.setdefault("state", {}).update(actor=actor or ANONYMOUS, tenant_id=DEFAULT_TENANT, role=role)
        await self._app(scope, receive, send)

    def _known(self, authorization: str) -> str | None:
        """Whose key it is; every key is compared, so that the time taken says nothing."""
        scheme, _, credential = authorization.partition(" ")
        given = hashlib.sha256(credential.strip().encode("latin-1", "replace")).digest()
        found = None
        for digest, actor in self._keys.items():
            if hmac.compare_digest(digest, given) and scheme.lower() == "bearer":
                found = actor
        return found

    def _foreign(self, scope: Scope, headers: Headers) -> str | None:
        """Why a request without a key is not from this machine's user, if it is not."""
        if not _local(scope.get("server")):
            return "Other machines need an API key."
        host = headers.get("host", "").lower()
        if _name(host) not in self._hosts:
            return "This Host name is not one of SLUICEGATE_ALLOWED_HOSTS."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return "Pages of other origins may not call."
        if headers.get("sec-fetch-site") in _FOREIGN and scope["path"] not in OPEN:
            return "Pages of other sites may not call."
        return None


def _actor(key: bytes) -> str:
    return f"key:{hashlib.sha256(key).hexdigest()[:8]}"


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _local(server: tuple[str, int | None] | None) -> bool:
    """Whether the address that was called is of this machine only, however the server was started."""
    try:
        return server is None or ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return True  # a name or a socket file: it cannot be called from elsewhere

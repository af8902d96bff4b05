"""Reading requests strictly: JSON bodies, query words, idempotency keys (contract §0).

What is malformed is refused in plain text before anything is looked up.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from api.errors import PlainText
from sluicegate.access.roles import Role
from sluicegate.errors import InvalidIdempotencyKey

MAX_BODY = 2 << 20
MAX_KEY = 128
_FLAGS = {"true": True, "false": False}


def _flag(raw: Any) -> Any:
    if isinstance(raw, str) and raw not in _FLAGS:
        raise ValueError("true or false is expected")
    return _FLAGS[raw] if isinstance(raw, str) else raw


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A query value that is exactly `true` or `false`."""


class JsonRequest(Request):
    """A request whose body must be JSON of bounded size."""

    async def body(self) -> bytes:
        """Read the body. Raises PlainText: 413 where too large, 400 where not declared as JSON."""
        if not hasattr(self, "_body"):
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise PlainText(400, "The Content-Type must be application/json.")
            whole = bytearray()
            async for part in self.stream():
                whole += part
                if len(whole) > MAX_BODY:
                    raise PlainText(413, f"The body is larger than {MAX_BODY} bytes.")
            self._body = bytes(whole)
        return self._body

    async def json(self) -> Any:
        """Read the JSON value. Raises PlainText where there is none."""
        try:
            value = from_json(await self.body(), allow_inf_nan=False)
            json.dumps(value, allow_nan=False)  # 1e999 reads as infinity, which no answer could hold
        except ValueError as problem:
            raise PlainText(400, f"The body is not JSON: {problem}") from None
        return value


class JsonRoute(APIRoute):
    """A route that reads its body as `JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the request."""
        handler = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return strictly


class Caller(NamedTuple):
    """Who asks, and under which request id."""

    tenant_id: str
    actor: str
    request_id: str
    keyed: bool
    """The caller named the request, so it may be a repetition."""


def request_id(actor: str, key: str) -> str:
    """Turn the idempotency key of an actor into a request id; keys of different actors never meet."""
    return hashlib.sha256(f"{actor}\n{key}".encode()).hexdigest()[:32]


async def caller(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Names the request, so that a repetition has no second effect:"
            f" 1 to {MAX_KEY} printable ASCII characters.",
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
        ),
    ] = None,
) -> Caller:
    """Read who asks. Raises InvalidIdempotencyKey."""
    actor, tenant_id = request.state.actor, request.state.tenant_id
    if idempotency_key is None:
        return Caller(tenant_id, actor, str(uuid.uuid4()), keyed=False)
    return Caller(tenant_id, actor, request_id(actor, check_key(idempotency_key)), keyed=True)


def check_key(key: str) -> str:
    """Return a usable idempotency key. Raises InvalidIdempotencyKey."""
    if not 0 < len(key) <= MAX_KEY:
        raise InvalidIdempotencyKey(reason=f"it must have 1 to {MAX_KEY} characters")
    if not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey(reason="only printable ASCII characters may occur")
    return key


async def tenant(request: Request) -> str:
    """Read whose pipelines are meant."""
    tenant_id: str = request.state.tenant_id
    return tenant_id


async def role(request: Request) -> Role:
    """Read what the caller may do."""
    found: Role = request.state.role
    return found


# What is read is no work, so it is asynchronous: anything else would wait for a thread.
Called = Annotated[Caller, Depends(caller)]
Tenant = Annotated[str, Depends(tenant)]
CallerRole = Annotated[Role, Depends(role)]

"""Lets a request through to its route when the caller's role allows it (contract §6.2).

It stands between authentication and the routes, so a caller without the role learns nothing: no body is
read and no pipeline looked up before. It asks the application's own routes which one will answer, so what is
checked and what is run cannot differ.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path  # what the router itself matches
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors, roles
from sluicegate.access.refusals import InsufficientPermissions
from sluicegate.access.roles import Role

SESSION = "/v0/config/session"
"""What a login may ask that says in no tenant it acts (contract §6.1)."""


class _Known(NamedTuple):
    kind: str
    methods: frozenset[str] | None
    """None where any method is taken."""
    pattern: re.Pattern[str]
    template: str


class Gate:
    """Answers the request itself where there is no route or the role is too low."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """Guard the routes of an application."""
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refused = self._refused(scope) if scope["type"] != "lifespan" else None
        await (refused or self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        method, kind, path = scope.get("method", "GET"), scope["type"], get_route_path(scope)
        found = [known for known in self._known if known.kind == kind and known.pattern.match(path)]
        chosen = next((known for known in found if known.methods is None or method in known.methods), None)
        if chosen is None:
            # With another method there is a route, and the router says which methods it has.
            return None if found else Response(status_code=404)
        if chosen.template in roles.OPEN:
            return None
        state = scope["state"]
        if (refusal := state.get("refusal")) is not None:
            known = state.get("principal") is not None
            return None if known and chosen.template == SESSION else errors.response(refusal)
        return _too_low(roles.least(method, chosen.template), state.get("role"))

    @cached_property
    def _known(self) -> list[_Known]:
        """All routes, in the order in which the router tries them."""
        return [
            _Known(
                "websocket" if isinstance(route.original_route, WebSocketRoute) else "http",
                frozenset(route.methods) if route.methods else None,
                route.path_regex,
                route.path_format or route.path or "",
            )
            for route in iter_route_contexts(self._routes)
        ]


def _too_low(required: Role | None, actual: Role | None) -> Response | None:
    """Refuse a role that is lower than the least one; a route or a caller without a role always."""
    if required is None or actual is None:
        unclassified = InsufficientPermissions(required=required, actual=actual)
        body = {"message": "Nobody may call this.", "error_code": unclassified.error_code}
        return JSONResponse(body, 403)
    if actual < required:
        return errors.response(InsufficientPermissions(required=required.value, actual=actual.value))
    return None

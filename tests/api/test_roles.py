"""Every route has its least role in one table, and the table has no row without a route."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api import roles
from api.app import create_app
from api.gate import Gate
from sluicegate.access.roles import Role
from sluicegate.settings import Settings

_P = "/v0/pipelines/{}"
OURS = {
    ("GET", "/v0/bulk/{}"),
    ("POST", "/v0/bulk"),
    ("POST", "/v0/bulk/{}/cancel"),
    ("POST", "/v0/codec/decode"),
    ("POST", "/v0/codec/encode"),
    ("GET", f"{_P}/events/{{}}/cause"),
    ("GET", f"{_P}/requests/{{}}"),
    ("GET", f"{_P}/restart_policy"),
    ("PUT", f"{_P}/restart_policy"),
    ("GET", f"{_P}/schedules"),
    ("GET", f"{_P}/schedules/{{}}"),
    ("PUT", f"{_P}/schedules/{{}}"),
    ("DELETE", f"{_P}/schedules/{{}}"),
    ("GET", f"{_P}/watch"),
}
"""Routes that the contract does not have; each has a row in `docs/additions.md`."""
IN_THE_CONTRACT = 78
"""Rows of contract §6.2, methods counted apart."""
ADDITIONS = Path(__file__).parents[2] / "docs" / "additions.md"


def test_every_addition_is_written_down() -> None:
    assert len(roles.LEAST.keys() - OURS) == IN_THE_CONTRACT, "is the new route one of ours?"
    assert roles.LEAST.keys() >= OURS
    page = re.sub(r"\{[^}]*\}", "{}", ADDITIONS.read_text()).replace("…/", f"{_P}/")
    assert {route for _, route in OURS if route not in page} == set()


def test_every_metric_of_ours_is_written_down() -> None:
    source = (Path(__file__).parents[2] / "api" / "metrics.py").read_text()
    named = set(re.findall(r'"(sluicegate_\w+)"', source))
    assert len(named) > 4
    assert {name for name in named if f"`{name}" not in ADDITIONS.read_text()} == set()


def documented(home: Path) -> Iterator[tuple[str, str]]:
    """All routes of the OpenAPI document."""
    for path, operations in create_app(Settings(home=home)).openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path


def test_every_route_is_in_the_table_or_open(tmp_path: Path) -> None:
    routes = list(documented(tmp_path))
    assert len(routes) > 15
    for method, path in routes:
        assert (roles.least(method, path) is not None) ^ (path in roles.OPEN), f"{method} {path}"


def test_every_row_is_a_route_of_ours(tmp_path: Path) -> None:
    shapes = {(method, re.sub(r"\{[^}]*\}", "{}", path)) for method, path in documented(tmp_path)}
    assert roles.LEAST.keys() <= shapes


def test_no_route_is_hidden_from_the_document(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path))
    shown = set(app.openapi()["paths"])
    assert {route.path_format for route in iter_route_contexts(app.routes)} - shown <= roles.OPEN


class As:
    """Puts a role into the state, as authentication does."""

    def __init__(self, app: ASGIApp, role: Role | None) -> None:
        """Be somebody."""
        self._app, self._role = app, role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        scope.setdefault("state", {})["role"] = self._role
        await self._app(scope, receive, send)


async def answered(request: Request) -> Response:
    """Be a route."""
    return PlainTextResponse("in")


def gated(role: Role | None) -> httpx.AsyncClient:
    """Some routes behind the gate."""
    routes = [
        Route("/healthz", answered),
        Route("/v0/forgotten", answered),
        Route("/v0/pipelines", answered, methods=["GET", "POST"]),
        Route("/v0/tenants/{which}", answered),
    ]
    inner = Starlette(routes=routes)
    app = As(Gate(inner, inner.routes), role)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        (None, "GET", "/healthz", 200),
        (None, "GET", "/v0/pipelines", 403),
        (Role.READ, "GET", "/v0/pipelines", 200),
        (Role.READ, "POST", "/v0/pipelines", 403),
        (Role.WRITE, "POST", "/v0/pipelines", 200),
        (Role.ADMIN, "GET", "/v0/tenants/t", 403),
        (Role.OWNER, "GET", "/v0/tenants/t", 200),
        (Role.OWNER, "GET", "/v0/forgotten", 403),
        (Role.OWNER, "GET", "/v0/pipelines/", 404),
        (Role.OWNER, "GET", "/nowhere", 404),
        (Role.READ, "DELETE", "/v0/pipelines", 405),
    ],
)
async def test_the_gate(role: Role | None, method: str, path: str, status: int) -> None:
    async with gated(role) as http:
        assert (await http.request(method, path)).status_code == status


async def test_what_a_refused_caller_is_told() -> None:
    async with gated(Role.READ) as http:
        refused = (await http.post("/v0/pipelines", content="{")).json()
        assert set(refused) == {"message", "error_code", "details"}
        assert refused["error_code"] == "InsufficientPermissions"
        assert refused["details"] == {"required": "write", "actual": "read"}
        forgotten = (await http.get("/v0/forgotten")).json()
        assert set(forgotten) == {"message", "error_code"}
        assert forgotten["error_code"] == "InsufficientPermissions"
        unknown = await http.get("/v0/unknown")
        assert (unknown.status_code, unknown.content) == (404, b"")

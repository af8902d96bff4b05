"""API processes of an installation that has an owner, and tenants in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api.access import Access
from api.app import create_app
from sluicegate import errors
from sluicegate.settings import Settings

TRUST = {"name": "ci", "issuer": "https://token.example.com", "subject": "repo:a/b:*"}


class Process(httpx.AsyncClient):
    """A client of one API process, and what that process knows."""

    access: Access


@asynccontextmanager
async def opened(client: Any, settings: Settings) -> AsyncIterator[Process]:
    """An API process of its own."""
    app = create_app(settings, client)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        Process(transport=transport, base_url="http://localhost") as http,
    ):
        http.access = app.state.backend.access
        yield http


@pytest.fixture
def settings(api_settings: Settings) -> Settings:
    """Settings of an installation that has an owner."""
    return Settings(home=api_settings.home, owner_keys="owner-of-all")


@pytest.fixture
async def http(api_server: WorkflowEnvironment, settings: Settings) -> AsyncIterator[Process]:
    """One API process."""
    async with opened(api_server.client, settings) as one:
        yield one


@pytest.fixture
async def other(api_server: WorkflowEnvironment, settings: Settings) -> AsyncIterator[Process]:
    """Another API process, with copies of its own."""
    async with opened(api_server.client, settings) as one:
        yield one


OWNER = {"Authorization": "Bearer owner-of-all"}


async def founded(http: Process) -> dict[str, Any]:
    """A new tenant."""
    answer = await http.post("/v0/tenants", json={"name": f"t-{uuid4().hex}"}, headers=OWNER)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def acting(tenant: dict[str, Any]) -> dict[str, str]:
    """Headers of an owner who acts in a tenant."""
    return {**OWNER, "Feldera-Tenant": tenant["id"]}


@pytest.fixture
async def tenant(http: Process) -> dict[str, Any]:
    """A tenant of this test's own."""
    return await founded(http)


def refused(answer: httpx.Response, status: int, code: str, **details: Any) -> None:
    """Hold a refusal against its code."""
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert answer.json()["details"] == details


async def away(*_: Any) -> None:
    """Be Temporal while it is away."""
    raise errors.TemporalUnavailable(error="away")


def empty(answer: httpx.Response) -> None:
    """Hold a success against the rule for bodies that are empty."""
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.fixture(autouse=True)
def served(api_worker: None) -> None:
    """Workers answer."""

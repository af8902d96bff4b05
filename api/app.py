"""The application: routes behind a guard, one Temporal client, its documentation at /docs.

`uvicorn --factory api.app:create_app` runs it with settings of the environment; `python -m api` also takes
address and port from there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from temporalio.client import Client

import sluicegate
from api import (
    bulk,
    bundles,
    checkpoints,
    cluster,
    codec,
    connectors,
    conversation,
    data_plane,
    diffs,
    document,
    errors,
    events,
    keeping,
    keys,
    logs,
    maintenance,
    members,
    metrics,
    observation,
    pipelines,
    platform,
    tenants,
    trusts,
    validation,
    verbs,
    watch,
)
from api.access_log import AccessLog
from api.auth import Guard, check_binding
from api.backend import Backend
from api.codec import CodecOrigin
from api.gate import Gate
from sluicegate import temporal
from sluicegate.codec import encryption
from sluicegate.settings import Settings

_TITLE = "Sluicegate"
_SUMMARY = "A durable control plane for SQL data pipelines."


def create_app(settings: Settings | None = None, client: Client | None = None) -> FastAPI:
    """Make the application. Raises UnsafeBinding where it would be open to strangers."""
    settings = settings or Settings()
    check_binding(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        measured = None if client else temporal.free_loopback()
        connected = client or await temporal.connect(encryption(settings), lazy=True, metrics=measured)
        async with Backend(connected, settings, sdk_metrics=measured) as backend:
            app.state.backend = backend
            yield

    app = FastAPI(
        title=_TITLE,
        summary=_SUMMARY,
        version=sluicegate.__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
    )
    app.add_api_route("/", _welcome, include_in_schema=False)
    lifecycle = (pipelines, verbs, bulk, keeping, events, watch, logs)
    data = (data_plane, conversation, connectors, observation, bundles, checkpoints, maintenance)
    around = (cluster, validation, diffs, metrics, codec, platform)
    for module in (*lifecycle, *data, keys, members, trusts, tenants, *around):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(Gate, routes=app.routes)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(CodecOrigin, settings=settings)
    app.add_middleware(AccessLog)
    document.complete(app)
    return app


def _welcome() -> RedirectResponse:
    """Show whoever opens the bare address what there is."""
    return RedirectResponse("/docs")

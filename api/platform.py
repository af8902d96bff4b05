"""What clients ask about the platform itself (contract §6.1)."""

import platform
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import sluicegate
from api.answers import fresh
from api.backend import Behind
from api.parse import Tenant
from api.principal import ANONYMOUS, Principal
from api.shapes import Configuration, Demo, Health, Session
from sluicegate.demos import demos
from sluicegate.errors import TemporalUnavailable
from sluicegate.oidc import OidcSettings
from sluicegate.protocol import PLATFORM_VERSION

router = APIRouter(tags=["Platform"])

DEFAULT_NAME = "default"
"""The name of the one tenant that there is while authentication is off."""

_UNKNOWN_TO_US = (
    "cargo_dependencies",
    "cargo_features",
    "cargo_debug",
    "cargo_opt_level",
    "cargo_target_triple",
    "rustc_version",
)
"""Keys of the build that clients expect, about a compiler that we do not have."""


@router.get(
    "/healthz", response_model=Health, responses={500: {"model": Health, "description": "It is not."}}
)
async def healthz(backend: Behind) -> Response:
    """Tell whether Temporal can be reached."""
    try:
        await backend.rpc.ping()
    except TemporalUnavailable as away:
        return JSONResponse({"status": f"unhealthy: {away.message}"}, 500)
    return JSONResponse({"status": "healthy"})


@router.get("/config/authentication", response_model=dict[str, Any])
async def authentication(backend: Behind) -> Response:
    """Tell by which provider people log in; an empty object where a key is all there is."""
    return JSONResponse(_provider(backend.settings.oidc))


@router.get("/v0/config", response_model=Configuration)
async def config(tenant: Tenant, backend: Behind) -> Response:
    """Describe the installation."""
    return JSONResponse(_configuration(backend.features))


@router.get("/v0/config/demos", response_model=list[Demo])
async def config_demos(tenant: Tenant) -> Response:
    """List programs to begin with."""
    return JSONResponse(list(demos()))


@router.get("/v0/config/session", response_model=Session)
async def session(request: Request, backend: Behind) -> Response:
    """Tell who the caller is. A login of several tenants that names none sees only which there are."""
    caller: Principal = request.state.principal
    name: str | None = DEFAULT_NAME  # and no other, while authentication is off
    if caller.actor != ANONYMOUS:
        tenant = await backend.access.tenant(caller.tenant_id) if caller.tenant_id else None
        name = tenant.name if tenant else None
    acting = {
        "tenant_id": caller.tenant_id,
        "tenant_name": name,
        "role": caller.role.value if caller.role else None,
    }
    return fresh({**acting, "memberships": [membership.shown for membership in caller.memberships]})


def _provider(oidc: OidcSettings) -> dict[str, Any]:
    """The login provider as the web console expects it."""
    if oidc.issuer is None:
        return {}
    if oidc.provider == "cognito":
        urls = {"login_url": oidc.login_url, "logout_url": oidc.logout_url}
        return {"AwsCognito": {"issuer": oidc.issuer, **urls}}
    generic = {"issuer": oidc.issuer, "client_id": oidc.client_id, "extra_oidc_scopes": oidc.scopes}
    return {"GenericOidc": generic}


def _configuration(features: frozenset[str]) -> dict[str, Any]:
    return {
        "posthog": "",
        "conceptualhq": "",
        "product_fruits": "",
        "edition": "Enterprise",
        "version": sluicegate.__version__,
        "revision": sluicegate.__version__,
        "runtime_revision": PLATFORM_VERSION,
        "unstable_features": ",".join(sorted(features)) or None,
        "changelog_url": "",
        "license_validity": None,
        "update_info": None,
        "build_info": {
            "build_timestamp": "",
            "build_cpu": platform.machine(),
            "build_os": platform.system(),
            **dict.fromkeys(_UNKNOWN_TO_US, ""),
        },
        "build_source": "source",
    }

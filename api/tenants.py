"""All tenants and who owns the installation: for owners only (contract §6.1)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.access_shapes import Displaced, NewTenant, Owners, TenantInfo, TenantName
from api.answers import fresh, nothing
from api.backend import Behind
from api.errors import documented
from api.parse import JsonRoute
from sluicegate import errors
from sluicegate.access import refusals, rules
from sluicegate.access.directory import Rename
from sluicegate.access.entries import DEFAULT_TENANT

router = APIRouter(prefix="/v0", tags=["Tenants"], route_class=JsonRoute)

TenantId = Annotated[str, Path(description="Id of the tenant.")]
_NAME = (
    errors.EmptyName,
    errors.TooLongName,
    errors.NameDoesNotMatchPattern,
    errors.OutcomeUnknown,
)


@router.get("/config/owners", response_model=Owners)
async def get_owners(backend: Behind) -> Response:
    """Tell who owns the installation, as its settings say."""
    settings = backend.settings
    trusts = [trust.model_dump() for trust in settings.owner_trusts]
    return fresh({"owners": list(settings.owners), "owner_trusts": trusts})


@router.get("/tenants", response_model=list[TenantInfo], responses=documented(errors.NotAnsweredYet))
async def list_tenants(backend: Behind) -> Response:
    """List all tenants, in the order of their creation."""
    tenants = (await backend.access.directory(now=True)).tenants
    return fresh([tenants[tenant_id].shown for tenant_id in sorted(tenants)])


@router.post(
    "/tenants",
    status_code=201,
    response_model=TenantInfo,
    responses={
        **documented(*_NAME, refusals.LimitReached, plain=[400, 413]),
        200: {"model": TenantInfo, "description": "There is one of this name already."},
    },
)
async def post_tenant(new: NewTenant, backend: Behind) -> Response:
    """Create a tenant, unless there is one of this name."""
    name = rules.check_tenant_name(new.name)
    tenant, created = await backend.access.found(name, backend.settings.login_provider)
    return fresh(tenant.shown, status=201 if created else 200)


@router.get(
    "/tenants/{tenant_id}",
    response_model=TenantInfo,
    responses=documented(refusals.UnknownTenant, refusals.UnknownTenantName, errors.NotAnsweredYet),
)
async def get_tenant(
    tenant_id: Annotated[str, Path(description="Id or name of the tenant.")], backend: Behind
) -> Response:
    """Show a tenant."""
    found = await backend.access.tenant(tenant_id)
    if found is not None:
        return fresh(found.shown)
    if _is_id(tenant_id):
        raise refusals.UnknownTenant(tenant_id=tenant_id)
    raise refusals.UnknownTenantName(name=tenant_id)


@router.patch(
    "/tenants/{tenant_id}",
    response_model=Displaced,
    responses=documented(
        *_NAME, refusals.UnknownTenant, errors.DuplicateName, refusals.LimitReached, plain=[400, 413]
    ),
)
async def patch_tenant(tenant_id: TenantId, given: TenantName, backend: Behind) -> Response:
    """Give a tenant another name; nothing else changes."""
    name = rules.check_tenant_name(given.name)
    rename = Rename(tenant_id=tenant_id, name=name, displace=given.displace_existing)
    return fresh(await backend.access.direct(rename))


@router.delete(
    "/tenants/{tenant_id}",
    response_class=Response,
    responses={
        **documented(
            refusals.UnknownTenant, refusals.TenantNotEmpty, errors.NotAnsweredYet, errors.OutcomeUnknown
        ),
        200: {"description": "It is gone, and so are its members.", "content": {}},
    },
)
async def delete_tenant(tenant_id: TenantId, backend: Behind) -> Response:
    """Delete a tenant that has no pipelines, no API keys and no trusts; its members go with it."""
    tenant = (await backend.access.directory(now=True)).known(tenant_id)
    operators = len(backend.settings.operator_keys) if tenant.id == DEFAULT_TENANT else 0
    pipelines = len(await backend.listing.newest(tenant.id))
    (await backend.access.state(tenant.id)).check_empty(pipelines=pipelines, operator_keys=operators)
    await backend.access.dissolve(tenant.id)
    return nothing()


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

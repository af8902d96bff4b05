"""Issuers whose tokens the caller's tenant lets in (contract §6.1)."""

from datetime import UTC, datetime
from uuid import uuid4

from fastapi import APIRouter
from starlette.responses import Response

from api.access_shapes import NewTrust, NewTrustInfo, TrustInfo
from api.answers import fresh, nothing
from api.backend import Behind
from api.errors import documented
from api.parse import CallerRole, JsonRoute, Tenant
from sluicegate import errors
from sluicegate.access import refusals, rules
from sluicegate.access.entries import Trust, issuer_mark
from sluicegate.access.tenant import AddTrust, RemoveTrust
from sluicegate.lifecycle import ids

router = APIRouter(prefix="/v0/oidc_trust", tags=["OIDC trust"], route_class=JsonRoute)


@router.get("", response_model=list[TrustInfo], responses=documented(errors.NotAnsweredYet))
async def list_oidc_trust(tenant: Tenant, backend: Behind) -> Response:
    """List the tenant's trusts, by name."""
    known = await backend.access.state(tenant)
    return fresh([known.trusts[name].shown for name in sorted(known.trusts)])


@router.get(
    "/{name}",
    response_model=TrustInfo,
    responses=documented(refusals.UnknownOidcTrust, errors.NotAnsweredYet),
)
async def get_oidc_trust(name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show one trust."""
    return fresh((await backend.access.state(tenant)).trust_named(name).shown)


@router.post(
    "",
    status_code=201,
    response_model=NewTrustInfo,
    responses=documented(
        refusals.EmptyOidcTrustField,
        errors.TooLongName,
        errors.NameDoesNotMatchPattern,
        refusals.InvalidOidcIssuerUrl,
        refusals.OwnerRoleNotAssignable,
        refusals.RoleExceedsCreator,
        errors.DuplicateName,
        refusals.LimitReached,
        errors.OutcomeUnknown,
        plain=[400, 413],
    ),
)
async def post_oidc_trust(new: NewTrust, tenant: Tenant, role: CallerRole, backend: Behind) -> Response:
    """Let in tokens of an issuer, with a role."""
    rules.check_filled(name=new.name, issuer=new.issuer, subject=new.subject, audience=new.audience)
    trust = Trust(
        id=ids.uuid7(datetime.now(UTC), uuid4().hex),
        name=rules.check_name(new.name),
        description=new.description,
        issuer=rules.check_issuer(new.issuer),
        subject=new.subject,
        audience=new.audience,
        role=rules.check_member_role(new.role, role),
    )
    await backend.access.change(tenant, AddTrust(trust=trust), mark=issuer_mark(trust.issuer))
    return fresh({"id": trust.id, "name": trust.name}, status=201)


@router.delete(
    "/{name}",
    response_class=Response,
    responses={
        **documented(refusals.UnknownOidcTrust, errors.OutcomeUnknown),
        200: {"description": "Its tokens are let in no more.", "content": {}},
    },
)
async def delete_oidc_trust(name: str, tenant: Tenant, backend: Behind) -> Response:
    """Let in its tokens no more."""
    await backend.access.change(tenant, RemoveTrust(name=name))
    return nothing()

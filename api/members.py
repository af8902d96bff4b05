"""Members of the caller's tenant and their roles (contract §6.1)."""

from fastapi import APIRouter
from starlette.responses import Response

from api.access_shapes import MemberInfo, MemberRole, NewMember, NewMemberInfo
from api.answers import fresh, nothing
from api.backend import Behind
from api.errors import documented
from api.parse import CallerRole, JsonRoute, Tenant
from sluicegate import errors
from sluicegate.access import refusals, rules
from sluicegate.access.entries import Member, person
from sluicegate.access.tenant import Grant, RemoveMember, SetRole

router = APIRouter(prefix="/v0/tenant/users", tags=["Members"], route_class=JsonRoute)

_DONE = {"description": "It is so.", "content": {}}
_ROLE = (refusals.OwnerRoleNotAssignable, refusals.RoleExceedsCreator)


@router.get("", response_model=list[MemberInfo], responses=documented(errors.NotAnsweredYet))
async def list_tenant_users(tenant: Tenant, backend: Behind) -> Response:
    """List the tenant's members, by subject."""
    members = (await backend.access.state(tenant)).members.values()
    return fresh([member.shown for member in sorted(members, key=lambda member: member.subject)])


@router.post(
    "",
    response_model=NewMemberInfo,
    responses=documented(*_ROLE, refusals.LimitReached, errors.OutcomeUnknown, plain=[400, 413]),
)
async def post_tenant_user(new: NewMember, tenant: Tenant, role: CallerRole, backend: Behind) -> Response:
    """Make a user a member before their first login, or give a member another role."""
    provider = backend.settings.login_provider
    member = Member(
        user_id=person(provider, new.subject),
        provider=provider,
        subject=new.subject,
        email=new.email,
        role=rules.check_member_role(new.role, role),
        origin="manual",
    )
    await backend.access.change(tenant, Grant(member=member), mark=member.user_id)
    return fresh({"user_id": member.user_id})


@router.put(
    "/{user_id}",
    response_class=Response,
    responses={
        **documented(
            *_ROLE, refusals.UnknownUser, refusals.LimitReached, errors.OutcomeUnknown, plain=[400, 413]
        ),
        200: _DONE,
    },
)
async def put_tenant_user(
    user_id: str, given: MemberRole, tenant: Tenant, role: CallerRole, backend: Behind
) -> Response:
    """Give a member another role."""
    wanted = rules.check_member_role(given.role, role)
    await backend.access.change(tenant, SetRole(user_id=user_id, role=wanted))
    return nothing()


@router.delete(
    "/{user_id}",
    response_class=Response,
    responses={**documented(refusals.UnknownUser, errors.OutcomeUnknown), 200: _DONE},
)
async def delete_tenant_user(user_id: str, tenant: Tenant, backend: Behind) -> Response:
    """Take a user out of the tenant."""
    await backend.access.change(tenant, RemoveMember(user_id=user_id))
    return nothing()

"""Who a caller turned out to be, and in which tenant (contract §6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.access.entries import DEFAULT_TENANT, Membership, Tenant, Trust
from sluicegate.access.refusals import (
    AmbiguousOidcTenant,
    AmbiguousTenantMembership,
    NotATenantMember,
    NoTenantMemberships,
    OidcTenantNotTrusted,
)
from sluicegate.access.roles import Role
from sluicegate.errors import Refusal

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller; without tenant and role it may ask for its session only."""

    actor: str
    """As events and logs name it: never a credential."""
    tenant_id: str | None = DEFAULT_TENANT
    role: Role | None = Role.ADMIN
    memberships: tuple[Membership, ...] = ()
    refusal: Refusal | None = None
    """Why anything else is refused, where there is no role."""


def member(actor: str, memberships: tuple[Membership, ...], wanted: str | None) -> Principal:
    """Let a person act in the tenant wanted, or in the only one. Raises NotATenantMember."""
    if wanted is not None:
        fitting = [one for one in memberships if wanted in (one.tenant_id, one.name)]
        if not fitting:
            raise NotATenantMember(tenant=wanted)
    else:
        fitting = list(memberships)
    if wanted is None and len(fitting) != 1:
        refusal = AmbiguousTenantMembership() if fitting else NoTenantMemberships()
        return Principal(actor, None, None, memberships, refusal)
    # An id counts before a name, which may be the id of another tenant.
    chosen = next((one for one in fitting if one.tenant_id == wanted), fitting[0])
    return Principal(actor, chosen.tenant_id, chosen.role, memberships)


def trusted(actor: str, trusts: Sequence[tuple[Tenant, Trust]], wanted: Tenant | None) -> Principal:
    """Let the bearer of a token that some tenants trust act in the tenant wanted, or in the only one, with
    the highest role that it is trusted with there. Raises OidcTenantNotTrusted, AmbiguousOidcTenant."""
    here = [(tenant, trust) for tenant, trust in trusts if wanted is None or tenant.id == wanted.id]
    if wanted is not None and not here:
        raise OidcTenantNotTrusted(tenant=wanted.name)
    if len({tenant.id for tenant, _ in here}) != 1:
        raise AmbiguousOidcTenant
    tenant = here[0][0]
    return Principal(actor, tenant.id, max(trust.role for _, trust in here))


def owner(actor: str, memberships: Sequence[Membership], wanted: Tenant | None) -> Principal:
    """Let an owner act in the tenant wanted, else in the only one it is a member of, else in the default
    one."""
    if wanted is not None:
        place = wanted.id
    elif len(memberships) == 1:
        place = memberships[0].tenant_id
    else:
        place = DEFAULT_TENANT
    return Principal(actor, place, Role.OWNER, tuple(memberships))

"""What the installation remembers: which tenants there are, and where to look for a person or an issuer.

Names of tenants are unique. The places are hints: a tenant that is named may have forgotten the person
since, but one that is not named has never known them. They are written before what they point to.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from sluicegate import errors
from sluicegate.access import ledger, refusals
from sluicegate.access.entries import DEFAULT_TENANT, Tenant
from sluicegate.access.ledger import Changed, Upcaster
from sluicegate.access.rules import MAX_TENANT_NAME
from sluicegate.access.tenant import MAX_MEMBERS, MAX_TRUSTS
from sluicegate.lifecycle.values import Value

MAX_TENANTS = 2_000
MAX_PLACES = 20_000
"""What usually fits into `ledger.MAX_BYTES`."""
MAX_PLACES_OF_TENANT = MAX_MEMBERS + MAX_TRUSTS
"""No tenant takes the room of all others by adding and removing members."""


class Found(Value):
    """Create a tenant, unless there is one of this name; tell which, and whether it was created."""

    kind: Literal["found"] = "found"
    tenant: Tenant


class Point(Value):
    """Remember that a tenant may know a person or an issuer. Refused with UnknownTenant."""

    kind: Literal["point"] = "point"
    mark: str
    """See `entries.person` and `entries.issuer_mark`."""
    tenant_id: str


class Rename(Value):
    """Give a tenant another name, perhaps that of another, which then gets its id behind its name.

    Refused with UnknownTenant and DuplicateName; tells which tenant was displaced.
    """

    kind: Literal["rename"] = "rename"
    tenant_id: str
    name: str
    displace: bool = False


class Drop(Value):
    """Forget a tenant. Refused with UnknownTenant."""

    kind: Literal["drop"] = "drop"
    tenant_id: str


Change = Found | Point | Rename | Drop


class DirectoryChange(Value):
    """The message of the `change` update."""

    change: Annotated[Change, Field(discriminator="kind")]


def _default() -> Mapping[str, Tenant]:
    return {DEFAULT_TENANT: Tenant(id=DEFAULT_TENANT, name="default", initial_provider="default")}


class DirectoryState(Value):
    """Everything the directory's workflow remembers."""

    revision: int
    tenants: Mapping[str, Tenant] = Field(default_factory=_default)
    """By id."""
    places: Mapping[str, tuple[str, ...]] = {}
    """By mark, the ids of the tenants to look in."""

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """See `ledger.decoded`."""
        return ledger.decoded(cls, raw, _UPCASTERS)

    def find(self, name_or_id: str) -> Tenant | None:
        """Find a tenant; an id counts before a name."""
        return self.tenants.get(name_or_id) or self.named(name_or_id)

    def named(self, name: str) -> Tenant | None:
        """Find a tenant by its name."""
        return next((tenant for tenant in self.tenants.values() if tenant.name == name), None)

    def known(self, tenant_id: str) -> Tenant:
        """Find a tenant by its id. Raises UnknownTenant."""
        if tenant_id not in self.tenants:
            raise refusals.UnknownTenant(tenant_id=tenant_id)
        return self.tenants[tenant_id]

    def changed(self, change: Change) -> Changed:
        """Change, and say what the caller is to be told. Raises Refusal and then changes nothing."""
        match change:
            case Found():
                after = self._founded(change.tenant)
            case Point():
                after = Changed(self._pointing(change), {})
            case Rename():
                after = self._renamed(change)
            case Drop():
                after = Changed(self._without(self.known(change.tenant_id)), {})
        if after.state is self:
            return after
        return Changed(after.state.but(revision=self.revision + 1), after.answer)

    def _founded(self, tenant: Tenant) -> Changed:
        there = self.tenants.get(tenant.id) or self.named(tenant.name)
        if there is not None:
            return Changed(self, {"tenant": there.model_dump(mode="json"), "created": there.id == tenant.id})
        if len(self.tenants) >= MAX_TENANTS:
            raise refusals.LimitReached(what="tenants", maximum=MAX_TENANTS)
        after = self.but(tenants={**self.tenants, tenant.id: tenant})
        return Changed(after, {"tenant": tenant.model_dump(mode="json"), "created": True})

    def _pointing(self, change: Point) -> Self:
        there = self.places.get(change.mark, ())
        if self.known(change.tenant_id).id in there:
            return self
        if sum(map(len, self.places.values())) >= MAX_PLACES:
            raise refusals.LimitReached(what="users and issuers", maximum=MAX_PLACES)
        if sum(change.tenant_id in those for those in self.places.values()) >= MAX_PLACES_OF_TENANT:
            raise refusals.LimitReached(what="users and issuers of the tenant", maximum=MAX_PLACES_OF_TENANT)
        return self.but(places={**self.places, change.mark: (*there, change.tenant_id)})

    def _renamed(self, change: Rename) -> Changed:
        tenant, taken_by = self.known(change.tenant_id), self.named(change.name)
        if taken_by is tenant:
            return Changed(self, {"displaced": None})
        renamed = {tenant.id: tenant.but(name=change.name)}
        displaced = None
        if taken_by is not None:
            if not change.displace:
                raise errors.DuplicateName
            displaced = taken_by.but(name=self._name_aside(taken_by))
            renamed[displaced.id] = displaced
        after = self.but(tenants={**self.tenants, **renamed})
        return Changed(after, {"displaced": displaced.shown if displaced else None})

    def _name_aside(self, tenant: Tenant) -> str:
        """A free name for who loses theirs, which begins like it and is no longer than a name may be."""
        tails = (f" ({tenant.id}{f' {number}' if number else ''})" for number in range(len(self.tenants) + 1))
        names = (tenant.name[: MAX_TENANT_NAME - len(tail)].rstrip() + tail for tail in tails)
        return next(name for name in names if self.named(name) is None)

    def _without(self, tenant: Tenant) -> Self:
        tenants = {tenant_id: other for tenant_id, other in self.tenants.items() if tenant_id != tenant.id}
        places = {
            mark: left
            for mark, there in self.places.items()
            if (left := tuple(tenant_id for tenant_id in there if tenant_id != tenant.id))
        }
        return self.but(tenants=tenants, places=places)


_UPCASTERS: tuple[Upcaster, ...] = ()
"""From schema n to n + 1, in order."""

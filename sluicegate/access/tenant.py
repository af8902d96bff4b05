"""What one tenant remembers: its members, its API keys, its trusts; and how that may change.

`TenantState.changed` is all that decides: it returns the state after a change or refuses. A change that was
made already changes nothing, so it may be sent again.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from sluicegate import errors
from sluicegate.access import ledger, refusals
from sluicegate.access.entries import ApiKey, Member, Trust
from sluicegate.access.ledger import Changed, Upcaster
from sluicegate.access.roles import Role
from sluicegate.lifecycle.values import Value

MAX_KEYS = 1_000
MAX_TRUSTS = 500
MAX_MEMBERS = 2_000
"""What usually fits into `ledger.MAX_BYTES`."""


class AddKey(Value):
    """Remember an API key. Refused with DuplicateName."""

    kind: Literal["add_key"] = "add_key"
    key: ApiKey


class RemoveKey(Value):
    """Forget an API key. Refused with UnknownApiKey."""

    kind: Literal["remove_key"] = "remove_key"
    name: str


class AddTrust(Value):
    """Trust tokens of an issuer. Refused with DuplicateName."""

    kind: Literal["add_trust"] = "add_trust"
    trust: Trust


class RemoveTrust(Value):
    """Trust them no more. Refused with UnknownOidcTrust."""

    kind: Literal["remove_trust"] = "remove_trust"
    name: str


class Join(Value):
    """Take in who has logged in, with the role given, or as the first administrator."""

    kind: Literal["join"] = "join"
    member: Member
    founder_role: Role | None = None
    """Given where the member's login created the tenant; it counts only once."""


class Grant(Value):
    """Give a user a role before their first login, or another one."""

    kind: Literal["grant"] = "grant"
    member: Member


class SetRole(Value):
    """Give a member another role. Refused with UnknownUser."""

    kind: Literal["set_role"] = "set_role"
    user_id: str
    role: Role


class RemoveMember(Value):
    """Take a user out. Refused with UnknownUser."""

    kind: Literal["remove_member"] = "remove_member"
    user_id: str


class Dissolve(Value):
    """End the tenant, which has no pipelines any more. Refused with TenantNotEmpty."""

    kind: Literal["dissolve"] = "dissolve"


Change = AddKey | RemoveKey | AddTrust | RemoveTrust | Join | Grant | SetRole | RemoveMember | Dissolve


class TenantChange(Value):
    """The message of the `change` update."""

    change: Annotated[Change, Field(discriminator="kind")]


class TenantState(Value):
    """Everything a tenant's workflow remembers."""

    tenant_id: str
    revision: int
    keys: Mapping[str, ApiKey] = {}
    """By id."""
    trusts: Mapping[str, Trust] = {}
    """By name."""
    members: Mapping[str, Member] = {}
    """By user id."""
    founded: bool = False
    """The founder has come in; a second time they are like everybody else."""
    dissolved: bool = False

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """See `ledger.decoded`."""
        return ledger.decoded(cls, raw, _UPCASTERS)

    def key_named(self, name: str) -> ApiKey:
        """Find a key. Raises UnknownApiKey."""
        for key in self.keys.values():
            if key.name == name:
                return key
        raise refusals.UnknownApiKey(name=name)

    def trust_named(self, name: str) -> Trust:
        """Find a trust. Raises UnknownOidcTrust."""
        if name not in self.trusts:
            raise refusals.UnknownOidcTrust(name=name)
        return self.trusts[name]

    def member(self, user_id: str) -> Member:
        """Find a member. Raises UnknownUser."""
        if user_id not in self.members:
            raise refusals.UnknownUser(user_id=user_id)
        return self.members[user_id]

    def check_empty(self, *, pipelines: int, operator_keys: int = 0) -> None:
        """Raise TenantNotEmpty where anything but members is left, pipelines and keys of the settings
        included."""
        keys = len(self.keys) + operator_keys
        if pipelines or keys or self.trusts:
            raise refusals.TenantNotEmpty(
                tenant_id=self.tenant_id, pipelines=pipelines, api_keys=keys, oidc_trusts=len(self.trusts)
            )

    def changed(self, change: Change) -> Changed:
        """Change, and say what the caller is to be told. Raises Refusal and then changes nothing."""
        if self.dissolved:
            raise refusals.UnknownTenant(tenant_id=self.tenant_id)
        after = self._after(change)
        if after is not self:
            after = after.but(revision=self.revision + 1)
        return Changed(after, {})

    def _after(self, change: Change) -> Self:
        match change:
            case AddKey() | RemoveKey():
                return self.but(keys=self._keys(change))
            case AddTrust() | RemoveTrust():
                return self.but(trusts=self._trusts(change))
            case Join():
                return self._joined(change)
            case Dissolve():
                self.check_empty(pipelines=0)
                return self.but(dissolved=True)
            case _:
                return self.but(members=self._members(change))

    def _keys(self, change: AddKey | RemoveKey) -> Mapping[str, ApiKey]:
        if isinstance(change, RemoveKey):
            gone = self.key_named(change.name)
            return {key_id: key for key_id, key in self.keys.items() if key_id != gone.id}
        key = change.key
        if any(other.name == key.name and other.id != key.id for other in self.keys.values()):
            raise errors.DuplicateName
        _check_room("API keys", self.keys, key.id, MAX_KEYS)
        return {**self.keys, key.id: key}

    def _trusts(self, change: AddTrust | RemoveTrust) -> Mapping[str, Trust]:
        if isinstance(change, RemoveTrust):
            gone = self.trust_named(change.name)
            return {name: trust for name, trust in self.trusts.items() if name != gone.name}
        trust = change.trust
        if self.trusts.get(trust.name, trust).id != trust.id:
            raise errors.DuplicateName
        _check_room("OIDC trusts", self.trusts, trust.name, MAX_TRUSTS)
        return {**self.trusts, trust.name: trust}

    def _members(self, change: Grant | SetRole | RemoveMember) -> Mapping[str, Member]:
        if isinstance(change, RemoveMember):
            gone = self.member(change.user_id)
            return {user_id: member for user_id, member in self.members.items() if user_id != gone.user_id}
        if isinstance(change, SetRole):
            return {**self.members, change.user_id: self.member(change.user_id).but(role=change.role)}
        granted = change.member
        _check_room("members", self.members, granted.user_id, MAX_MEMBERS)
        if known := self.members.get(granted.user_id):
            granted = known.but(role=granted.role, email=granted.email or known.email)
        return {**self.members, granted.user_id: granted}

    def _joined(self, change: Join) -> Self:
        """A login changes what is known of a person, never the role of who is a member already."""
        member, known = change.member, self.members.get(change.member.user_id)
        _check_room("members", self.members, member.user_id, MAX_MEMBERS)
        if known:
            member = known.after(member)
        elif change.founder_role and not self.founded:
            member = member.but(role=change.founder_role)
        founded = self.founded or change.founder_role is not None
        if member == known and founded == self.founded:
            return self
        return self.but(members={**self.members, member.user_id: member}, founded=founded)


def _check_room(what: str, kept: Mapping[str, Value], new: str, maximum: int) -> None:
    if new not in kept and len(kept) >= maximum:
        raise refusals.LimitReached(what=what, maximum=maximum)


_UPCASTERS: tuple[Upcaster, ...] = ()
"""From schema n to n + 1, in order."""

"""What is remembered of who may do what: tenants, members, API keys, trusts (contract §6.1, §6.3)."""

import fnmatch
import re
import uuid
from typing import Any, Literal, Self

from sluicegate.access.roles import Role
from sluicegate.lifecycle.values import Value

DEFAULT_TENANT = "00000000-0000-0000-0000-000000000000"
"""The tenant of everybody while authentication is off (contract §6.3)."""
MANUAL = "manual"
"""The provider of what was made while no issuer was configured."""
_PERSON = uuid.uuid5(uuid.NAMESPACE_URL, "sluicegate:person")
_ISSUER = uuid.uuid5(uuid.NAMESPACE_URL, "sluicegate:issuer")


def person(issuer: str, subject: str) -> str:
    """Give the id of the user whom an issuer calls so; it is the same in every tenant."""
    return str(uuid.uuid5(_PERSON, f"{issuer}\n{subject}"))


def issuer_mark(issuer: str) -> str:
    """Give the mark under which the directory knows where an issuer is trusted."""
    return str(uuid.uuid5(_ISSUER, issuer))


class Tenant(Value):
    """A room of its own: pipelines, members, keys and trusts of one tenant are unknown to all others."""

    id: str
    name: str
    initial_provider: str
    founder: str | None = None
    """The user whose login created it, who is to become its first administrator."""

    @property
    def shown(self) -> dict[str, str]:
        """The object of `GET /v0/tenants`."""
        return {"id": self.id, "name": self.name, "initial_provider": self.initial_provider}


class ApiKey(Value):
    """A key, without its text: that is shown once and nowhere kept."""

    id: str
    name: str
    role: Role
    sha256: str

    @property
    def shown(self) -> dict[str, str]:
        """The object of `GET /v0/api_keys`."""
        return {"id": self.id, "name": self.name, "role": self.role.value}


class Trust(Value):
    """Tokens of an issuer that are let in: `*` in subject and audience stands for any characters."""

    id: str
    name: str
    description: str | None = None
    issuer: str
    subject: str
    audience: str | None = None
    role: Role

    def covers(self, issuer: str, subject: str, audiences: tuple[str, ...]) -> bool:
        """Tell whether a token of these claims is meant."""
        if self.issuer != issuer or not _like(subject, self.subject):
            return False
        return self.audience is None or any(_like(audience, self.audience) for audience in audiences)

    @property
    def shown(self) -> dict[str, Any]:
        """The object of `GET /v0/oidc_trust`."""
        keys = {"id", "name", "description", "issuer", "subject", "audience", "role"}
        return self.model_dump(mode="json", include=keys)


class Member(Value):
    """A user in a tenant."""

    user_id: str
    provider: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    role: Role
    origin: Literal["login", "manual"]

    @property
    def shown(self) -> dict[str, Any]:
        """The object of `GET /v0/tenant/users`."""
        return self.model_dump(mode="json", include=set(type(self).model_fields))

    def after(self, login: Self) -> Self:
        """Take in what a login says of the person; what it does not say stays, and so does the role."""
        said = {"email", "email_verified"} if login.email else set()
        return self.but(**login.model_dump(include=said | {"display_name"}, exclude_none=True))


class Membership(Value):
    """A tenant seen from one of its members."""

    tenant_id: str
    name: str
    role: Role

    @property
    def shown(self) -> dict[str, str]:
        """The object of `GET /v0/config/session`."""
        return {"tenant_id": self.tenant_id, "name": self.name, "role": self.role.value}


class Login(Value):
    """What a verified login says of a person, and what is to be made of it."""

    issuer: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    tenants: tuple[str, ...] = ()
    """Names of the tenants that the person shall be a member of; those that do not exist are created."""
    default_role: Role = Role.READ
    first_user_role: Role = Role.ADMIN
    """What the creator of a tenant becomes in it."""

    @property
    def user_id(self) -> str:
        """Who it is."""
        return person(self.issuer, self.subject)


def _like(text: str, pattern: str) -> bool:
    """Match a pattern in which only `*` is special."""
    literal = re.sub(r"([?\[])", r"[\1]", pattern)
    return fnmatch.fnmatchcase(text, literal)

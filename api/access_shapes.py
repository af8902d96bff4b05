"""The bodies of requests and responses about tenants, members, keys and trusts (contract §6.1)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, StringConstraints

from sluicegate.access.roles import Role

Text = Annotated[StrictStr, StringConstraints(max_length=2048)]
"""Long enough for any claim, and short enough for what a workflow may be told."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")


class NewApiKey(_Request):
    """The body of `POST /v0/api_keys`."""

    name: Text
    role: Role = Field(Role.READ, description="`read` or `write`.")


class ApiKeyInfo(BaseModel):
    """An API key, without its text."""

    id: str
    name: str
    role: Literal["read", "write"]


class NewApiKeyInfo(BaseModel):
    """An API key that has just been made; its text is never shown again."""

    id: str
    name: str
    api_key: str


class NewTrust(_Request):
    """The body of `POST /v0/oidc_trust`; `*` in subject and audience stands for any characters."""

    name: Text
    description: Text | None = None
    issuer: Text
    subject: Text
    audience: Text | None = None
    role: Role = Field(Role.READ, description="`read`, `write` or `admin`.")


class TrustInfo(BaseModel):
    """Tokens of an issuer that are let in."""

    id: str
    name: str
    description: str | None
    issuer: str
    subject: str
    audience: str | None
    role: Literal["read", "write", "admin"]


class NewTrustInfo(BaseModel):
    """A trust that has just been made."""

    id: str
    name: str


class NewMember(_Request):
    """The body of `POST /v0/tenant/users`."""

    subject: Text = Field(min_length=1)
    email: Text | None = None
    role: Role = Field(description="`read`, `write` or `admin`.")


class MemberRole(_Request):
    """The body of `PUT /v0/tenant/users/{user_id}`."""

    role: Role = Field(description="`read`, `write` or `admin`.")


class NewMemberInfo(BaseModel):
    """A member that has just been made."""

    user_id: str


class MemberInfo(BaseModel):
    """A user in a tenant."""

    user_id: str
    provider: str
    subject: str
    email: str | None
    email_verified: bool
    display_name: str | None
    role: Literal["read", "write", "admin"]
    origin: Literal["login", "manual"]


class NewTenant(_Request):
    """The body of `POST /v0/tenants`."""

    name: Text


class TenantName(_Request):
    """The body of `PATCH /v0/tenants/{tenant_id}`."""

    name: Text
    displace_existing: StrictBool = Field(
        False, description="Take the name from the tenant that has it, which then has its id behind its own."
    )


class TenantInfo(BaseModel):
    """A tenant."""

    id: str
    name: str
    initial_provider: str


class Displaced(BaseModel):
    """What a new name has led to."""

    displaced: TenantInfo | None


class OwnerTrustInfo(BaseModel):
    """Tokens of an issuer whose bearers are owners."""

    issuer: str
    subject: str
    audience: str | None


class Owners(BaseModel):
    """Who owns the installation, as its settings say."""

    owners: list[str]
    owner_trusts: list[OwnerTrustInfo]

"""Settings of logins through OpenID Connect (`SLUICEGATE_OIDC_…`)."""

import ipaddress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sluicegate.access.roles import Role


class OidcSettings(BaseSettings):
    """How people log in; without an issuer nobody does, and keys are all there is."""

    model_config = SettingsConfigDict(env_prefix="SLUICEGATE_OIDC_", extra="ignore")

    issuer: str | None = Field(None, description="Issuer whose tokens are logins, exactly as in `iss`.")
    provider: Literal["generic", "cognito"] = Field("generic", description="What kind of issuer it is.")
    client_id: str = Field("", description="Client of the web page; a token of Cognito must name it.")
    audience: str = Field("feldera-api", description="What `aud` must contain (generic only).")
    scopes: str = Field("", description="Scopes that the web page asks for beside `openid`.")
    login_url: str = Field("", description="Where the web page sends people (Cognito only).")
    logout_url: str = Field("", description="And where to leave (Cognito only).")
    groups: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated groups; a login must be in one of them, if there are any."
    )
    groups_claim: str = Field("groups", description="Claim that lists the groups (`cognito:groups`).")
    provisioning: bool = Field(True, description="Make tenants and memberships of what a login says.")
    tenant_of_issuer: bool = Field(
        False, description="A login that names no tenant belongs to one named after its issuer."
    )
    tenant_of_subject: bool = Field(True, description="Else to one of its own, named after its subject.")
    default_role: Role = Field(Role.READ, description="Role of those who join a tenant by login.")
    first_user_role: Role = Field(Role.ADMIN, description="Role of the one whose login created it.")
    insecure_loopback: bool = Field(
        False, description="Take issuers over plain HTTP on this machine, for development and tests."
    )

    @field_validator("groups", mode="before")
    @classmethod
    def _comma_separated(cls, raw: object) -> object:
        return tuple(part.strip() for part in raw.split(",") if part.strip()) if isinstance(raw, str) else raw

    @field_validator("default_role", "first_user_role")
    @classmethod
    def _assignable(cls, role: Role) -> Role:
        if role is Role.OWNER:
            raise ValueError("nobody becomes an owner by logging in: see SLUICEGATE_OWNERS")
        return role

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.issuer is not None:
            parts = urlsplit(self.issuer)
            insecure = self.insecure_loopback and parts.scheme == "http" and names_loopback(parts.hostname)
            if not insecure and (parts.scheme != "https" or not parts.hostname):
                raise ValueError("the issuer must begin with https://")
        if self.provider == "cognito" and not self.client_id:
            raise ValueError("tokens of Cognito are for a client: set SLUICEGATE_OIDC_CLIENT_ID")
        return self


def names_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine by its very name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

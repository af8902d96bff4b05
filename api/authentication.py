"""Turns a credential into a principal (contract §6.3): keys of settings and tenants, logins, trusted tokens.

    Bearer …  ├── a key of the settings           admin or owner of the default tenant
              ├── apikey:…                        the tenant and role that the key has
              └── a token   ├── of the configured issuer    a login: memberships, or an owner
                            └── of any other                a trust of a tenant, or of the owners

An issuer is asked for its keys only after it turned out to be configured or trusted.
"""

import hashlib
import hmac
import time
from typing import Any

import structlog
from joserfc.jwt import ClaimsOption
from pydantic import SecretStr

from api import principal, tokens
from api.access import Access
from api.fetching import Unfetchable
from api.issuers import Issuers
from api.principal import Principal
from api.tokens import InvalidToken, Token
from sluicegate.access import keys, rules
from sluicegate.access.entries import Login, Membership, Tenant, Trust
from sluicegate.access.refusals import IdentityProviderUnavailable, UnknownTenantName
from sluicegate.access.roles import Role
from sluicegate.errors import Refusal
from sluicegate.oidc import OidcSettings
from sluicegate.settings import Settings

MAX_TENANTS = 50
"""That one login may name."""
_NOBODY = "0" * 64
"""Compared with where there is no key, so that both cases take the same path."""

_log = structlog.get_logger()


class Unauthenticated(Exception):
    """There is no credential, or none that makes sense: 401 without a body."""


class AuthenticationFailed(Exception):
    """The credential is understood and not accepted: 401 with the reason, which is for the caller."""


class Authenticator:
    """Knows all kinds of credentials."""

    def __init__(self, settings: Settings, access: Access, issuers: Issuers) -> None:
        """Accept what the settings and the tenants accept."""
        self._access = access
        self._issuers = issuers
        self._oidc = settings.oidc
        self._owners = frozenset(settings.owners)
        self._static = {
            hashlib.sha256(key.encode()).digest(): (f"operator:{_short(key)}", role)
            for role, given in ((Role.ADMIN, settings.api_keys), (Role.OWNER, settings.owner_keys))
            for key in map(SecretStr.get_secret_value, given)
        }

    async def principal(self, authorization: str | None, wanted: str | None) -> Principal:
        """Tell who calls, acting in the tenant wanted (an id or a name) where the caller may choose.

        Raises Unauthenticated, AuthenticationFailed, and the refusals of contract §6.3.
        """
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated
        if static := self._configured(credential):
            actor, role = static
            return await self._owner(actor, (), wanted) if role is Role.OWNER else Principal(actor, role=role)
        if credential.startswith(keys.PREFIX):
            return await self._key(credential)
        try:
            return await self._token(tokens.read(credential), wanted)
        except InvalidToken as problem:
            _log.info("token refused", reason=str(problem))
            raise Unauthenticated from problem

    def _configured(self, credential: str) -> tuple[str, Role] | None:
        """Find a key of the settings; every one is compared, so that the time taken says nothing."""
        given = hashlib.sha256(credential.encode("latin-1", "replace")).digest()
        found = None
        for digest, who in self._static.items():
            if hmac.compare_digest(digest, given):
                found = who
        return found

    async def _key(self, text: str) -> Principal:
        given = keys.read(text)
        known = await self._access.key(given.tenant_id, given.key_id) if given else None
        tenant = await self._access.tenant(given.tenant_id) if given and known else None
        opens = given is not None and given.opens(known.sha256 if known else _NOBODY)
        if not (opens and known and tenant):
            raise AuthenticationFailed("The API key is not valid.")
        return Principal(f"key:{known.name}", tenant.id, known.role)

    async def _token(self, token: Token, wanted: str | None) -> Principal:
        if token.issuer == self._oidc.issuer:
            return await self._login(token, wanted)
        return await self._trusted(token, wanted)

    # Logins

    async def _login(self, token: Token, wanted: str | None) -> Principal:
        try:
            claims = await self._claims(token, _of_login(self._oidc), private=True)
        except Unfetchable as problem:
            raise IdentityProviderUnavailable from problem
        if self._oidc.groups and not set(self._oidc.groups) & set(_texts(claims, self._oidc.groups_claim)):
            raise AuthenticationFailed("The login is in none of the groups that may call.")
        actor = f"user:{claims['sub']}@{token.issuer}"
        memberships = await self._memberships(_login(claims, self._oidc), claims)
        if self._owners & _names(claims):
            return await self._owner(actor, memberships, wanted)
        return principal.member(actor, memberships, wanted)

    async def _memberships(self, login: Login, claims: dict[str, Any]) -> tuple[Membership, ...]:
        """Where the person belongs, once what the login says has been carried out."""
        if not self._oidc.provisioning:
            return await self._access.memberships(login.issuer, login.subject)
        tenants = _texts(claims, "tenants") or _texts(claims, "tenant")
        if not tenants and self._oidc.tenant_of_issuer:
            tenants = (login.issuer,)
        elif not tenants and self._oidc.tenant_of_subject and await self._may_found(login):
            tenants = (login.subject,)
        if len(tenants) > MAX_TENANTS:
            raise AuthenticationFailed("The login names too many tenants.")
        try:
            for tenant in tenants:
                rules.check_tenant_name(tenant)
        except Refusal as refused:
            raise AuthenticationFailed(f"The login names an unusable tenant. {refused}") from refused
        return await self._access.log_in(login.but(tenants=tenants))

    async def _may_found(self, login: Login) -> bool:
        """A tenant named after a subject is its own: nobody gets into another's by being called so."""
        tenant = await self._access.tenant(login.subject)
        return tenant is None or (tenant.founder == login.user_id and tenant.name == login.subject)

    async def _owner(self, actor: str, memberships: tuple[Membership, ...], wanted: str | None) -> Principal:
        return principal.owner(actor, memberships, await self._tenant(wanted))

    async def _tenant(self, wanted: str | None) -> Tenant | None:
        """The tenant of the header, where there is one. Raises UnknownTenantName."""
        tenant = None if wanted is None else await self._access.tenant(wanted)
        if wanted is not None and tenant is None:
            raise UnknownTenantName(name=wanted)
        return tenant

    # Trusted tokens

    async def _trusted(self, token: Token, wanted: str | None) -> Principal:
        trusts = await self._access.trusts(token.issuer)
        owners = await self._access.owner_trusts(token.issuer)
        if not trusts and not owners:
            raise InvalidToken("nobody trusts the issuer")
        try:
            claims = await self._claims(token, {}, private=False)
        except Unfetchable as problem:
            # A 503 would tell strangers which issuers are trusted.
            raise InvalidToken(str(problem)) from problem
        actor = f"workload:{claims['sub']}@{token.issuer}"
        if any(_covers(trust, claims) for trust in owners):
            return await self._owner(actor, (), wanted)
        fitting = [(tenant, trust) for tenant, trust in trusts if _covers(trust, claims)]
        if not fitting:
            raise InvalidToken("no trust covers it")
        return principal.trusted(actor, fitting, await self._tenant(wanted))

    async def _claims(
        self, token: Token, wanted: dict[str, ClaimsOption], *, private: bool
    ) -> dict[str, Any]:
        key = await self._issuers.key(token.issuer, token.key_id, private=private)
        if key is None:
            raise InvalidToken("its issuer has no such key")
        return tokens.verified(token, key, time.time(), **wanted)


def _of_login(oidc: OidcSettings) -> dict[str, ClaimsOption]:
    """What the token of a login must claim beside the common things."""
    if oidc.provider == "cognito":
        return {
            "client_id": {"essential": True, "value": oidc.client_id},
            "token_use": {"essential": True, "value": "access"},
        }
    return {"aud": {"essential": True, "value": oidc.audience}}


def _login(claims: dict[str, Any], oidc: OidcSettings) -> Login:
    return Login(
        issuer=claims["iss"],
        subject=claims["sub"],
        email=_text(claims, "email"),
        email_verified=claims.get("email_verified") is True,
        display_name=_text(claims, "name"),
        default_role=oidc.default_role,
        first_user_role=oidc.first_user_role,
    )


def _names(claims: dict[str, Any]) -> set[str]:
    """How the list of owners may call a login."""
    names = {claims["sub"], f"{claims['iss']} {claims['sub']}"}
    email = _text(claims, "email")
    return names | {email} if email and claims.get("email_verified") is True else names


def _covers(trust: Trust, claims: dict[str, Any]) -> bool:
    return trust.covers(claims["iss"], claims["sub"], tokens.audiences(claims))


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) else None


def _texts(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """A claim that is a text or a list of texts; anything else says nothing."""
    value = claims.get(name)
    listed = value if isinstance(value, list) else [value]
    return tuple(text for text in listed if isinstance(text, str))


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]

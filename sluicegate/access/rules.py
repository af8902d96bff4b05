"""What may be made and given: names, roles, issuers (contract §4.2, §6.1). Each check returns or refuses."""

import ipaddress
import re
from urllib.parse import urlsplit

from sluicegate import errors
from sluicegate.access import refusals
from sluicegate.access.addresses import is_public
from sluicegate.access.roles import Role

MAX_KEY_NAME = 100
MAX_TENANT_NAME = 255
"""Characters; a subject of OpenID Connect, after which a tenant may be named, has no more."""
_KEY_NAME = r"^[a-zA-Z0-9_-]+$"
_LOCAL = ("localhost", "local", "internal", "localdomain", "home.arpa")


def check_name(name: str) -> str:
    """Return a name for a key or a trust. Raises EmptyName, TooLongName, NameDoesNotMatchPattern."""
    _check_length(name, MAX_KEY_NAME)
    if not re.fullmatch(_KEY_NAME[1:-1], name):
        words = "letters, digits, hyphens and underscores"
        raise errors.NameDoesNotMatchPattern(name=name, pattern=_KEY_NAME, pattern_description=words)
    return name


def check_tenant_name(name: str) -> str:
    """Return a name for a tenant: it may come from a claim, so anything may be in it but control
    characters, which no header could name. Raises EmptyName, TooLongName, NameDoesNotMatchPattern."""
    _check_length(name, MAX_TENANT_NAME)
    if name != name.strip() or not name.isprintable():
        words = "printable characters, without a space at either end"
        raise errors.NameDoesNotMatchPattern(name=name, pattern=r"^\S(.*\S)?$", pattern_description=words)
    return name


def _check_length(name: str, maximum: int) -> None:
    if not name:
        raise errors.EmptyName
    if len(name) > maximum:
        raise errors.TooLongName(name=name, length=len(name), maximum=maximum)


def check_key_role(requested: Role, creator: Role) -> Role:
    """Return a role for a key. Raises OwnerAdminNotMintableAsApiKey, RoleExceedsCreator."""
    if requested >= Role.ADMIN:
        raise refusals.OwnerAdminNotMintableAsApiKey
    return _check_not_above(requested, creator)


def check_member_role(requested: Role, creator: Role) -> Role:
    """Return a role for a member or a trust. Raises OwnerRoleNotAssignable, RoleExceedsCreator."""
    if requested is Role.OWNER:
        raise refusals.OwnerRoleNotAssignable
    return _check_not_above(requested, creator)


def _check_not_above(requested: Role, creator: Role) -> Role:
    if requested > creator:
        raise refusals.RoleExceedsCreator(requested=requested.value, creator=creator.value)
    return requested


def check_filled(**fields: str | None) -> None:
    """Raise EmptyOidcTrustField for the first field that is given and blank."""
    for field, value in fields.items():
        if value is not None and not value.strip():
            raise refusals.EmptyOidcTrustField(field=field)


def check_issuer(issuer: str) -> str:
    """Return an issuer that may be asked for its keys: https, and not an address of our own network.
    Where its name leads is checked again when it is asked. Raises InvalidOidcIssuerUrl."""
    reason = _why_not(issuer)
    if reason:
        raise refusals.InvalidOidcIssuerUrl(issuer=issuer, reason=reason)
    return issuer


def _why_not(issuer: str) -> str | None:
    try:
        parts = urlsplit(issuer)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "it is not a URL"
    if not issuer.isascii() or not issuer.isprintable() or " " in issuer or "\\" in issuer:
        return "it is not a URL"
    if parts.scheme != "https":
        return "it must begin with https://"
    if not host:
        return "it names no host"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "it may have no user, query or fragment"
    return _why_not_host(host)


def _why_not_host(host: str) -> str | None:
    try:
        public = is_public(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        last = host.rpartition(".")[2]
        if re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last):
            return "it has an address in an unusual notation"
        public = not any(host == name or host.endswith(f".{name}") for name in _LOCAL)
    return None if public else "its host is not a public one"

"""Refusals of access: tenants, members, keys and trusts, and what a role forbids (contract §0, §2.7)."""

from sluicegate.errors import Refusal

# What is asked for


class EmptyOidcTrustField(Refusal):
    """The field {field} of an OIDC trust may not be empty."""

    keys = ("field",)


class InvalidOidcIssuerUrl(Refusal):
    """The issuer is not usable: {reason}."""

    keys = ("issuer", "reason")


# Names and ids


class UnknownTenant(Refusal):
    """There is no tenant with the id {tenant_id}."""

    keys = ("tenant_id",)


class UnknownTenantName(Refusal):
    """There is no tenant named '{name}'."""

    keys = ("name",)


class UnknownApiKey(Refusal):
    """There is no API key named '{name}'."""

    keys = ("name",)


class UnknownOidcTrust(Refusal):
    """There is no OIDC trust named '{name}'."""

    keys = ("name",)


class UnknownUser(Refusal):
    """The tenant has no member with the id {user_id}."""

    keys = ("user_id",)


class TenantNotEmpty(Refusal):
    """The tenant {tenant_id} still has {pipelines} pipelines, {api_keys} API keys and {oidc_trusts} OIDC
    trusts; delete them first."""

    keys = ("tenant_id", "pipelines", "api_keys", "oidc_trusts")


class LimitReached(Refusal):
    """There are {maximum} {what} already, and no room for more."""

    keys = ("what", "maximum")


# Who may be here: whose tenant a login or a token may act in


class NoTenantMemberships(Refusal):
    """You are a member of no tenant."""


class AmbiguousTenantMembership(Refusal):
    """You are a member of several tenants; say with the header Feldera-Tenant which one is meant."""


class NotATenantMember(Refusal):
    """You are not a member of the tenant '{tenant}', if there is one."""

    keys = ("tenant",)


class OidcTenantNotTrusted(Refusal):
    """The tenant '{tenant}' does not trust this token."""

    keys = ("tenant",)


class AmbiguousOidcTenant(Refusal):
    """Several tenants trust this token; say with the header Feldera-Tenant which one is meant."""


class IdentityProviderUnavailable(Refusal):
    """The login cannot be checked, since its issuer does not answer."""


# Permission: what the caller's role forbids


class InsufficientPermissions(Refusal):
    """This takes the role {required}; yours is {actual}."""

    keys = ("required", "actual")


class RoleExceedsCreator(Refusal):
    """The role {requested} is above your own, {creator}."""

    keys = ("requested", "creator")


class OwnerAdminNotMintableAsApiKey(Refusal):
    """An API key may have the role read or write; administrators and owners log in."""


class OwnerRoleNotAssignable(Refusal):
    """The role owner belongs to the installation and cannot be given within a tenant."""

"""The OpenAPI document, with what holds for all routes: credentials, roles, and what is never answered."""

from typing import Any

from fastapi import FastAPI

from api import errors, links, roles
from api.platform import DEFAULT_NAME
from sluicegate.access.refusals import (
    AmbiguousOidcTenant,
    AmbiguousTenantMembership,
    IdentityProviderUnavailable,
    InsufficientPermissions,
    NotATenantMember,
    NoTenantMemberships,
    OidcTenantNotTrusted,
    UnknownTenantName,
)
from sluicegate.access.roles import Role

_NEVER = "422"
"""FastAPI's own word for malformed requests, which are plain 400s here."""
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key, or a JSON Web Token of an issuer that is configured or trusted; nothing where"
    " authentication is off.",
}
_TENANT = {
    "name": "Feldera-Tenant",
    "in": "header",
    "required": False,
    "description": "Name or id of the tenant to act in, for a login or token that may act in several.",
    "schema": {"type": "string", "minLength": 1},
    "example": DEFAULT_NAME,
}
_UNAUTHENTICATED = {
    "description": "There is no credential, or none that is accepted.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
_REFUSALS = (
    InsufficientPermissions,
    AmbiguousOidcTenant,
    AmbiguousTenantMembership,
    IdentityProviderUnavailable,
    NotATenantMember,
    NoTenantMemberships,
    OidcTenantNotTrusted,
    UnknownTenantName,
)
"""What any route may answer before it is reached."""


def complete(app: FastAPI) -> None:
    """Have the application describe itself wholly."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["securitySchemes"] = {"bearer": _SCHEME}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop(_NEVER, None)
                role = roles.least(method.upper(), path)
                if role is not None and "security" not in operation:
                    _restrict(operation, role)
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        links.add(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _restrict(operation: dict[str, Any], role: Role) -> None:
    """Say who may call, and how the others are answered."""
    operation["security"] = [{"bearer": []}]
    operation["x-required-role"] = role.value
    operation["description"] = f"{operation.get('description', '')}\n\nLeast role: {role.value}.".strip()
    operation.setdefault("parameters", []).append(_TENANT)
    responses = operation["responses"]
    responses["401"] = _UNAUTHENTICATED
    for refusal in _REFUSALS:
        status = str(errors.STATUS[refusal.__name__])
        known = responses.setdefault(status, {"description": "", "content": {}})
        known["description"] = ", ".join(filter(None, [known["description"], refusal.__name__]))
        known.setdefault("content", {}).update(_ERROR)

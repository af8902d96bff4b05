"""API keys of the caller's tenant (contract §6.1): their text is made here, shown once and kept nowhere."""

import secrets
from datetime import UTC, datetime
from uuid import uuid4

from fastapi import APIRouter
from starlette.responses import Response

from api.access_shapes import ApiKeyInfo, NewApiKey, NewApiKeyInfo
from api.answers import fresh, nothing
from api.backend import Behind
from api.errors import documented
from api.parse import CallerRole, JsonRoute, Tenant
from sluicegate import errors
from sluicegate.access import keys, refusals, rules
from sluicegate.access.entries import ApiKey
from sluicegate.access.tenant import AddKey, RemoveKey
from sluicegate.lifecycle import ids

router = APIRouter(prefix="/v0/api_keys", tags=["API keys"], route_class=JsonRoute)


@router.get("", response_model=list[ApiKeyInfo], responses=documented(errors.NotAnsweredYet))
async def list_api_keys(tenant: Tenant, backend: Behind) -> Response:
    """List the tenant's API keys, by name."""
    known = await backend.access.state(tenant)
    return fresh([key.shown for key in sorted(known.keys.values(), key=lambda key: key.name)])


@router.get(
    "/{api_key_name}",
    response_model=list[ApiKeyInfo],
    responses=documented(refusals.UnknownApiKey, errors.NotAnsweredYet),
)
async def get_api_key(api_key_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show one API key, as a list of one."""
    return fresh([(await backend.access.state(tenant)).key_named(api_key_name).shown])


@router.post(
    "",
    status_code=201,
    response_model=NewApiKeyInfo,
    responses=documented(
        errors.EmptyName,
        errors.TooLongName,
        errors.NameDoesNotMatchPattern,
        refusals.OwnerAdminNotMintableAsApiKey,
        refusals.RoleExceedsCreator,
        errors.DuplicateName,
        refusals.LimitReached,
        errors.OutcomeUnknown,
        plain=[400, 413],
    ),
)
async def post_api_key(new: NewApiKey, tenant: Tenant, role: CallerRole, backend: Behind) -> Response:
    """Make an API key. Its text is in this answer only; a key whose text is lost can only be deleted."""
    key_id = ids.uuid7(datetime.now(UTC), uuid4().hex)
    text = keys.mint(tenant, key_id, secrets.token_bytes(keys.RANDOM_BYTES))
    key = ApiKey(
        id=key_id,
        name=rules.check_name(new.name),
        role=rules.check_key_role(new.role, role),
        sha256=keys.digest(text),
    )
    await backend.access.change(tenant, AddKey(key=key))
    return fresh({"id": key.id, "name": key.name, "api_key": text}, status=201)


@router.delete(
    "/{api_key_name}",
    response_class=Response,
    responses={
        **documented(refusals.UnknownApiKey, errors.OutcomeUnknown),
        200: {"description": "It opens nothing any more.", "content": {}},
    },
)
async def delete_api_key(api_key_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Revoke an API key: at once here, and within two seconds in every other API process."""
    await backend.access.change(tenant, RemoveKey(name=api_key_name))
    return nothing()

"""Tenants, members, API keys and trusts over HTTP, each row of contract §6.1; and that tenants are apart."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api.access_shapes import ApiKeyInfo, MemberInfo, NewApiKeyInfo, TenantInfo, TrustInfo
from sluicegate import temporal
from sluicegate.access import keys
from sluicegate.access.directory import Drop
from sluicegate.access.roles import Role
from sluicegate.settings import Settings
from tests.api.tenancy.conftest import OWNER, TRUST, Process, acting, empty, founded, opened, refused

# Keys


async def test_a_key_is_made_shown_once_listed_and_revoked(http: Process, tenant: Any) -> None:
    who = acting(tenant)
    made = await http.post("/v0/api_keys", json={"name": "ci"}, headers=who)
    assert made.status_code == 201
    assert set(made.json()) == set(NewApiKeyInfo.model_fields)
    assert made.headers["cache-control"] == "no-cache"
    credential = keys.read(made.json()["api_key"])
    assert credential is not None
    assert (credential.tenant_id, credential.key_id) == (tenant["id"], made.json()["id"])
    known = await http.access.key(tenant["id"], credential.key_id)
    assert known
    assert credential.opens(known.sha256)
    shown = {"id": made.json()["id"], "name": "ci", "role": "read"}
    assert set(shown) == set(ApiKeyInfo.model_fields)
    assert (await http.get("/v0/api_keys", headers=who)).json() == [shown]
    one = await http.get("/v0/api_keys/ci", headers=who)
    assert (one.status_code, one.json(), one.headers["cache-control"]) == (200, [shown], "no-cache")
    empty(await http.delete("/v0/api_keys/ci", headers=who))
    assert await http.access.key(tenant["id"], credential.key_id) is None
    refused(await http.get("/v0/api_keys/ci", headers=who), 404, "UnknownApiKey", name="ci")
    refused(await http.delete("/v0/api_keys/ci", headers=who), 404, "UnknownApiKey", name="ci")
    assert (await http.get("/v0/api_keys", headers=who)).json() == []


async def test_what_keys_are_refused_with(http: Process, tenant: Any) -> None:
    who = acting(tenant)

    async def post(**body: Any) -> httpx.Response:
        return await http.post("/v0/api_keys", json=body, headers=who)

    assert (await post(name="w", role="write")).status_code == 201
    refused(await post(name="w"), 409, "DuplicateName")
    refused(await post(name="a", role="admin"), 403, "OwnerAdminNotMintableAsApiKey")
    refused(await post(name="a", role="owner"), 403, "OwnerAdminNotMintableAsApiKey")
    refused(await post(name=""), 400, "EmptyName")
    refused(await post(name="x" * 101), 400, "TooLongName", name="x" * 101, length=101, maximum=100)
    assert (await post(name="a b")).json()["error_code"] == "NameDoesNotMatchPattern"
    for body in ({}, {"name": 1}, {"name": "a", "role": "Read"}, {"name": "a", "role": None}):
        answer = await post(**body)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")


async def test_no_text_of_a_key_is_in_any_history(
    http: Process, tenant: Any, api_server: WorkflowEnvironment
) -> None:
    made = await http.post("/v0/api_keys", json={"name": "ci"}, headers=acting(tenant))
    handle = api_server.client.get_workflow_handle(temporal.tenant_workflow_id(tenant["id"]))
    history = await handle.fetch_history()
    text = made.json()["api_key"]
    updates = [event.workflow_execution_update_accepted_event_attributes for event in history.events]
    said = b"".join(payload.data for made in updates for payload in made.accepted_request.input.args.payloads)
    assert keys.digest(text).encode() in said
    assert text.removeprefix("apikey:")[64:].encode() not in said


# Tenants are apart


async def test_what_another_tenant_has_is_as_unknown_as_what_is_not(http: Process, tenant: Any) -> None:
    stranger = acting(await founded(http))
    who = acting(tenant)
    await http.post("/v0/api_keys", json={"name": "secret"}, headers=who)
    await http.post("/v0/oidc_trust", json={**TRUST, "name": "secret"}, headers=who)
    user = (await http.post("/v0/tenant/users", json={"subject": "s", "role": "read"}, headers=who)).json()
    calls = [
        ("GET", "/v0/api_keys/{}", "secret"),
        ("DELETE", "/v0/api_keys/{}", "secret"),
        ("GET", "/v0/oidc_trust/{}", "secret"),
        ("DELETE", "/v0/oidc_trust/{}", "secret"),
        ("DELETE", "/v0/tenant/users/{}", user["user_id"]),
        ("PUT", "/v0/tenant/users/{}", user["user_id"]),
    ]
    for method, path, theirs in calls:
        body = {"role": "read"} if method == "PUT" else None
        unknown = str(uuid4())
        real = await http.request(method, path.format(theirs), headers=stranger, json=body)
        made_up = await http.request(method, path.format(unknown), headers=stranger, json=body)
        assert real.status_code == made_up.status_code == 404
        assert real.text.replace(theirs, unknown) == made_up.text
        assert {*real.headers} == {*made_up.headers}
    for path in ("/v0/api_keys", "/v0/oidc_trust", "/v0/tenant/users"):
        assert (await http.get(path, headers=stranger)).json() == []
        assert len((await http.get(path, headers=who)).json()) == 1


async def test_names_are_unique_within_a_tenant_only(http: Process, tenant: Any) -> None:
    for who in (acting(tenant), acting(await founded(http))):
        assert (await http.post("/v0/api_keys", json={"name": "same"}, headers=who)).status_code == 201
        assert (await http.post("/v0/oidc_trust", json=TRUST, headers=who)).status_code == 201


# Trusts


async def test_a_trust_is_made_shown_and_removed(http: Process, tenant: Any) -> None:
    who = acting(tenant)
    made = await http.post("/v0/oidc_trust", json={**TRUST, "role": "write"}, headers=who)
    assert (made.status_code, set(made.json())) == (201, {"id", "name"})
    shown = {**TRUST, "id": made.json()["id"], "description": None, "audience": None, "role": "write"}
    assert set(shown) == set(TrustInfo.model_fields)
    assert (await http.get("/v0/oidc_trust", headers=who)).json() == [shown]
    assert (await http.get("/v0/oidc_trust/ci", headers=who)).json() == shown
    [(where, trust)] = [
        found for found in await http.access.trusts(TRUST["issuer"]) if found[0].id == tenant["id"]
    ]
    assert trust.covers(TRUST["issuer"], "repo:a/b:main", ())
    assert where.name == tenant["name"]
    refused(await http.post("/v0/oidc_trust", json=TRUST, headers=who), 409, "DuplicateName")
    empty(await http.delete("/v0/oidc_trust/ci", headers=who))
    refused(await http.get("/v0/oidc_trust/ci", headers=who), 404, "UnknownOidcTrust", name="ci")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"name": ""}, 400, "EmptyOidcTrustField"),
        ({"issuer": " "}, 400, "EmptyOidcTrustField"),
        ({"subject": ""}, 400, "EmptyOidcTrustField"),
        ({"audience": ""}, 400, "EmptyOidcTrustField"),
        ({"name": "a b"}, 400, "NameDoesNotMatchPattern"),
        ({"issuer": "http://a.example"}, 400, "InvalidOidcIssuerUrl"),
        ({"issuer": "https://10.0.0.1"}, 400, "InvalidOidcIssuerUrl"),
        ({"role": "owner"}, 403, "OwnerRoleNotAssignable"),
    ],
)
async def test_what_trusts_are_refused_with(
    http: Process, tenant: Any, change: Any, status: int, code: str
) -> None:
    answer = await http.post("/v0/oidc_trust", json={**TRUST, **change}, headers=acting(tenant))
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


# Members


async def test_a_member_is_made_promoted_and_removed(http: Process, tenant: Any) -> None:
    who = acting(tenant)
    body = {"subject": "jane", "email": "jane@example.com", "role": "read"}
    made = await http.post("/v0/tenant/users", json=body, headers=who)
    assert (made.status_code, set(made.json())) == (200, {"user_id"})
    user = made.json()["user_id"]
    [shown] = (await http.get("/v0/tenant/users", headers=who)).json()
    assert set(shown) == set(MemberInfo.model_fields)
    assert shown == {
        "user_id": user,
        "provider": "manual",
        "subject": "jane",
        "email": "jane@example.com",
        "email_verified": False,
        "display_name": None,
        "role": "read",
        "origin": "manual",
    }
    empty(await http.put(f"/v0/tenant/users/{user}", json={"role": "admin"}, headers=who))
    [shown] = (await http.get("/v0/tenant/users", headers=who)).json()
    assert shown["role"] == "admin"
    [membership] = await http.access.memberships("manual", "jane")
    assert (membership.tenant_id, membership.role) == (tenant["id"], Role.ADMIN)
    empty(await http.delete(f"/v0/tenant/users/{user}", headers=who))
    assert await http.access.memberships("manual", "jane") == ()
    for unknown in (user, "not-an-id"):
        gone = await http.delete(f"/v0/tenant/users/{unknown}", headers=who)
        refused(gone, 404, "UnknownUser", user_id=unknown)


async def test_nobody_becomes_an_owner(http: Process, tenant: Any) -> None:
    who = acting(tenant)
    made = await http.post("/v0/tenant/users", json={"subject": "j", "role": "owner"}, headers=who)
    refused(made, 403, "OwnerRoleNotAssignable")
    put = await http.put(f"/v0/tenant/users/{uuid4()}", json={"role": "owner"}, headers=who)
    refused(put, 403, "OwnerRoleNotAssignable")


# Tenants


async def test_a_tenant_is_created_found_renamed_and_deleted(http: Process, tenant: Any) -> None:
    assert set(tenant) == set(TenantInfo.model_fields)
    assert UUID(tenant["id"]).version == 7
    again = await http.post("/v0/tenants", json={"name": tenant["name"]}, headers=OWNER)
    assert (again.status_code, again.json()) == (200, tenant)
    assert tenant in (await http.get("/v0/tenants", headers=OWNER)).json()
    for name in (tenant["id"], tenant["name"]):
        assert (await http.get(f"/v0/tenants/{name}", headers=OWNER)).json() == tenant
    path = f"/v0/tenants/{tenant['id']}"
    renamed = await http.patch(path, json={"name": tenant["name"] + "-b"}, headers=OWNER)
    assert (renamed.status_code, renamed.json()) == (200, {"displaced": None})
    old = await http.get(f"/v0/tenants/{tenant['name']}", headers=OWNER)
    refused(old, 404, "UnknownTenantName", name=tenant["name"])
    empty(await http.delete(path, headers=OWNER))
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"name": "x"})):
        gone = await http.request(method, path, headers=OWNER, json=body)
        refused(gone, 404, "UnknownTenant", tenant_id=tenant["id"])


async def test_a_name_is_taken_over_only_on_request(http: Process, tenant: Any) -> None:
    second = await founded(http)
    path = f"/v0/tenants/{second['id']}"
    refused(await http.patch(path, json={"name": tenant["name"]}, headers=OWNER), 409, "DuplicateName")
    taken = await http.patch(path, json={"name": tenant["name"], "displace_existing": True}, headers=OWNER)
    displaced = {**tenant, "name": f"{tenant['name']} ({tenant['id']})"}
    assert taken.json() == {"displaced": displaced}
    assert (await http.get(f"/v0/tenants/{tenant['id']}", headers=OWNER)).json() == displaced


async def test_only_an_empty_tenant_is_deleted(http: Process, tenant: Any, api_named: Any) -> None:
    who = acting(tenant)
    path = f"/v0/tenants/{tenant['id']}"
    counts = {"tenant_id": tenant["id"], "pipelines": 1, "api_keys": 1, "oidc_trusts": 1}
    await http.post("/v0/api_keys", json={"name": "k"}, headers=who)
    await http.post("/v0/oidc_trust", json=TRUST, headers=who)
    await http.post("/v0/pipelines", json={"name": "p", "program_code": ""}, headers=who)
    refused(await http.delete(path, headers=OWNER), 409, "TenantNotEmpty", **counts)
    await http.delete("/v0/pipelines/p", headers=who)
    await http.delete("/v0/api_keys/k", headers=who)
    refused(
        await http.delete(path, headers=OWNER),
        409,
        "TenantNotEmpty",
        **counts | {"pipelines": 0, "api_keys": 0},
    )
    await http.delete("/v0/oidc_trust/ci", headers=who)
    await http.post("/v0/tenant/users", json={"subject": "left", "role": "read"}, headers=who)
    empty(await http.delete(path, headers=OWNER))
    memberships = await http.access.memberships("manual", "left")
    assert tenant["id"] not in {membership.tenant_id for membership in memberships}


async def test_a_delete_that_broke_off_is_finished_by_the_next(
    http: Process, tenant: Any, api_server: WorkflowEnvironment
) -> None:
    await http.post("/v0/tenant/users", json={"subject": "left", "role": "read"}, headers=acting(tenant))
    handle = api_server.client.get_workflow_handle(temporal.tenant_workflow_id(tenant["id"]))
    await handle.execute_update("change", {"change": {"kind": "dissolve"}})
    path = f"/v0/tenants/{tenant['id']}"
    assert (await http.get(path, headers=OWNER)).status_code == 200
    empty(await http.delete(path, headers=OWNER))
    assert (await http.get(path, headers=OWNER)).status_code == 404


async def test_a_key_of_a_deleted_tenant_is_dead(http: Process, api_server: Any) -> None:
    tenant = await founded(http)
    made = await http.post("/v0/api_keys", json={"name": "k"}, headers=acting(tenant))
    await http.access.direct(Drop(tenant_id=tenant["id"]))
    assert await http.access.key(tenant["id"], made.json()["id"]) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v0/config/owners"),
        ("GET", "/v0/tenants"),
        ("POST", "/v0/tenants"),
        ("GET", "/v0/tenants/x"),
        ("PATCH", "/v0/tenants/x"),
        ("DELETE", "/v0/tenants/x"),
    ],
)
async def test_the_installation_is_for_owners(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path)
    refused(answer, 403, "InsufficientPermissions", required="owner", actual="admin")


async def test_owners_are_those_of_the_settings(api_server: Any, api_settings: Settings) -> None:
    trust = {"issuer": "https://i.example", "subject": "root"}
    given = {
        "home": api_settings.home,
        "owner_keys": "owner-of-all",
        "owners": "a@b.example, root",
        "owner_trusts": [trust],
    }
    settings = Settings.model_validate(given)
    async with opened(api_server.client, settings) as http:
        shown = (await http.get("/v0/config/owners", headers=OWNER)).json()
        assert shown == {"owners": ["a@b.example", "root"], "owner_trusts": [{**trust, "audience": None}]}
        [found] = await http.access.owner_trusts("https://i.example")
        assert (found.role, found.covers("https://i.example", "root", ())) == (Role.OWNER, True)
        assert await http.access.owner_trusts("https://j.example") == ()


async def test_a_tenant_that_there_is_not_is_told_where_there_is_a_route(http: Process) -> None:
    nowhere = {**OWNER, "Feldera-Tenant": "nowhere"}
    for path in ("/v0/pipelines", "/v0/config/session"):
        refused(await http.get(path, headers=nowhere), 404, "UnknownTenantName", name="nowhere")
    other_method = await http.request("TRACE", "/v0/pipelines", headers=nowhere)
    assert (other_method.status_code, other_method.headers["allow"]) == (405, "GET, POST")
    unrouted = await http.get("/v0/unknown", headers=nowhere)
    assert (unrouted.status_code, unrouted.content) == (404, b"")
    assert (await http.request("TRACE", "/v0/pipelines")).status_code == 401

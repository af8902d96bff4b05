"""What a login or a trusted token may do, by what it claims and what the settings say (contract §6.3)."""

import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api.access import Access
from api.app import create_app
from api.websocket import promote
from sluicegate.access.entries import Trust, issuer_mark
from sluicegate.access.roles import Role
from sluicegate.access.tenant import AddTrust
from sluicegate.oidc import OidcSettings
from sluicegate.settings import Settings
from tests.api.issuing import Issuers, issuing

pytestmark = pytest.mark.usefixtures("api_worker")


class Installation(httpx.AsyncClient):
    """An application with settings of its own, and those who issue tokens for it."""

    access: Access
    issuers: Issuers

    async def ask(self, path: str, token: str, tenant: str | None = None) -> httpx.Response:
        """Ask with a token, in a tenant where one is named."""
        headers = {"Authorization": f"Bearer {token}"}
        return await self.get(path, headers=headers | ({"Feldera-Tenant": tenant} if tenant else {}))

    async def session(self, token: str, tenant: str | None = None) -> dict[str, Any]:
        """Who the bearer of a token is."""
        answer = await self.ask("/v0/config/session", token, tenant)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refused(self, token: str, tenant: str | None = None) -> tuple[int, str]:
        """How the bearer of a token is turned away from what anybody who may read may ask."""
        answer = await self.ask("/v0/config", token, tenant)
        return answer.status_code, answer.json()["error_code"] if answer.content else ""

    def login(self, subject: str, **claims: Any) -> str:
        """A token of somebody who logs in."""
        return self.issuers.token("login", subject, claims=claims)


Installed = Callable[..., Awaitable[Installation]]


@pytest.fixture
async def installed(
    api_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    """Applications with other settings of logins each."""
    async with AsyncExitStack() as parts:
        issuers = await parts.enter_async_context(issuing())

        async def install(*, owners: str = "", **oidc: Any) -> Installation:
            given = {"issuer": issuers.url("login"), "insecure_loopback": True, **oidc}
            settings = Settings.model_validate(
                {"home": tmp_path_factory.mktemp("logins"), "owners": owners, "oidc": OidcSettings(**given)}
            )
            app = create_app(settings, api_server.client)
            await parts.enter_async_context(app.router.lifespan_context(app))
            made = Installation(transport=httpx.ASGITransport(app), base_url="http://localhost")
            made.access, made.issuers = app.state.backend.access, issuers
            return await parts.enter_async_context(made)

        yield install


def a_name() -> str:
    return f"n-{uuid4().hex}"


async def test_a_login_may_have_to_be_in_a_group(installed: Installed) -> None:
    http = await installed(groups="engineers, operators", groups_claim="teams")
    assert await http.refused(http.login(a_name(), groups=["engineers"])) == (401, "AuthenticationFailed")
    for teams in (None, ["sales"], 1):
        assert await http.refused(http.login(a_name(), teams=teams)) == (401, "AuthenticationFailed")
    for fitting in (["sales", "operators"], "engineers"):
        assert (await http.session(http.login(a_name(), teams=fitting)))["role"] == "admin"


async def test_a_login_belongs_to_the_tenants_that_it_names(installed: Installed) -> None:
    http = await installed(first_user_role=Role.WRITE)
    one, two = sorted([a_name(), a_name()])
    first = http.login(a_name(), tenants=[one, two])
    shown = await http.session(first)
    assert (shown["tenant_id"], shown["tenant_name"], shown["role"]) == (None, None, None)
    assert sorted(found["name"] for found in shown["memberships"]) == [one, two]
    assert await http.refused(first) == (400, "AmbiguousTenantMembership")
    assert await http.refused(first, a_name()) == (403, "NotATenantMember")
    for wanted in (one, (await http.session(first, one))["tenant_id"]):
        shown = await http.session(first, wanted)
        assert (shown["tenant_name"], shown["role"]) == (one, "write"), "who founds it"
    second = await http.session(http.login(a_name(), tenant=two))
    assert (second["tenant_name"], second["role"]) == (two, "read"), "who joins it"


async def test_a_login_that_names_no_tenant_gets_its_own_or_its_issuers(installed: Installed) -> None:
    subject = a_name()
    alone = await installed()
    assert (await alone.session(alone.login(subject)))["tenant_name"] == subject
    together = await installed(tenant_of_issuer=True)
    shown = [await together.session(together.login(a_name())) for _ in range(2)]
    assert {found["tenant_name"] for found in shown} == {together.issuers.url("login")}
    assert [found["role"] for found in shown] == ["admin", "read"]


async def test_nobody_gets_into_a_tenant_by_being_called_so(installed: Installed) -> None:
    http = await installed()
    name = a_name()
    await http.access.found(name, "manual")
    assert await http.refused(http.login(name)) == (403, "NoTenantMemberships")


async def test_a_member_of_nothing_may_ask_who_it_is(installed: Installed) -> None:
    http = await installed(provisioning=False)
    token = http.login(a_name(), tenants=[a_name()])
    nobody: dict[str, Any] = {"tenant_id": None, "tenant_name": None, "role": None, "memberships": []}
    assert await http.session(token) == nobody
    assert await http.refused(token) == (403, "NoTenantMemberships")


@pytest.mark.parametrize(
    ("listed", "claims", "owner"),
    [
        ("{subject}", {}, True),
        ("{issuer} {subject}", {}, True),
        ("https://else.example {subject}", {}, False),
        ("b@o.example", {"email": "b@o.example", "email_verified": True}, True),
        ("b@o.example", {"email": "b@o.example", "email_verified": False}, False),
        ("b@o.example", {"email": "b@o.example", "email_verified": "true"}, False),
        ("b@o.example", {"email": "b@o.example"}, False),
    ],
)
async def test_owners_are_those_whom_the_settings_name(
    installed: Installed, listed: str, claims: dict[str, Any], owner: bool
) -> None:
    http, subject = await installed(), a_name()
    http = await installed(owners=listed.format(issuer=http.issuers.url("login"), subject=subject))
    tenant, _ = await http.access.found(a_name(), "manual")
    token = http.login(subject, **claims)
    if owner:
        assert (await http.session(token, tenant.name))["role"] == "owner"
        assert await http.refused(token, a_name()) == (404, "UnknownTenantName")
    else:
        assert (await http.session(token))["role"] == "admin", "of its own tenant"
        assert await http.refused(token, tenant.name) == (403, "NotATenantMember")


async def test_a_login_of_cognito_is_an_access_token_for_our_client(installed: Installed) -> None:
    given = {"login_url": "https://in.example", "logout_url": "https://out.example"}
    http = await installed(provider="cognito", client_id="ours", **given)
    good = {"client_id": "ours", "token_use": "access", "aud": None}
    assert (await http.session(http.login(a_name(), **good)))["role"] == "admin"
    for wrong in ({"client_id": "theirs"}, {"client_id": None}, {"token_use": "id"}, {"token_use": None}):
        assert await http.refused(http.login(a_name(), **good | wrong)) == (401, "")
    shown = (await http.get("/config/authentication")).json()
    assert shown == {"AwsCognito": {"issuer": http.issuers.url("login"), **given}}


async def test_pages_are_told_how_to_log_in(installed: Installed) -> None:
    http = await installed(client_id="page", scopes="email groups")
    issuer = http.issuers.url("login")
    expected = {"issuer": issuer, "client_id": "page", "extra_oidc_scopes": "email groups"}
    assert (await http.get("/config/authentication")).json() == {"GenericOidc": expected}


async def test_a_token_that_two_tenants_trust_says_which(installed: Installed) -> None:
    http = await installed()
    issuer, subject = http.issuers.url("ci"), a_name()
    names = [a_name(), a_name()]
    for name, role in zip(names, (Role.READ, Role.WRITE), strict=True):
        tenant, _ = await http.access.found(name, "manual")
        trust = Trust(id=str(uuid4()), name="ci", issuer=issuer, subject=f"{subject}*", role=role)
        await http.access.change(tenant.id, AddTrust(trust=trust), mark=issuer_mark(issuer))
    token = http.issuers.token("ci", f"{subject}:main")
    assert await http.refused(token) == (400, "AmbiguousOidcTenant")
    shown = [(await http.session(token, name))["role"] for name in names]
    assert shown == ["read", "write"]


async def test_without_its_provider_a_login_is_not_called_wrong(installed: Installed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    http = await installed(issuer=f"http://127.0.0.1:{port}")
    token = http.login(a_name(), iss=f"http://127.0.0.1:{port}")
    assert await http.refused(token) == (503, "IdentityProviderUnavailable")


def offered(*protocols: str, **headers: str) -> dict[str, Any]:
    """A WebSocket as a browser opens it."""
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    named = (b"sec-websocket-protocol", ", ".join(protocols).encode())
    return {"type": "websocket", "subprotocols": list(protocols), "headers": [*given, named]}


def carried(prefix: str, value: str) -> str:
    return prefix + base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def test_a_browsers_credential_is_among_its_protocols() -> None:
    bearer, tenant = carried("feldera-bearer.", "t?>k"), carried("feldera-tenant.", "ténant")
    scope = offered("feldera-ws-v1", bearer, tenant)
    promote(scope)
    assert scope["subprotocols"] == ["feldera-ws-v1"]
    expected = {b"authorization": b"Bearer t?>k", b"feldera-tenant": "ténant".encode()}
    assert dict(scope["headers"]) == expected


def test_a_header_counts_before_what_is_among_the_protocols() -> None:
    bearer, tenant = carried("feldera-bearer.", "page"), carried("feldera-tenant.", "other")
    scope = offered("feldera-ws-v1", bearer, tenant, authorization="Bearer own")
    promote(scope)
    assert dict(scope["headers"]) == {b"authorization": b"Bearer own"}
    assert scope["subprotocols"] == ["feldera-ws-v1"]


@pytest.mark.parametrize("protocols", [("feldera-ws-v1",), ("feldera-ws-v1", "feldera-bearer.%%%")])
def test_protocols_that_carry_nothing_give_no_credential(protocols: tuple[str, ...]) -> None:
    scope = offered(*protocols)
    promote(scope)
    assert b"authorization" not in dict(scope["headers"])

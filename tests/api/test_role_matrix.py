"""Every route by every role by every credential, good and forged, with a real issuer on this machine."""

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc.jwk import RSAKey
from temporalio.testing import WorkflowEnvironment

from api import roles
from api.access import Access
from api.app import create_app
from sluicegate.access import keys
from sluicegate.access.entries import ApiKey, Member, Trust, issuer_mark, person
from sluicegate.access.roles import Role
from sluicegate.access.tenant import AddKey, AddTrust, Join, RemoveKey
from sluicegate.oidc import OidcSettings
from sluicegate.settings import OwnerTrust, Settings
from tests.api.issuing import Issuers, issuing

pytestmark = pytest.mark.usefixtures("api_worker")

ADMIN_KEY, OWNER_KEY = "operator-secret", "owner-secret"
REFUSED_KEY = {"message": "The API key is not valid.", "error_code": "AuthenticationFailed"}
MEMBERS = (Role.READ, Role.WRITE, Role.ADMIN)


class World:
    """Two tenants, their keys, members and trusts, and the application before them."""

    http: httpx.AsyncClient
    issuers: Issuers
    access: Access
    tenant: str
    other: str
    keys: dict[str, str]

    def bearer(self, credential: str, **headers: str) -> dict[str, str]:
        """Headers with a credential."""
        return {"Authorization": f"Bearer {credential}", **headers}


async def _keyed(world: World, name: str, role: Role) -> str:
    key_id = str(uuid4())
    text = keys.mint(world.tenant, key_id, uuid4().bytes * 4)
    key = ApiKey(id=key_id, name=name, role=role, sha256=keys.digest(text))
    await world.access.change(world.tenant, AddKey(key=key))
    return text


async def _joined(world: World, subject: str, role: Role) -> None:
    issuer = world.issuers.url("login")
    user_id = person(issuer, subject)
    member = Member(user_id=user_id, provider=issuer, subject=subject, role=role, origin="manual")
    await world.access.change(world.tenant, Join(member=member), mark=user_id)


async def _trusted(world: World, role: Role) -> None:
    issuer = world.issuers.url("ci")
    subject, audience = f"job:{role}", "feldera-api"
    trust = Trust(id=str(uuid4()), name=role, issuer=issuer, subject=subject, audience=audience, role=role)
    await world.access.change(world.tenant, AddTrust(trust=trust), mark=issuer_mark(issuer))


@pytest.fixture(scope="module")
async def world(
    api_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The world, made once."""
    built = World()
    async with issuing() as built.issuers:
        issuer = built.issuers.url("login")
        settings = Settings.model_validate(
            {
                "home": tmp_path_factory.mktemp("matrix"),
                "api_keys": ADMIN_KEY,
                "owner_keys": OWNER_KEY,
                "owners": f"{issuer} user-owner",
                "owner_trusts": (OwnerTrust(issuer=built.issuers.url("ci"), subject="job:owner"),),
                "oidc": OidcSettings(issuer=issuer, insecure_loopback=True, provisioning=False),
            }
        )
        app = create_app(settings, api_server.client)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as built.http,
        ):
            built.access = app.state.backend.access
            built.tenant = (await built.access.found(f"a-{uuid4().hex}", "manual"))[0].id
            built.other = (await built.access.found(f"b-{uuid4().hex}", "manual"))[0].id
            built.keys = {role.value: await _keyed(built, role.value, role) for role in MEMBERS}
            built.keys["revoked"] = await _keyed(built, "revoked", Role.WRITE)
            await built.access.change(built.tenant, RemoveKey(name="revoked"))
            for role in MEMBERS:
                await _joined(built, f"user-{role}", role)
                await _trusted(built, role)
            yield built


def routes(world: World) -> Iterator[tuple[str, str, Role]]:
    """Every route that takes a role, with a path in which nothing exists."""
    app = world.http._transport.app  # type: ignore[attr-defined]
    for template, operations in app.openapi()["paths"].items():
        for method in operations:
            least = roles.least(method.upper(), template)
            if template not in roles.OPEN:
                assert least is not None
                yield method.upper(), re.sub(r"\{[^}]*\}", "absent", template), least


def valid(world: World) -> Iterator[tuple[str, Role, dict[str, str]]]:
    """Every way to have every role."""
    for role in MEMBERS:
        yield f"API key of {role}", role, world.bearer(world.keys[role.value])
    yield "key of the settings", Role.ADMIN, world.bearer(ADMIN_KEY)
    yield "owner's key", Role.OWNER, world.bearer(OWNER_KEY)
    yield "owner's key elsewhere", Role.OWNER, world.bearer(OWNER_KEY, **{"Feldera-Tenant": world.other})
    for role in Role:
        login = world.issuers.token("login", f"user-{role}")
        yield f"login of {role}", role, world.bearer(login)
        yield f"token of {role}", role, world.bearer(world.issuers.token("ci", f"job:{role}"))


def forged(world: World, name: str) -> Iterator[tuple[str, Role, dict[str, str]]]:
    """Credentials that open nothing, made for whom an issuer knows in each role."""
    issuers, now = world.issuers, int(time.time())
    for role in Role:
        subject = f"user-{role}" if name == "login" else f"job:{role}"
        changes: dict[str, dict[str, Any]] = {
            "expired": {"claims": {"exp": now - 120}},
            "without an end": {"claims": {"exp": None}},
            "not yet valid": {"claims": {"nbf": now + 600}},
            "without an issuer": {"claims": {"iss": None}},
            "wrong issuer": {"claims": {"iss": issuers.url("evil")}, "key": issuers.keys["evil"]},
            "issuer of others, signed by them": {"key": issuers.keys["evil"]},
            "unknown kid": {"header": {"kid": "unknown"}},
            "without kid": {"header": {"kid": None}},
            "another algorithm": {"header": {"alg": "RS512"}},
            "unknown subject": {"claims": {"sub": f"{subject}-2"}},
            "without subject": {"claims": {"sub": None}},
        }
        if name == "login" or role is not Role.OWNER:  # the owners' trust takes any audience
            changes["wrong audience"] = {"claims": {"aud": "someone-else"}}
        if name == "login":
            changes["without audience"] = {"claims": {"aud": None}}
            del changes["unknown subject"]  # a member of nothing, which is a 403
        for what, change in changes.items():
            yield what, role, world.bearer(issuers.token(name, subject, **change))
        good = issuers.token(name, subject)
        head, body, signature = good.split(".")
        yield "HMAC with the public key", role, world.bearer(_misused(good, issuers.keys[name]))
        none = _encoded(json.dumps({"alg": "none", "kid": issuers.keys[name].kid}).encode())
        yield "alg none", role, world.bearer(f"{none}.{body}.")
        yield "alg none, signed", role, world.bearer(f"{none}.{body}.{signature}")
        yield "without signature", role, world.bearer(f"{head}.{body}.")
        yield "garbled", role, world.bearer(f"{head}.{body[::-1]}.{signature}")
        yield "cut off", role, world.bearer(f"{head}.{body}")


def _misused(good: str, key: RSAKey) -> str:
    """Sign a token with the public key as if it were a secret that both sides know."""
    header = {"alg": "HS256", "kid": key.kid}
    signed = f"{_encoded(json.dumps(header).encode())}.{good.split('.')[1]}"
    return f"{signed}.{_encoded(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def keyless(world: World) -> Iterator[tuple[str, dict[str, str]]]:
    """Credentials of nobody."""
    yield "none", {}
    yield "empty", world.bearer("")
    yield "nonsense", world.bearer("nonsense")
    yield "another scheme", {"Authorization": f"Basic {ADMIN_KEY}"}
    yield "bare", {"Authorization": ADMIN_KEY}


def bad_keys(world: World) -> Iterator[tuple[str, dict[str, str]]]:
    """API keys that are none."""
    good = world.keys["write"]
    yield "revoked key", world.bearer(world.keys["revoked"])
    yield "other secret", world.bearer(good[:-1] + ("a" if good[-1] != "a" else "b"))
    yield "other tenant", world.bearer(keys.PREFIX + world.other.replace("-", "") + good[39:])
    yield "short key", world.bearer(good[:-1])


def strangers(world: World) -> Iterator[tuple[str, Role, dict[str, str]]]:
    """Good credentials that are not for the tenant they name, and what they are told."""
    for role in MEMBERS:
        login = world.issuers.token("login", f"user-{role}")
        yield "NotATenantMember", role, world.bearer(login, **{"Feldera-Tenant": world.other})
        yield "NotATenantMember", role, world.bearer(login, **{"Feldera-Tenant": "nowhere"})
        token = world.issuers.token("ci", f"job:{role}")
        yield "OidcTenantNotTrusted", role, world.bearer(token, **{"Feldera-Tenant": world.other})
        yield "UnknownTenantName", role, world.bearer(token, **{"Feldera-Tenant": "nowhere"})
    yield "UnknownTenantName", Role.OWNER, world.bearer(OWNER_KEY, **{"Feldera-Tenant": "nowhere"})


Expected = Callable[[httpx.Response], None]


def _let_in(role: Role, least: Role, path: str) -> Expected:
    def expected(answer: httpx.Response) -> None:
        if role < least:
            assert answer.status_code == 403
            refused = answer.json()
            assert refused["error_code"] == "InsufficientPermissions"
            assert refused["details"] == {"required": least.value, "actual": role.value}
        else:
            assert answer.status_code not in (401, 403)
            assert answer.status_code < 500 or path.endswith("healthz")

    return expected


def _unauthenticated(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == "Bearer"


def _key_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.json() == REFUSED_KEY


def _elsewhere(code: str) -> Expected:
    def expected(answer: httpx.Response) -> None:
        assert answer.json()["error_code"] == code

    return expected


Case = tuple[str, dict[str, str], Expected]


class Signed:
    """The credentials that hold tokens, which take longer to sign than to ask with."""

    def __init__(self, world: World) -> None:
        """Sign all of them."""
        self.valid = list(valid(world))
        self.forged = {name: list(forged(world, name)) for name in ("login", "ci")}
        self.strangers = list(strangers(world))


def cases(world: World, signed: Signed, name: str, path: str, least: Role) -> Iterator[Case]:
    """Every credential with what is to be answered to it on a route; the forgeries are of one issuer."""
    for what, role, headers in signed.valid:
        yield what, headers, _let_in(role, least, path)
    for what, role, headers in signed.forged[name]:
        yield f"{what} of {role}", headers, _unauthenticated
    for what, headers in keyless(world):
        yield what, headers, _unauthenticated
    for what, headers in bad_keys(world):
        yield what, headers, _key_refused
    for code, role, headers in signed.strangers:
        yield f"{role}, who is to be told {code}", headers, _elsewhere(code)


async def _ask(http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask with a body that nobody could read."""
    content = "{" if method in ("POST", "PUT", "PATCH") else None
    headers = {**headers, "Content-Type": "application/json"}
    return await http.request(method, path, headers=headers, content=content)


@pytest.mark.timeout(240)
async def test_the_matrix(world: World, counted: Callable[..., None]) -> None:
    signed, count = Signed(world), 0
    for number, (method, path, least) in enumerate(routes(world)):
        asked = list(cases(world, signed, ("login", "ci")[number % 2], path, least))
        # At once, since who names a tenant that is not there waits for the next look, with all others.
        answers = await asyncio.gather(*(_ask(world.http, method, path, headers) for _, headers, _ in asked))
        for (what, _, expected), answer in zip(asked, answers, strict=True):
            try:
                expected(answer)
            except AssertionError as failure:
                failure.add_note(f"{method} {path} as {what}: {answer.status_code} {answer.text[:200]}")
                raise
        count += len(asked)
    assert count > 1000
    assert world.issuers.asked["evil"] == 0, "an issuer that nobody trusts was asked"
    counted("cases of (route, role, credential)", count)

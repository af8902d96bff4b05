"""The commands about keys, trusts, members and tenants: what they ask of the API, and what they print."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sluicegate.cli.app import app

KEY = {"id": "1", "name": "ci", "role": "read"}
TRUST = {"name": "ci", "role": "read", "issuer": "https://i", "subject": "[s]", "audience": None}
USER = {"user_id": "u", "subject": "jane", "email": None, "role": "read", "origin": "login"}
TENANT = {"id": "t", "name": "acme", "initial_provider": "manual"}


def run(api: Any, *words: str) -> Result:
    return CliRunner().invoke(app, ["--url", api.url, *words])


@pytest.mark.parametrize(
    ("group", "path", "entry", "shown"),
    [
        ("keys", "/v0/api_keys", KEY, "ci"),
        ("trusts", "/v0/oidc_trust", TRUST, "[s]"),
        ("users", "/v0/tenant/users", USER, "jane"),
        ("tenants", "/v0/tenants", TENANT, "acme"),
    ],
)
def test_lists_show_what_there_is(api: Any, group: str, path: str, entry: Any, shown: str) -> None:
    api.answer("GET", path, [entry])
    result = run(api, group, "list")
    assert result.exit_code == 0, result.output
    assert shown in result.output
    assert json.loads(run(api, group, "list", "--json").output) == [entry]


@pytest.mark.parametrize(
    ("words", "method", "path", "answer", "body", "said"),
    [
        (
            ["keys", "create", "ci", "--role", "write"],
            "POST",
            "/v0/api_keys",
            {"id": "1", "name": "ci", "api_key": "apikey:x"},
            {"name": "ci", "role": "write"},
            "apikey:x\n",
        ),
        (["keys", "revoke", "ci"], "DELETE", "/v0/api_keys/ci", "", None, "ci is revoked\n"),
        (
            ["trusts", "add", "ci", "https://i", "s*"],
            "POST",
            "/v0/oidc_trust",
            {"id": "1", "name": "ci"},
            {"name": "ci", "issuer": "https://i", "subject": "s*", "role": "read"},
            "ci is trusted\n",
        ),
        (["trusts", "remove", "ci"], "DELETE", "/v0/oidc_trust/ci", "", None, "ci is trusted no more\n"),
        (
            ["users", "add", "jane", "--role", "admin"],
            "POST",
            "/v0/tenant/users",
            {"user_id": "u"},
            {"subject": "jane", "role": "admin"},
            "jane is a member: u\n",
        ),
        (
            ["users", "role", "u", "write"],
            "PUT",
            "/v0/tenant/users/u",
            "",
            {"role": "write"},
            "u may write\n",
        ),
        (["users", "remove", "u"], "DELETE", "/v0/tenant/users/u", "", None, "u is a member no more\n"),
        (
            ["tenants", "create", "acme"],
            "POST",
            "/v0/tenants",
            TENANT,
            {"name": "acme"},
            "acme is a tenant: t\n",
        ),
        (
            ["tenants", "rename", "t", "acme", "--displace"],
            "PATCH",
            "/v0/tenants/t",
            {"displaced": {**TENANT, "id": "o", "name": "acme (o)"}},
            {"name": "acme", "displace_existing": True},
            "t is called acme\no is called acme (o) now\n",
        ),
        (["tenants", "delete", "t"], "DELETE", "/v0/tenants/t", "", None, "t is deleted\n"),
    ],
)
def test_a_change_is_asked_for_and_confirmed(
    api: Any, words: list[str], method: str, path: str, answer: Any, body: Any, said: str
) -> None:
    api.answer(method, path, answer)
    result = run(api, *words)
    assert (result.exit_code, result.output) == (0, said)
    [seen] = api.seen
    assert (json.loads(seen.body) if seen.body else None) == body


def test_the_tenant_is_named_in_every_request(api: Any) -> None:
    api.answer("GET", "/v0/pipelines", [])
    run(api, "--tenant", "acme", "list")
    run(api, "list")
    assert [seen.headers.get("feldera-tenant") for seen in api.seen] == ["acme", None]


def test_a_refusal_says_what_to_do(api: Any) -> None:
    api.refuse("DELETE", "/v0/tenants/t", 409, "TenantNotEmpty", "There are keys.")
    result = run(api, "tenants", "delete", "t")
    assert result.exit_code == 1
    assert "TenantNotEmpty" in result.output
    assert "keys list" in result.output

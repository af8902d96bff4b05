"""Names, roles, issuers and the text of keys: each rule with what it lets through and what it refuses."""

import os
import string
from uuid import uuid4

import pytest

from sluicegate.access import keys, refusals, rules
from sluicegate.access.entries import Trust, issuer_mark, person
from sluicegate.access.roles import Role
from sluicegate.errors import Refusal


def test_a_key_carries_its_tenant_and_itself() -> None:
    tenant_id, key_id = str(uuid4()), str(uuid4())
    text = keys.mint(tenant_id, key_id, os.urandom(64))
    assert text.startswith("apikey:")
    assert len(text) == 7 + 128
    assert set(text[7:]) <= set(string.ascii_letters + string.digits)
    credential = keys.read(text)
    assert credential == (tenant_id, key_id, keys.digest(text))
    assert credential.opens(keys.digest(text))
    assert not credential.opens(keys.digest(text[:-1] + ("a" if text[-1] != "a" else "b")))


def test_all_randomness_goes_into_the_secret() -> None:
    ids = str(uuid4()), str(uuid4())
    zero, ones = keys.mint(*ids, bytes(64)), keys.mint(*ids, b"\xff" * 64)
    assert zero[:71] == ones[:71]
    assert zero[71:] != ones[71:]
    with pytest.raises(ValueError, match="64 random bytes"):
        keys.mint(*ids, b"short")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "apikey:",
        "apikey:" + "a" * 127,
        "apikey:" + "a" * 129,
        "a" * 128,
        "apikey:" + "a" * 127 + "é",
        "apikey:" + "a" * 127 + "-",
        "apikey:" + "z" * 128,
        "APIKEY:" + "a" * 128,
    ],
)
def test_what_is_no_key_is_read_as_none(text: str) -> None:
    assert keys.read(text) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a", None),
        ("A-b_9", None),
        ("-", None),
        ("x" * 100, None),
        ("", "EmptyName"),
        ("x" * 101, "TooLongName"),
        ("a b", "NameDoesNotMatchPattern"),
        ("a\n", "NameDoesNotMatchPattern"),
        ("ä", "NameDoesNotMatchPattern"),
    ],
)
def test_names_of_keys_and_trusts(name: str, code: str | None) -> None:
    assert _code(lambda: rules.check_name(name)) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("acme", None),
        ("Acme GmbH & Söhne", None),
        ("auth0|5f7c8ec7", None),
        ("", "EmptyName"),
        ("x" * 256, "TooLongName"),
        (" acme", "NameDoesNotMatchPattern"),
        ("ac\nme", "NameDoesNotMatchPattern"),
    ],
)
def test_names_of_tenants(name: str, code: str | None) -> None:
    assert _code(lambda: rules.check_tenant_name(name)) == code


@pytest.mark.parametrize("requested", Role)
@pytest.mark.parametrize("creator", Role)
def test_nobody_gives_what_they_may_not(requested: Role, creator: Role) -> None:
    above = "RoleExceedsCreator" if requested > creator else None
    minted = "OwnerAdminNotMintableAsApiKey" if requested >= Role.ADMIN else above
    assert _code(lambda: rules.check_key_role(requested, creator)) == minted
    assigned = "OwnerRoleNotAssignable" if requested is Role.OWNER else above
    assert _code(lambda: rules.check_member_role(requested, creator)) == assigned


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [
        ("https://token.actions.githubusercontent.com", None),
        ("https://login.example.com:8443/realms/a", None),
        ("https://8.8.8.8", None),
        ("https://[2606:4700::1111]/", None),
        ("http://example.com", "https"),
        ("ftp://example.com", "https"),
        ("example.com", "https"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://user:word@example.com", "no user"),
        ("https://example.com?x=1", "query"),
        ("https://example.com#x", "fragment"),
        ("https://example.com:port", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://exa mple.com", "not a URL"),
        ("https://example.com\\@10.0.0.1", "not a URL"),
        ("https://127.0.0.1", "public"),
        ("https://10.1.2.3/x", "public"),
        ("https://169.254.169.254", "public"),
        ("https://192.168.0.1", "public"),
        ("https://100.64.0.1", "public"),
        ("https://0.0.0.0", "public"),
        ("https://[::1]", "public"),
        ("https://[fe80::1]", "public"),
        ("https://[fe80::1%25eth0]", "public"),
        ("https://[fd00::1]", "public"),
        ("https://[::ffff:127.0.0.1]", "public"),
        ("https://localhost", "public"),
        ("https://LOCALHOST.", "public"),
        ("https://a.localhost", "public"),
        ("https://vault.internal", "public"),
        ("https://printer.local", "public"),
        ("https://2130706433", "unusual"),
        ("https://0x7f.1", "unusual"),
        ("https://127.1", "unusual"),
        ("https://0x7f000001", "unusual"),
    ],
)
def test_issuers_are_https_and_public(issuer: str, reason: str | None) -> None:
    if reason is None:
        assert rules.check_issuer(issuer) == issuer
        return
    with pytest.raises(refusals.InvalidOidcIssuerUrl) as refused:
        rules.check_issuer(issuer)
    assert refused.value.details["issuer"] == issuer
    assert reason in refused.value.details["reason"]


def test_blank_fields_are_named() -> None:
    rules.check_filled(name="a", audience=None)
    with pytest.raises(refusals.EmptyOidcTrustField) as refused:
        rules.check_filled(name="a", subject="  ", audience="")
    assert refused.value.details == {"field": "subject"}


@pytest.mark.parametrize(
    ("pattern", "subject", "audience", "audiences", "covered"),
    [
        ("repo:a/b:ref:main", "repo:a/b:ref:main", None, (), True),
        ("repo:a/b:*", "repo:a/b:ref:x", None, ("any",), True),
        ("repo:a/b:*", "repo:a/c:ref:x", None, (), False),
        ("*", "", None, (), True),
        ("a?c", "abc", None, (), False),
        ("a[bc]", "ab", None, (), False),
        ("a[bc]", "a[bc]", None, (), True),
        ("A", "a", None, (), False),
        ("s", "s", "us", ("them", "us"), True),
        ("s", "s", "u*", ("us",), True),
        ("s", "s", "us", ("them",), False),
        ("s", "s", "us", (), False),
    ],
)
def test_what_a_trust_covers(
    pattern: str, subject: str, audience: str | None, audiences: tuple[str, ...], covered: bool
) -> None:
    issuer = "https://i.example"
    trust = Trust(id="1", name="t", issuer=issuer, subject=pattern, audience=audience, role=Role.READ)
    assert trust.covers(issuer, subject, audiences) is covered
    assert not trust.covers(f"{issuer}/", subject, audiences)


def test_a_person_is_known_by_issuer_and_subject() -> None:
    assert person("https://i", "s") == person("https://i", "s")
    assert len({person("https://i", "s"), person("https://i", "t"), person("https://j", "s")}) == 3
    assert issuer_mark("https://i") not in {issuer_mark("https://j"), person("https://i", "")}


def _code(check: object) -> str | None:
    try:
        check()  # type: ignore[operator]
    except Refusal as refused:
        return refused.error_code
    return None

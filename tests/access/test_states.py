"""Directory and tenants: how they change, what they refuse, and how they travel."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate import errors
from sluicegate.access import directory, ledger, refusals, rules, tenant
from sluicegate.access.directory import DirectoryState, Drop, Found, Point, Rename
from sluicegate.access.entries import DEFAULT_TENANT, ApiKey, Member, Tenant, Trust
from sluicegate.access.roles import Role
from sluicegate.access.tenant import (
    AddKey,
    AddTrust,
    Dissolve,
    Grant,
    Join,
    RemoveKey,
    RemoveMember,
    RemoveTrust,
    SetRole,
    TenantState,
)
from sluicegate.errors import Refusal
from sluicegate.lifecycle.values import Packed

State = DirectoryState | TenantState


def key(name: str = "k", key_id: str = "1", role: Role = Role.READ) -> ApiKey:
    return ApiKey(id=key_id, name=name, role=role, sha256="0" * 64)


def trust(name: str = "t", trust_id: str = "1") -> Trust:
    return Trust(id=trust_id, name=name, issuer="https://i.example", subject="*", role=Role.WRITE)


def member(user_id: str = "u", role: Role = Role.READ, **more: Any) -> Member:
    given = {"provider": "https://i", "subject": user_id, "origin": "login"} | more
    return Member.model_validate({"user_id": user_id, "role": role, **given})


def named(name: str, tenant_id: str = "1") -> Tenant:
    return Tenant(id=tenant_id, name=name, initial_provider="manual")


def after(state: Any, *changes: Any) -> Any:
    """Apply changes."""
    for change in changes:
        state = state.changed(change).state
    return state


def refusal(state: Any, change: Any) -> Refusal:
    """Apply a change that is to be refused."""
    with pytest.raises(Refusal) as refused:
        state.changed(change)
    return refused.value


EMPTY = TenantState(tenant_id="t", revision=1)
ALONE = DirectoryState(revision=1)


# Keys and trusts


def test_a_key_is_added_once_and_removed_by_name() -> None:
    state = after(EMPTY, AddKey(key=key()))
    assert state.key_named("k") == key()
    assert after(state, AddKey(key=key())).keys == state.keys
    assert isinstance(refusal(state, AddKey(key=key(key_id="2"))), errors.DuplicateName)
    assert refusal(state, RemoveKey(name="other")).details == {"name": "other"}
    assert after(state, RemoveKey(name="k")).keys == {}
    assert isinstance(refusal(EMPTY, RemoveKey(name="k")), refusals.UnknownApiKey)


def test_a_trust_is_added_once_and_removed_by_name() -> None:
    state = after(EMPTY, AddTrust(trust=trust()))
    assert state.trust_named("t") == trust()
    assert after(state, AddTrust(trust=trust())).trusts == state.trusts
    assert isinstance(refusal(state, AddTrust(trust=trust(trust_id="2"))), errors.DuplicateName)
    assert after(state, RemoveTrust(name="t")).trusts == {}
    assert refusal(state, RemoveTrust(name="x")).details == {"name": "x"}


@pytest.mark.parametrize(
    ("limit", "change"),
    [
        ("MAX_KEYS", lambda n: AddKey(key=key(f"k{n}", str(n)))),
        ("MAX_TRUSTS", lambda n: AddTrust(trust=trust(f"t{n}", str(n)))),
        ("MAX_MEMBERS", lambda n: Grant(member=member(f"u{n}"))),
        ("MAX_MEMBERS", lambda n: Join(member=member(f"u{n}"))),
    ],
)
def test_a_tenant_has_bounds(
    monkeypatch: pytest.MonkeyPatch, limit: str, change: Callable[[int], Any]
) -> None:
    monkeypatch.setattr(tenant, limit, 2)
    state = after(EMPTY, change(1), change(2), change(1))
    assert refusal(state, change(3)).details["maximum"] == 2


# Members


def test_who_logs_in_keeps_the_role_that_was_given() -> None:
    state = after(EMPTY, Grant(member=member(role=Role.WRITE, origin="manual", email="a@b")))
    login = Join(member=member(role=Role.READ, email="c@d", email_verified=True, display_name="C"))
    state = after(state, login)
    assert state.member("u") == member(
        role=Role.WRITE, origin="manual", email="c@d", email_verified=True, display_name="C"
    )
    assert state.changed(login).state is state


def test_a_login_that_says_nothing_of_a_person_takes_nothing_away() -> None:
    known = member(email="a@b", email_verified=True, display_name="A")
    state = after(EMPTY, Join(member=known))
    assert state.changed(Join(member=member())).state is state
    assert after(state, Join(member=member(email="c@d"))).member("u").email_verified is False


def test_the_founder_is_the_first_administrator_and_that_only_once() -> None:
    login = Join(member=member(), founder_role=Role.ADMIN)
    state = after(EMPTY, login)
    assert state.member("u").role is Role.ADMIN
    assert after(state, SetRole(user_id="u", role=Role.READ), login).member("u").role is Role.READ
    removed = after(state, RemoveMember(user_id="u"))
    assert after(removed, login).member("u").role is Role.READ


def test_roles_are_given_to_members_only() -> None:
    state = after(EMPTY, Grant(member=member()))
    assert after(state, SetRole(user_id="u", role=Role.ADMIN)).member("u").role is Role.ADMIN
    assert after(state, Grant(member=member(role=Role.WRITE))).member("u").role is Role.WRITE
    for change in (SetRole(user_id="x", role=Role.READ), RemoveMember(user_id="x")):
        assert refusal(state, change).details == {"user_id": "x"}


# The end of a tenant


def test_only_an_empty_tenant_is_dissolved_and_then_nothing_is_added() -> None:
    full = after(EMPTY, AddKey(key=key()), AddTrust(trust=trust()), Grant(member=member()))
    counted = {"tenant_id": "t", "pipelines": 0, "api_keys": 1, "oidc_trusts": 1}
    assert refusal(full, Dissolve()).details == counted
    with pytest.raises(refusals.TenantNotEmpty) as refused:
        full.check_empty(pipelines=3, operator_keys=2)
    assert refused.value.details == {**counted, "pipelines": 3, "api_keys": 3}
    gone = after(full, RemoveKey(name="k"), RemoveTrust(name="t"), Dissolve())
    assert gone.dissolved
    assert isinstance(refusal(gone, AddKey(key=key())), refusals.UnknownTenant)


# The directory


def test_a_name_is_founded_once() -> None:
    first = ALONE.changed(Found(tenant=named("acme", "1")))
    assert first.answer == {"tenant": named("acme", "1").model_dump(mode="json"), "created": True}
    second = first.state.changed(Found(tenant=named("acme", "2")))
    assert second.answer == {"tenant": named("acme", "1").model_dump(mode="json"), "created": False}
    assert second.state is first.state
    assert first.state.changed(Found(tenant=named("acme", "1"))).answer["created"], "the same, sent again"
    assert first.state.find("acme") == first.state.find("1") == named("acme", "1")


def test_an_id_counts_before_a_name() -> None:
    state = after(ALONE, Found(tenant=named("acme", "1")), Found(tenant=named("1", "2")))
    assert state.find("1").name == "acme"


def test_the_default_tenant_is_there_from_the_beginning() -> None:
    assert ALONE.find("default").id == DEFAULT_TENANT  # type: ignore[union-attr]
    assert isinstance(refusal(ALONE, Rename(tenant_id="1", name="x")), refusals.UnknownTenant)


def test_a_name_can_be_taken_over() -> None:
    state = after(ALONE, Found(tenant=named("acme", "1")), Found(tenant=named("other", "2")))
    assert isinstance(refusal(state, Rename(tenant_id="2", name="acme")), errors.DuplicateName)
    changed = state.changed(Rename(tenant_id="2", name="acme", displace=True))
    assert changed.answer["displaced"] == {"id": "1", "name": "acme (1)", "initial_provider": "manual"}
    assert {t.id: t.name for t in changed.state.tenants.values()} == {
        DEFAULT_TENANT: "default",
        "1": "acme (1)",
        "2": "acme",
    }
    again = changed.state.changed(Rename(tenant_id="2", name="acme"))
    assert (again.state, again.answer) == (changed.state, {"displaced": None})


@pytest.mark.parametrize("length", [4, 251, 255])
def test_who_loses_a_name_gets_one_that_is_valid_and_free(length: int) -> None:
    name, taken = "x" * length, "x" * min(length, 251) + " (1)"
    tenants = (named(name, "1"), named("other", "2"), named(taken, "3"))
    state = after(
        ALONE, *(Found(tenant=tenant) for tenant in tenants), Rename(tenant_id="2", name=name, displace=True)
    )
    names = [tenant.name for tenant in state.tenants.values()]
    assert len(set(names)) == len(names)
    assert rules.check_tenant_name(state.tenants["1"].name).startswith("xxxx")


def test_places_go_with_their_tenant() -> None:
    state = after(
        ALONE,
        Found(tenant=named("acme", "1")),
        Point(mark="m", tenant_id="1"),
        Point(mark="m", tenant_id=DEFAULT_TENANT),
        Point(mark="n", tenant_id="1"),
    )
    assert state.changed(Point(mark="m", tenant_id="1")).state is state
    assert after(state, Drop(tenant_id="1")).places == {"m": (DEFAULT_TENANT,)}
    assert isinstance(refusal(state, Point(mark="m", tenant_id="9")), refusals.UnknownTenant)


def test_the_directory_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_TENANTS", 1)
    assert isinstance(refusal(ALONE, Found(tenant=named("acme"))), refusals.LimitReached)
    monkeypatch.setattr(directory, "MAX_PLACES", 1)
    state = after(ALONE, Point(mark="m", tenant_id=DEFAULT_TENANT))
    assert isinstance(refusal(state, Point(mark="n", tenant_id=DEFAULT_TENANT)), refusals.LimitReached)


NAMES = st.sampled_from(["a", "b", "default"])
IDS = st.sampled_from(["1", "2", "3", DEFAULT_TENANT])
CHANGES = st.one_of(
    st.builds(lambda name, tenant_id: Found(tenant=named(name, tenant_id)), NAMES, IDS),
    st.builds(Rename, tenant_id=IDS, name=NAMES, displace=st.booleans()),
    st.builds(Drop, tenant_id=IDS),
)


@given(st.lists(CHANGES, max_size=12))
def test_no_two_tenants_ever_have_one_name(changes: list[Any]) -> None:
    state = ALONE
    for change in changes:
        before = state
        try:
            state = state.changed(change).state
        except Refusal:
            assert state is before
        names = [found.name for found in state.tenants.values()]
        assert len(names) == len(set(names))
        assert state.revision >= before.revision
        assert (state.revision > before.revision) == (state.tenants != before.tenants)


# Travelling


def full_tenant() -> TenantState:
    """A tenant as large as it may become."""
    long = "x" * 60
    return TenantState(
        tenant_id=DEFAULT_TENANT,
        revision=1,
        keys={f"{n:036}": key(f"{long}-{n}", f"{n:036}") for n in range(tenant.MAX_KEYS)},
        trusts={f"{n}": trust(f"{long}-{n}", f"{n:036}") for n in range(tenant.MAX_TRUSTS)},
        members={f"{n:036}": member(f"{n:036}", email=f"{n}{long}@b.c") for n in range(tenant.MAX_MEMBERS)},
    )


@pytest.mark.parametrize("state", [ALONE, EMPTY, full_tenant()], ids=["directory", "tenant", "full"])
def test_a_state_travels_unchanged(state: State) -> None:
    encoded = json.loads(json.dumps(ledger.encoded(state)))
    assert type(state).decoded(encoded) == state
    assert len(encoded["packed"]) < 1_500_000


@pytest.mark.parametrize("state", [ALONE, after(EMPTY, AddKey(key=key()))], ids=["directory", "tenant"])
def test_keys_of_a_newer_release_are_kept(state: State) -> None:
    value = Packed(zlib64=ledger.encoded(state)["packed"]).json_value
    value["new"] = {"deep": [1]}
    for entries in (value.get("keys", {}), value.get("tenants", {})):
        for entry in entries.values():
            entry["new"] = 1
    raw = {"schema": 9, "packed": Packed.of_json(value).zlib64}
    again = ledger.encoded(type(state).decoded(raw))
    assert Packed(zlib64=again["packed"]).json_value == value


def test_the_memo_holds_what_is_small_and_says_so_where_it_is_not() -> None:
    assert ledger.memo(EMPTY) == {"revision": 1, **ledger.encoded(EMPTY)}
    assert ledger.memo(full_tenant()) == {"revision": 1, "overflow": True}


def test_a_tenant_leaves_room_in_the_directory_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_PLACES_OF_TENANT", 1)
    state = after(ALONE, Found(tenant=named("acme")), Point(mark="m", tenant_id=DEFAULT_TENANT))
    assert isinstance(refusal(state, Point(mark="n", tenant_id=DEFAULT_TENANT)), refusals.LimitReached)
    assert after(state, Point(mark="m", tenant_id=DEFAULT_TENANT)) is state
    assert after(state, Point(mark="n", tenant_id="1")).places["n"] == ("1",)


def test_one_person_in_many_tenants_takes_as_much_room_as_many_persons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory, "MAX_PLACES", 1)
    state = after(ALONE, Found(tenant=named("acme")), Point(mark="m", tenant_id=DEFAULT_TENANT))
    assert isinstance(refusal(state, Point(mark="m", tenant_id="1")), refusals.LimitReached)


def test_a_state_grows_no_larger_than_a_server_takes_but_may_always_shrink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = after(EMPTY, Grant(member=member("u"))), after(EMPTY, *(Grant(member=member(u)) for u in "uv"))
    monkeypatch.setattr(ledger, "MAX_BYTES", len(ledger.encoded(one)["packed"]))
    ledger.check_room(EMPTY, one)
    ledger.check_room(two, one)
    with pytest.raises(refusals.LimitReached):
        ledger.check_room(one, two)
    monkeypatch.setattr(ledger, "MAX_BYTES", 1)
    ledger.check_room(two, one)

"""What an API process knows of what others have written, of logins, and while something is away."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from api import copies
from api.app import create_app
from sluicegate import errors
from sluicegate.access.entries import DEFAULT_TENANT, Login
from sluicegate.access.roles import Role
from sluicegate.settings import Settings
from tests.api.tenancy.conftest import OWNER, Process, acting, away, empty, opened, refused

# Two API processes


async def test_a_key_works_elsewhere_at_once_and_is_dead_there_within_five_seconds(
    http: Process, other: Process, tenant: Any
) -> None:
    access = other.access
    assert await access.key(tenant["id"], str(uuid4())) is None, "a copy of the tenant without the key"
    for number in range(5):
        made = await http.post("/v0/api_keys", json={"name": f"k{number}"}, headers=acting(tenant))
        assert await access.key(tenant["id"], made.json()["id"]) is not None
    began = asyncio.get_running_loop().time()
    empty(await http.delete("/v0/api_keys/k4", headers=acting(tenant)))
    assert await http.access.key(tenant["id"], made.json()["id"]) is None
    while await access.key(tenant["id"], made.json()["id"]) is not None:
        assert asyncio.get_running_loop().time() - began < 5
        await asyncio.sleep(0.02)


async def test_a_flood_of_made_up_keys_costs_few_looks(
    http: Process, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = http.access
    looks = 0
    describe = access._rpc.describe

    async def counted(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        return await describe(*given)

    monkeypatch.setattr(access._rpc, "describe", counted)
    began = asyncio.get_running_loop().time()
    for tenant_id in (tenant["id"], str(uuid4())):
        found = await asyncio.gather(*(access.key(tenant_id, str(uuid4())) for _ in range(500)))
        assert not any(found)
    took = asyncio.get_running_loop().time() - began
    assert looks <= 4 + 2 * took / 0.1


async def test_a_bearer_of_a_key_is_let_in_and_out_by_every_process(
    http: Process, other: Process, tenant: Any
) -> None:
    made = await http.post("/v0/api_keys", json={"name": "ci", "role": "write"}, headers=acting(tenant))
    bearer = {"Authorization": f"Bearer {made.json()['api_key']}"}
    for one in (other, http):
        session = (await one.get("/v0/config/session", headers=bearer)).json()
        assert session == {
            "tenant_id": tenant["id"],
            "tenant_name": tenant["name"],
            "role": "write",
            "memberships": [],
        }
    empty(await http.delete("/v0/api_keys/ci", headers=bearer))
    began = asyncio.get_running_loop().time()
    assert (await http.get("/v0/pipelines", headers=bearer)).status_code == 401
    while (await other.get("/v0/pipelines", headers=bearer)).status_code != 401:
        assert asyncio.get_running_loop().time() - began < 5
        await asyncio.sleep(0.05)


async def test_while_temporal_is_away_a_key_is_not_called_wrong(
    http: Process, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await http.post("/v0/api_keys", json={"name": "ci"}, headers=acting(tenant))
    bearer = {"Authorization": f"Bearer {made.json()['api_key']}"}
    monkeypatch.setattr(http.access._rpc, "describe", away)
    answer = await http.get("/v0/config", headers=bearer)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TemporalUnavailable")
    assert answer.headers["retry-after"] == "5"


# Logins


def login(*tenants: str, subject: str | None = None, **more: Any) -> Login:
    """A login of a person of this test's own."""
    given = {"subject": subject or uuid4().hex, "tenants": tenants, **more}
    return Login.model_validate({"issuer": "https://i.example", **given})


async def test_a_login_founds_its_tenant_and_the_next_one_joins(http: Process, other: Process) -> None:
    name = f"t-{uuid4().hex}"
    first, second = login(name, display_name="First"), login(name)
    [founder] = await http.access.log_in(first)
    [joined] = await other.access.log_in(second)
    assert (founder.name, founder.role, joined.role) == (name, Role.ADMIN, Role.READ)
    assert founder.tenant_id == joined.tenant_id
    assert UUID(founder.tenant_id).version == 7
    again = await other.access.log_in(first)
    assert again == (founder,)
    found = await http.access.tenant(name)
    assert found
    assert found.initial_provider == "https://i.example"


async def test_one_login_many_times_at_once_founds_one_tenant(http: Process, other: Process) -> None:
    who = login(f"t-{uuid4().hex}")
    calls = [one.access.log_in(who) for one in (http, other) for _ in range(4)]
    assert len(set(await asyncio.gather(*calls))) == 1


async def test_a_login_that_brings_nothing_new_needs_no_worker(
    http: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = http.access
    who = login(f"t-{uuid4().hex}", f"t-{uuid4().hex}")
    memberships = await access.log_in(who)
    assert len(memberships) == 2

    async def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(access._rpc, "update", never)
    assert await access.log_in(who) == memberships


# While something is away


async def test_the_default_tenant_is_there_before_anything_is_written(
    api_deserted_server: Any, settings: Settings
) -> None:
    async with opened(api_deserted_server.client, settings) as http:
        found = await http.access.tenant("default")
        assert found
        assert found.id == DEFAULT_TENANT
        assert (await http.get("/v0/api_keys", headers=OWNER)).json() == []


async def test_without_a_worker_a_write_has_an_unknown_outcome(
    api_deserted_server: Any, settings: Settings
) -> None:
    async with opened(api_deserted_server.client, settings) as http:
        began = asyncio.get_running_loop().time()
        answer = await http.post("/v0/api_keys", json={"name": "k"}, headers=OWNER)
        refused(answer, 503, "OutcomeUnknown")
        assert asyncio.get_running_loop().time() - began < 20


async def test_while_temporal_is_away_a_copy_counts_for_a_while_and_then_it_is_a_503(
    http: Process, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = http.access
    made = await http.post("/v0/api_keys", json={"name": "k"}, headers=acting(tenant))
    key_id = made.json()["id"]
    assert await access.key(tenant["id"], key_id)

    monkeypatch.setattr(access._rpc, "describe", away)
    monkeypatch.setattr(copies, "FRESH_FOR", 0.0)
    assert await access.key(tenant["id"], key_id)
    with pytest.raises(errors.TemporalUnavailable):
        await access.key(tenant["id"], str(uuid4()))
    monkeypatch.setattr(copies, "STALE_AT_MOST", 0.0)
    with pytest.raises(errors.TemporalUnavailable):
        await access.key(tenant["id"], key_id)


async def test_a_stream_ends_when_the_key_that_opened_it_is_revoked(
    http: Process, api_server: WorkflowEnvironment, settings: Settings, api_serving: Any, tenant: Any
) -> None:
    made = await http.post("/v0/api_keys", json={"name": "ci", "role": "write"}, headers=acting(tenant))
    bearer = {"Authorization": f"Bearer {made.json()['api_key']}"}
    path = f"/v0/pipelines/p-{uuid4().hex[:10]}"
    new = {"name": path.rpartition("/")[2], "program_code": ""}
    assert (await http.post("/v0/pipelines", json=new, headers=bearer)).status_code == 201
    async with (
        api_serving(create_app(settings, api_server.client)) as address,
        httpx.AsyncClient(base_url=f"http://{address}", headers=bearer) as elsewhere,
        elsewhere.stream("GET", f"{path}/watch") as stream,
    ):
        assert stream.status_code == 200
        empty(await http.delete("/v0/api_keys/ci", headers=acting(tenant)))
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            async with asyncio.timeout(5):
                [part async for part in stream.aiter_bytes()]

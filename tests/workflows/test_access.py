"""Directory and tenants as workflows: nothing wedges them, histories stay short, and old ones replay."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle, WorkflowHistory, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from api.rpc import Temporal
from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.directory import Change as DirectoryChanges
from sluicegate.access.directory import DirectoryChange, DirectoryState, Drop, Found, Point, Rename
from sluicegate.access.entries import ApiKey, Member, Tenant, Trust
from sluicegate.access.roles import Role
from sluicegate.access.tenant import (
    AddKey,
    AddTrust,
    Dissolve,
    Grant,
    Join,
    RemoveKey,
    TenantChange,
    TenantState,
)
from sluicegate.access.tenant import Change as TenantChanges
from workflows.directory import DirectoryWorkflow
from workflows.tenant import TenantWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/access/*.json"))
STATES: dict[str, type[DirectoryState] | type[TenantState]] = {
    "Directory": DirectoryState,
    "Tenant": TenantState,
}
Handle = WorkflowHandle[Any, Any]


async def begin(client: Client, kind: str, *, revision: int = 1) -> Handle:
    """Start a directory or a tenant of this test's own."""
    empty = TenantState(tenant_id="t", revision=revision) if kind == "Tenant" else DirectoryState(revision=1)
    return await client.start_workflow(
        kind,
        ledger.encoded(empty),
        id=f"{kind.lower()}/{uuid4()}",
        task_queue=temporal.PIPELINES,
        memo={temporal.ACCESS_MEMO: ledger.memo(empty)},
    )


async def change(handle: Handle, made: TenantChanges | DirectoryChanges) -> dict[str, Any]:
    """Make a change; gives what is answered."""
    tenant = handle.id.startswith("tenant/")
    message = (
        TenantChange.model_validate({"change": made})
        if tenant
        else DirectoryChange.model_validate({"change": made})
    )
    answer: dict[str, Any] = await handle.execute_update("change", message, result_type=dict)
    return answer


async def refusal(handle: Handle, made: TenantChanges | DirectoryChanges) -> str | None:
    """Make a change that is to be refused; gives the code."""
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await change(handle, made)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.type


async def memo(handle: Handle) -> dict[str, Any]:
    """Read what is shown without any worker."""
    described = await handle.describe()
    shown: dict[str, Any] = await described.memo_value(temporal.ACCESS_MEMO, type_hint=dict)
    return shown


def key(name: str) -> ApiKey:
    """A key of that name."""
    return ApiKey(id=str(uuid4()), name=name, role=Role.WRITE, sha256="0" * 64)


@pytest.fixture
def client(temporal_server: WorkflowEnvironment, decider: None) -> Client:
    """A client, with a worker behind it."""
    return temporal_server.client


async def test_the_memo_shows_a_change_when_it_is_answered(client: Client) -> None:
    handle = await begin(client, "Tenant")
    assert (await memo(handle))["revision"] == 1
    added = key("k")
    await change(handle, AddKey(key=added))
    shown = await memo(handle)
    assert shown["revision"] == 2
    assert TenantState.decoded(shown).keys == {added.id: added}
    assert TenantState.decoded(await handle.query("state")).keys == {added.id: added}


async def test_a_refusal_leaves_no_history(client: Client) -> None:
    handle = await begin(client, "Tenant")
    await change(handle, AddKey(key=key("k")))
    before = len((await handle.fetch_history()).events)
    assert await refusal(handle, AddKey(key=key("k"))) == "DuplicateName"
    assert await refusal(handle, RemoveKey(name="x")) == "UnknownApiKey"
    assert len((await handle.fetch_history()).events) == before


async def test_what_is_too_large_for_the_memo_is_asked_for(client: Client) -> None:
    handle = await begin(client, "Tenant")
    for number in range(40):
        text = "".join(str(uuid4()) for _ in range(50))
        trust = Trust(id=str(number), name=f"t{number}", issuer="https://i", subject=text, role=Role.READ)
        await change(handle, AddTrust(trust=trust))
    assert await memo(handle) == {"revision": 41, "overflow": True}
    assert len(TenantState.decoded(await handle.query("state")).trusts) == 40


ODD: dict[str, list[Any]] = {
    "none": [],
    "null": [None],
    "text": ["hello"],
    "list": [[1]],
    "no change": [{}],
    "unknown kind": [{"change": {"kind": "explode"}}],
    "wrong types": [{"change": {"kind": "add_key", "key": {"id": 5}}}],
    "two": [{"change": {"kind": "dissolve"}}, {"more": True}],
    "not JSON": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{not json"))],
    "unknown encoding": [RawValue(Payload(metadata={"encoding": b"klingon"}, data=b"qapla"))],
}


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("given", ODD.values(), ids=ODD)
async def test_no_message_wedges_it(client: Client, kind: str, given: list[Any]) -> None:
    handle = await begin(client, kind)
    with pytest.raises((WorkflowUpdateFailedError, RPCError)):
        await handle.execute_update("change", args=given)
    for signal in ("change", "no_such_signal"):
        await handle.signal(signal, args=given)
    await change(handle, another(kind))
    assert (await memo(handle))["revision"] == 2


async def test_a_storm_is_one_after_the_other_over_many_histories(client: Client) -> None:
    handle = await begin(client, "Tenant")
    keys = [key(f"k{number}") for number in range(120)]
    rpc, turns = Temporal(client), asyncio.Semaphore(8)

    async def add(one: ApiKey) -> None:
        async with turns:
            message = TenantChange(change=AddKey(key=one))
            await rpc.update(handle.id, "change", message, update_id=one.id, within=20)

    await asyncio.gather(*map(add, keys))
    state = TenantState.decoded(await handle.query("state"))
    assert {one.name for one in state.keys.values()} == {one.name for one in keys}
    assert (await handle.describe()).run_id != handle.first_execution_run_id


async def test_a_dissolved_tenant_is_over(client: Client) -> None:
    handle = await begin(client, "Tenant")
    await change(handle, AddKey(key=key("k")))
    assert await refusal(handle, Dissolve()) == "TenantNotEmpty"
    await change(handle, RemoveKey(name="k"))
    await change(handle, Dissolve())
    await handle.result()


# Recorded histories


def named(name: str) -> Tenant:
    """A tenant of that name."""
    return Tenant(id=str(uuid4()), name=name, initial_provider="manual")


def another(kind: str) -> TenantChanges | DirectoryChanges:
    """A change that can always be made."""
    name = uuid4().hex
    return AddKey(key=key(name)) if kind == "Tenant" else Found(tenant=named(name))


async def live(handle: Handle) -> None:
    """Have everything happen that can."""
    if handle.id.startswith("directory/"):
        first, second = named("first"), named("second")
        for found in (first, second):
            await change(handle, Found(tenant=found))
        await change(handle, Point(mark="m", tenant_id=first.id))
        await change(handle, Rename(tenant_id=second.id, name="first", displace=True))
        await change(handle, Drop(tenant_id=first.id))
        return
    member = Member(user_id="u", provider="i", subject="s", role=Role.READ, origin="login")
    trust = Trust(id="1", name="t", issuer="https://i", subject="*", role=Role.READ)
    await change(handle, AddKey(key=key("a")))
    await change(handle, AddTrust(trust=trust))
    await change(handle, Join(member=member, founder_role=Role.ADMIN))
    await change(handle, Grant(member=member.model_copy(update={"user_id": "v"})))


def load(path: Path) -> WorkflowHistory:
    """Read a recorded history."""
    recorded = json.loads(path.read_text())
    return WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])


def test_all_scenarios_are_recorded() -> None:
    names = {f"{kind}-{part}" for kind in ("directory", "tenant") for part in ("before", "after")}
    assert {path.stem for path in HISTORIES} == names


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    replayer = Replayer(workflows=[DirectoryWorkflow, TenantWorkflow], plugins=[temporal.PLUGIN])
    await replayer.replay_workflow(load(path))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_state_decodes_and_loses_nothing(path: Path) -> None:
    decode: Callable[..., Any] = STATES[path.stem.partition("-")[0].capitalize()].decoded
    found: list[dict[str, Any]] = []
    for event in load(path).events:
        started = event.workflow_execution_started_event_attributes
        renewed = event.workflow_execution_continued_as_new_event_attributes
        for payloads in (started.input.payloads, renewed.input.payloads):
            found += await temporal.PLUGIN.data_converter.decode(payloads, [dict] * len(payloads))  # type: ignore[union-attr]
    assert found
    for encoded in found:
        assert ledger.encoded(decode(encoded)) == encoded


async def test_what_leaves_no_room_is_refused_before_the_state_can_travel_no_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_BYTES", 1_000)
    handle = await begin(client, "Tenant")
    short = Trust(id="1", name="t", issuer="https://i", subject="*", role=Role.READ)
    assert await refusal(handle, AddTrust(trust=short.but(description=token_hex(1_000)))) == "LimitReached"
    await change(handle, AddTrust(trust=short))


async def test_a_cancellation_from_outside_forgets_nobody(client: Client) -> None:
    handle = await begin(client, "Tenant")
    await handle.cancel()
    added = key("k")
    await change(handle, AddKey(key=added))
    assert TenantState.decoded(await memo(handle)).keys == {added.id: added}

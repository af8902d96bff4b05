"""Payload encryption: what is stored cannot be read without a key, and everything works with one."""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from sluicegate import codec, temporal
from sluicegate.codec import Encryption, KeysError, Undecodable
from sluicegate.settings import Settings
from workflows.cleanup import CleanupWorkflow
from workflows.pipeline import PipelineWorkflow

OLD, NEW = {"old": bytes(range(32))}, {"new": bytes(range(32, 64))}
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"program"')
WORD = "confidential_table"
PROGRAM = f"CREATE TABLE {WORD} (a INT);"
ORIGIN = "http://localhost:8233"


async def test_a_round_trip_gives_the_payload_and_hides_it() -> None:
    both = Encryption(NEW)
    [hidden] = await both.encode([PLAIN])
    assert hidden.metadata["encoding"] == b"binary/encrypted"
    assert hidden.metadata["key-id"] == b"new"
    assert b"program" not in hidden.SerializeToString()
    assert await both.decode([hidden]) == [PLAIN]
    [again] = await both.encode([PLAIN])
    assert again.data != hidden.data


async def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    [before] = await Encryption(OLD).encode([PLAIN])
    rotated = Encryption({**NEW, **OLD})
    assert await rotated.decode([before, PLAIN]) == [PLAIN, PLAIN]
    [after] = await rotated.encode([PLAIN])
    assert after.metadata["key-id"] == b"new"
    with pytest.raises(Undecodable, match="under the key 'new', which is not here"):
        await Encryption(OLD).decode([after])


@pytest.mark.parametrize("part", ["data", "nonce", "key-id", "cipher"])
async def test_a_changed_payload_is_refused(part: str) -> None:
    same = bytes(32)
    keys = Encryption({"one": same, "two": same})
    [hidden] = await keys.encode([PLAIN])
    if part == "data":
        hidden.data = bytes([hidden.data[0] ^ 1]) + hidden.data[1:]
    else:
        changed = {"nonce": os.urandom(12), "key-id": b"two", "cipher": b"none"}
        hidden.metadata[part] = changed[part]
    with pytest.raises(Undecodable):
        await keys.decode([hidden])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "There is no key"),
        ("a", "Line 1"),
        ("# keys\na !!!", "not base64"),
        ("a AAAA", "3 bytes instead of 32"),
        (f"a {base64.b64encode(bytes(32)).decode()}\n" * 2, "Line 2"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(KeysError, match=said):
        codec.read_keys(path)


def test_keys_come_from_the_file_that_settings_name(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# newest first\nb {base64.b64encode(bytes(32)).decode()}  # 2026\n")
    assert codec.read_keys(path) == {"b": bytes(32)}
    unset = Settings.model_validate({"home": tmp_path})
    assert codec.encryption(unset) is None
    named = Settings.model_validate({"home": tmp_path, "encryption_keys": path})
    assert codec.encryption(named) is not None


async def encrypting(server: WorkflowEnvironment, keys: dict[str, bytes]) -> Client:
    """A client of the server that encrypts."""
    address = server.client.service_client.config.target_host
    return await Client.connect(address, plugins=[temporal.plugin(Encryption(keys))])


@pytest.fixture
async def hidden(
    api_deserted_server: WorkflowEnvironment, api_process: Any, api_working_with: Any
) -> AsyncIterator[Client]:
    """An encrypting client, with workers that are given it."""
    client = await encrypting(api_deserted_server, OLD)
    async with api_working_with(client):
        yield client


async def test_no_history_holds_what_users_wrote(
    hidden: Client, api_open: Any, api_named: Any, api_deserted_server: WorkflowEnvironment
) -> None:
    async with api_open(hidden) as http:
        pipeline = api_named(http)
        created = await pipeline.create(program_code=PROGRAM, description=WORD)
        await pipeline.reaches("Success", "program_status")
        await pipeline.running()
        assert (await pipeline.get("all"))["program_code"] == PROGRAM
        assert pipeline.name in [row["name"] for row in (await http.get("/v0/pipelines")).json()]
        edited = await http.patch(pipeline.path, json={"description": f"{WORD} again"})
        assert edited.status_code == 200
        workflow_id = temporal.pipeline_workflow_id(_TENANT, pipeline.name)
        handle = hidden.get_workflow_handle(workflow_id)
        history = await handle.fetch_history()
        description = await handle.describe()
        stored = history.to_json() + str(description.raw_description)
        assert WORD not in stored
        for readable in (json.dumps(PROGRAM), created["id"]):
            assert base64.b64encode(readable.encode())[:-4].decode() not in stored
        replayer = Replayer(
            workflows=[PipelineWorkflow, CleanupWorkflow], plugins=[temporal.plugin(Encryption(OLD))]
        )
        await replayer.replay_workflow(history)


_TENANT = "00000000-0000-0000-0000-000000000000"


async def test_keys_rotate_under_a_pipeline_and_what_was_plain_stays_readable(
    api_deserted_server: WorkflowEnvironment, api_open: Any, api_named: Any, api_working_with: Any
) -> None:
    plain = api_deserted_server.client
    async with api_working_with(plain), api_open(plain) as http:
        pipeline = api_named(http)
        await pipeline.create(program_code=PROGRAM)
        await pipeline.reaches("Success", "program_status")
    for keys in (OLD, {**NEW, **OLD}):
        client = await encrypting(api_deserted_server, keys)
        async with api_working_with(client), api_open(client) as http:
            pipeline = api_named(http, pipeline.name)
            answer = await http.patch(pipeline.path, json={"description": next(iter(keys))})
            assert answer.status_code == 200, answer.text
            assert (await pipeline.get("all"))["description"] == next(iter(keys))


async def test_without_the_key_nothing_is_lost(
    api_deserted_server: WorkflowEnvironment, api_open: Any, api_named: Any, api_working_with: Any
) -> None:
    with_key = await encrypting(api_deserted_server, NEW)
    async with api_working_with(with_key), api_open(with_key) as http:
        pipeline = api_named(http)
        await pipeline.create(program_code=PROGRAM)
        await pipeline.reaches("Success", "program_status")
    without = await encrypting(api_deserted_server, OLD)
    async with api_working_with(without), api_open(without) as http:
        answer = await http.get(f"/v0/pipelines/{pipeline.name}")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TemporalUnavailable")
        assert "under the key 'new', which is not here" in answer.json()["message"]
        workflow_id = temporal.pipeline_workflow_id(_TENANT, pipeline.name)
        await with_key.get_workflow_handle(workflow_id).signal("clear", {"request_id": "r"})
    async with api_working_with(with_key), api_open(with_key) as http:
        again = api_named(http, pipeline.name)
        await again.running()


def settings(tmp_path: Path, **more: Any) -> Settings:
    """Settings of an API that asks for a key."""
    return Settings.model_validate({"home": tmp_path, "owner_keys": "the-owner", "api_keys": "a-key", **more})


async def test_an_operator_decodes_and_encodes(hidden: Client, api_open: Any, tmp_path: Path) -> None:
    [secret] = await Encryption(OLD).encode([PLAIN])
    body = {"payloads": [_json(secret), _json(PLAIN)]}
    owner = {"Authorization": "Bearer the-owner", "X-Namespace": "default"}
    async with api_open(hidden, settings(tmp_path)) as http:
        decoded = await http.post("/v0/codec/decode", json=body, headers=owner)
        assert decoded.json() == {"payloads": [_json(PLAIN)] * 2}
        encoded = await http.post("/v0/codec/encode", json=decoded.json(), headers=owner)
        assert "program" not in str(encoded.json())
        back = await http.post("/v0/codec/decode", json=encoded.json(), headers=owner)
        assert back.json() == decoded.json()
        for key, status in (("a-key", 403), ("nobody", 401)):
            refused = await http.post(
                "/v0/codec/decode", json=body, headers={"Authorization": f"Bearer {key}"}
            )
            assert refused.status_code == status
        foreign = await Encryption(NEW).encode([PLAIN])
        unknown = await http.post("/v0/codec/decode", json={"payloads": [_json(foreign[0])]}, headers=owner)
        assert (unknown.status_code, unknown.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert "'new'" in unknown.text


@pytest.mark.parametrize(("origin", "let_in"), [(ORIGIN, True), ("http://evil.example", False)])
async def test_only_pages_of_the_named_origin_may_call(
    api_open: Any, tmp_path: Path, origin: str, let_in: bool
) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }
    http: httpx.AsyncClient
    away = await Client.connect("127.0.0.1:1", lazy=True, plugins=[temporal.PLUGIN])
    async with api_open(away, settings(tmp_path, codec_origin=ORIGIN)) as http:
        first = await http.options("/v0/codec/decode", headers=asked)
        assert first.is_success is let_in
        assert (first.headers.get("access-control-allow-origin") == origin) is let_in
        owner = {"Origin": origin, "Authorization": "Bearer the-owner"}
        answer = await http.post("/v0/codec/decode", json={"payloads": []}, headers=owner)
        assert (answer.headers.get("access-control-allow-origin") == origin) is let_in
        elsewhere = await http.get("/v0/config", headers=owner)
        assert "access-control-allow-origin" not in elsewhere.headers


def _json(payload: Payload) -> dict[str, Any]:
    metadata = {key: base64.b64encode(value).decode() for key, value in payload.metadata.items()}
    return {"metadata": metadata, "data": base64.b64encode(payload.data).decode()}

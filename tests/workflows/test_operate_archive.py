"""The file of a backup: nothing is taken from one that is damaged, newer, or encrypted under another key."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from rich.console import Console
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sluicegate import temporal
from sluicegate.access import ledger
from sluicegate.access.directory import DirectoryState
from sluicegate.access.entries import Tenant
from sluicegate.codec import Encryption
from sluicegate.operate import archive, backup, live, replay, restore
from sluicegate.operate.archive import Line
from sluicegate.operate.replay import Asked
from sluicegate.operate.verb import Unusable
from worker import WORKFLOWS

WORD = "confidential-tenant"
KEYS = {"first": bytes(range(32))}
DIRECTORY = DirectoryState(revision=1, tenants={"t": Tenant(id="t", name=WORD, initial_provider="manual")})


@pytest.fixture
def nobody(temporal_server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A server that this process finds as the command does; no worker runs unless a test runs one."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.client.service_client.config.target_host)
    return temporal_server.client


async def line(raw: dict[str, Any], kind: str = "Directory", workflow_id: str = temporal.DIRECTORY) -> Line:
    """A record."""
    [payload] = await temporal.PLUGIN.data_converter.encode([raw])  # type: ignore[union-attr]
    return Line.of(kind, workflow_id, payload)


@pytest.fixture
async def whole(tmp_path: Path) -> Path:
    """A backup of a directory."""
    path = tmp_path / "backup.zip"
    with archive.writing(path) as writer:
        writer.add(await line(ledger.encoded(DIRECTORY)))
    return path


def truncated(path: Path) -> None:
    """Cut it off."""
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path: Path) -> None:
    """Change one bit of a record."""
    raw = bytearray(path.read_bytes())
    raw[120] ^= 1
    path.write_bytes(raw)


def _again(path: Path, records: str, header: dict[str, Any]) -> None:
    with ZipFile(path, "w") as zipped:
        zipped.writestr("records.jsonl", records)
        zipped.writestr("header.json", json.dumps(header))


def _parts(path: Path) -> tuple[str, dict[str, Any]]:
    with ZipFile(path) as zipped:
        return zipped.read("records.jsonl").decode(), json.loads(zipped.read("header.json"))


def newer(path: Path) -> None:
    """Say that a newer release wrote it."""
    records, header = _parts(path)
    _again(path, records, {**header, "format": archive.FORMAT + 1, "what": "else"})


def altered(path: Path) -> None:
    """Put another record in."""
    records, header = _parts(path)
    _again(path, records.replace("directory", "direktory"), header)


def shortened(path: Path) -> None:
    """Leave the record out."""
    _again(path, "", _parts(path)[1])


def headless(path: Path) -> None:
    """Leave the header out."""
    with ZipFile(path, "w") as zipped:
        zipped.writestr("records.jsonl", "")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "not a whole backup"),
        (flipped, "not a whole backup|damaged"),
        (newer, "has format 2, written by release"),
        (altered, "damaged"),
        (shortened, "damaged"),
        (headless, "not a whole backup"),
        (lambda path: path.write_text("{}"), "not a whole backup"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
async def test_what_is_not_whole_is_refused_before_anything_is_written(
    nobody: Client, whole: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(whole)
    with pytest.raises(Unusable, match=said):
        await restore.carry_out(whole, Console(file=StringIO()), dry=False)
    assert [found async for found in live.listed(nobody)] == []


@pytest.mark.parametrize(
    ("raw", "kind", "workflow_id", "said"),
    [
        ({**ledger.encoded(DIRECTORY), "schema": 99}, "Directory", temporal.DIRECTORY, "schema 99"),
        ({"schema": 1}, "Directory", temporal.DIRECTORY, "damaged"),
        (ledger.encoded(DIRECTORY), "Directory", "pipeline/somebody/else", "another's record"),
        ({}, "Unheard", "unheard", "unknown to this release"),
    ],
)
async def test_a_record_that_is_not_understood_is_refused_before_anything_is_written(
    nobody: Client, whole: Path, raw: dict[str, Any], kind: str, workflow_id: str, said: str
) -> None:
    with archive.writing(whole) as writer:
        writer.add(await line(ledger.encoded(DIRECTORY)))
        writer.add(await line(raw, kind, workflow_id))
    with pytest.raises(Unusable, match=said):
        await restore.carry_out(whole, Console(file=StringIO()), dry=False)
    assert [found async for found in live.listed(nobody)] == []


def test_a_backup_that_fails_leaves_the_one_before(whole: Path) -> None:
    before = whole.read_bytes()
    with pytest.raises(ZeroDivisionError), archive.writing(whole):
        raise ZeroDivisionError
    assert (whole.read_bytes(), list(whole.parent.iterdir())) == (before, [whole])
    with pytest.raises(Unusable, match="cannot be written"), archive.writing(whole / "below"):
        pass


@pytest.fixture
async def encrypted(nobody: Client) -> AsyncIterator[Client]:
    """A client that encrypts, and a worker that decides with it."""
    client = await temporal.connect(Encryption(KEYS))
    async with Worker(client, task_queue=temporal.PIPELINES, workflows=WORKFLOWS):
        yield client


async def test_an_encrypted_namespace_leaks_nothing_into_its_backup(
    encrypted: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = await encrypted.start_workflow(
        "Directory", ledger.encoded(DIRECTORY), id=temporal.DIRECTORY, task_queue=temporal.PIPELINES
    )
    keys = tmp_path / "keys"
    keys.write_text(f"first {base64.b64encode(KEYS['first']).decode()}\n")
    monkeypatch.setenv("SLUICEGATE_ENCRYPTION_KEYS", str(keys))
    path, screen = tmp_path / "backup.zip", Console(file=StringIO(), width=200)
    assert await replay.carry_out(Asked(export=tmp_path / "histories"), screen) == 0
    assert await backup.carry_out(path, screen) == 0
    await handle.terminate("it is lost")
    [stored] = list(archive.lines(path))
    assert stored.stored.metadata["encoding"] == b"binary/encrypted"
    assert stored.stored.metadata["key-id"] == b"first"
    assert await replay.carry_out(Asked(tmp_path / "histories"), screen) == 0

    other = base64.b64encode(bytes(32)).decode()
    for wrong, said in ((f"second {other}\n", "not here"), (f"first {other}\n", "was changed")):
        keys.write_text(wrong)
        with pytest.raises(Unusable, match=said):
            await restore.carry_out(path, screen, dry=False)
    monkeypatch.delenv("SLUICEGATE_ENCRYPTION_KEYS")
    with pytest.raises(Unusable, match="cannot be read"):
        await restore.carry_out(path, screen, dry=False)
    assert [f async for f in live.listed(encrypted) if await live.run_id(encrypted, f.workflow_id)] == []

    keys.write_text(f"first {base64.b64encode(KEYS['first']).decode()}\n")
    monkeypatch.setenv("SLUICEGATE_ENCRYPTION_KEYS", str(keys))
    assert await restore.carry_out(path, screen, dry=False) == 0
    again = encrypted.get_workflow_handle(temporal.DIRECTORY)
    state = DirectoryState.decoded(await again.query("state", result_type=dict))
    assert state.tenants == DIRECTORY.tenants
    await again.terminate("the test is over")

"""A secret is in its pipeline's process, and nowhere else in the whole house."""

import base64
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from temporalio.client import Client

from sluicegate import temporal
from tests.e2e.patient import Patient

VALUE = "nobody-may-see-this-9d41"
SOURCE = Path(__file__).parents[2]


@pytest.fixture
def guarded_plane(
    tmp_path: Path, engine_environment: Any, end_process: Callable[..., None], plane_of: Any
) -> Iterator[Any]:
    """`sluicegate dev` whose host has a secret."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "database").write_text(VALUE + "\n")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**engine_environment(home), "SLUICEGATE_SECRETS": str(secrets)}
    with (home / "dev.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.operate.dev"],
            env=environment,
            cwd=SOURCE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    plane = None
    try:
        plane = plane_of(home, process)
        yield plane
    finally:
        end_process(process)
        for engine in plane.engines() if plane else ():
            engine.kill()


def legible(raw: bytes) -> str:
    """What bytes say, what is packed in them included."""
    text = raw.decode("latin-1")
    for packed in re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", text):
        with suppress(ValueError, zlib.error):
            text += zlib.decompress(base64.b64decode(packed)).decode()
    return text


async def everything_stored(address: str) -> str:
    """What the server keeps of all workflows: histories and memos."""
    client = await Client.connect(address, plugins=[temporal.PLUGIN])
    stored = ""
    async for row in client.list_workflows():
        handle = client.get_workflow_handle(row.id, run_id=row.run_id)
        events = (await handle.fetch_history()).events
        stored += "".join(legible(event.SerializeToString()) for event in events)
        stored += legible(row.raw_info.SerializeToString())
    return stored


async def mentioned(api: httpx.AsyncClient, path: str) -> str:
    """Show the process a secret of its own: it hides what it knows, and would repeat what it does not."""
    row = {"insert": {"n": VALUE}}
    answer = await api.post(f"{path}/ingress/numbers", params={"format": "json"}, json=row)
    assert answer.status_code == 400
    assert "[secret]" in answer.text
    return answer.text


async def test_a_secret_is_nowhere_but_in_its_process(
    guarded_plane: Any, pipeline_type: Any, eventually: Any
) -> None:
    async with httpx.AsyncClient(base_url=guarded_plane.url, timeout=60, transport=Patient()) as api:
        pipeline = pipeline_type(api, "keeper", eventually)
        env = {"DATABASE": "postgres://u:${secret:database}@h"}
        created = await pipeline.create(runtime_config={"env": env})
        await pipeline.started()
        engine = guarded_plane.engine(created["id"])
        assert VALUE not in str(engine.environ())
        answers = [await mentioned(api, pipeline.path), str(await pipeline.get("all"))]
        for path in ("events", "stats"):
            answers.append((await api.get(f"{pipeline.path}/{path}")).text)
        os.kill(engine.pid, signal.SIGKILL)
        failed = await pipeline.reaches("Stopped")
        answers.append(str(failed))
        patched = await api.patch(pipeline.path, json={"runtime_config": {"env": {"A": "${secret:missing}"}}})
        assert patched.status_code == 200, patched.text
        assert (await pipeline.post("start")).status_code == 202

        async def refused() -> Any:
            error = (await pipeline.get())["deployment_error"]
            return error if error and error["error_code"] == "UnresolvedReference" else None

        error = await eventually(refused)
        assert "${secret:missing}" in error["message"]
        assert VALUE not in "".join(answers)
    stored = await everything_stored(guarded_plane.described["temporal_address"])
    assert "${secret:database}" in stored
    assert VALUE not in stored
    holders = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(VALUE in word for word in process.info["cmdline"] or ())
    ]
    assert holders == []
    files = [path for path in guarded_plane.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 5
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []

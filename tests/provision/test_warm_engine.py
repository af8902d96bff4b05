"""The built-in engine, kept warm: it runs a pipeline, and knows its secrets only from then on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.lifecycle.values import Packed
from sluicegate.provision import pool as pools
from sluicegate.provision.pool import Pool
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from sluicegate.provision.references import References
from sluicegate.settings import Settings

PROGRAM = """
CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW summary AS SELECT COUNT(*) AS how_many FROM numbers;
"""
VALUE = "nobody may see this"
TENANT = "00000000-0000-0000-0000-000000000000"


def _plan() -> Packed:
    compiler = [sys.executable, "-m", "sluicegate.engine", "compile"]
    request = json.dumps({"program_code": PROGRAM})
    answer = subprocess.run(compiler, input=request, capture_output=True, text=True, check=True)
    return Packed.of_json(json.loads(answer.stdout)["plan"])


async def _runs_and_keeps_secrets(address: str, until: Any) -> None:
    """Wait until it runs; feed it, and show it a secret of its own."""
    headers = {"Authorization": "Bearer token"}
    async with httpx.AsyncClient(base_url=f"http://{address}", headers=headers) as http:

        async def runs() -> bool:
            return bool((await http.get("/status")).json()["runtime_status"] == "Running")

        await until(runs)
        given = await http.post("/ingress/numbers?format=json", json={"insert": {"n": 1}})
        assert given.status_code == 200, given.text
        wrong = await http.post("/ingress/numbers?format=json", json={"insert": {"n": VALUE}})
        assert VALUE not in wrong.text
        assert "[secret]" in wrong.text


@pytest.fixture
async def engines(until: Any) -> AsyncIterator[Pool]:
    """A pool with a warm engine."""
    pool = pools.of(Settings().runtime_command, 1)
    assert pool is not None
    keeping = asyncio.create_task(pool.keep())
    await until(lambda: pool.ready == 1, within=45.0)
    yield pool
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


async def test_a_warm_engine_runs_a_pipeline(
    home: Path, engines: Pool, deployment_of: Any, until: Any
) -> None:
    (home.parent / "secrets").mkdir()
    (home.parent / "secrets" / "password").write_text(VALUE)
    command = Settings().runtime_command
    settings = ProcessSettings(references=References(home.parent / "secrets"), pool=engines)
    provisioner = ProcessProvisioner(home, "host-1", command, settings)
    deployment = deployment_of(env={"PASSWORD": "${secret:password}"}).model_copy(
        update={"plan": _plan(), "workflow_id": f"pipeline/{TENANT}/example"}
    )
    [pid] = engines.pids
    await provisioner.provision(deployment, "token")
    location = await until(lambda: provisioner.locate(deployment))
    assert location.details["pid"] == pid
    await _runs_and_keeps_secrets(location.address, until)
    shown = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    assert shown[: len(command)] == list(command)
    assert shown[-2:] == ["--bootstrap-policy", "await_approval"]
    await provisioner.deprovision(deployment)
    ended = await provisioner.check(deployment)
    assert ended is not None
    assert ended.exit_code == 0
    assert f"ended deployment {deployment.deployment_id}" in ended.log_tail[-1]

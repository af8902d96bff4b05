"""The warm pool: what its members become, when there are any, and when a start goes without them."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from sluicegate.lifecycle.effects import Deployment
from sluicegate.protocol import secret_variable
from sluicegate.provision import memory
from sluicegate.provision import pool as pools
from sluicegate.provision.pool import MEMBER_BYTES, SPARE_BYTES, Pool, PoolSettings
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from sluicegate.provision.references import References
from tests.provision.workers import COMMAND, FOREIGN, STUB, TOKEN, Worker

PLENTY = SPARE_BYTES + MEMBER_BYTES
GIVEN = {
    "env": {"MINE": "1", "HIDDEN": "${secret:password}", "STUB_MODE": ""},
    "workers": 3,
    "resources": {"memory_mb_max": 1000, "cpu_cores_max": 0.5},
}


@asynccontextmanager
async def _kept(pool: Pool, until: Any, ready: int = 1) -> AsyncIterator[Pool]:
    """Keep a pool for as long as the block runs."""
    keeping = asyncio.create_task(pool.keep())
    try:
        await until(lambda: pool.ready == ready, within=45.0)
        yield pool
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def _seen(home: Path, deployment: Deployment, until: Any) -> dict[str, Any]:
    """Wait for the stub to say what it was given."""
    working = home / "pipelines" / deployment.pipeline_id / "run" / str(deployment.generation)
    await until((working / "port").exists)
    found: dict[str, Any] = json.loads((working / "seen.json").read_text())
    return found


def _gone(pid: int) -> bool:
    """Say whether a process has ended, whoever may still have to reap it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or before it was read
        return True


def _one_of_a_kind(seen: dict[str, Any], deployment: Deployment) -> str:
    """Render what a process was given, without what no two processes share."""
    seen = {**seen, "pid": "PID", "session": "PID" if seen["session"] == seen["pid"] else seen["session"]}
    seen["limits"] = [line for line in seen["limits"] if "pending signals" not in line]
    return json.dumps(seen, indent=1).replace(deployment.pipeline_id, "PIPELINE")


# -- what a member becomes -----------------------------------------------------------------------------------


async def test_a_process_is_given_exactly_the_same_in_whichever_way_it_is_started(
    home: Path, pool: Pool, deployment_of: Any, until: Any
) -> None:
    secrets = home.parent / "secrets"
    secrets.mkdir()
    (secrets / "password").write_text("hunter2")
    given = []
    for command, found in ((FOREIGN, None), (COMMAND, None), (COMMAND, pool)):
        settings = ProcessSettings(references=References(secrets), pool=found)
        provisioner = ProcessProvisioner(home, "host-1", command, settings)
        pipeline, deployment_id = str(uuid4()), "0190a0c2-0000-7000-8000-000000000000"
        tenant = "pipeline/00000000-0000-0000-0000-000000000000/example"
        changes = {"deployment_id": deployment_id, "workflow_id": tenant}
        deployment = deployment_of(pipeline=pipeline, **GIVEN).model_copy(update=changes)
        await provisioner.provision(deployment, TOKEN)
        given.append((await _seen(home, deployment, until), deployment))
    assert pool.served == 1
    (first, _), *others = given
    first["command"].remove("-P")
    for seen, deployment in others:
        assert _one_of_a_kind(seen, deployment) == _one_of_a_kind(*given[0])
        assert "hunter2" not in (environ := Path(f"/proc/{seen['pid']}/environ").read_text())
        assert f"SLUICEGATE_DEPLOYMENT={deployment.pipeline_id}/1" in environ.split("\0")
    assert first["environment"]["HIDDEN"] == "hunter2"
    assert first["environment"][secret_variable("secret:password")] == "hunter2"
    assert first["loaded"] == []
    assert first["umask"] == "0077"
    files = [path for path in (home / "pipelines" / deployment.pipeline_id).rglob("*") if path.is_file()]
    assert [path.name for path in files if "hunter2" in path.read_text()] == ["seen.json"]


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that every user can reach, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs an interpreter that all can run")
async def test_as_root_a_member_takes_the_user_of_its_pipeline(
    open_home: Path, deployment_of: Any, until: Any
) -> None:
    command = ["/usr/bin/python3", str(shutil.copy(STUB, open_home.parent / "stub.py"))]
    given = []
    async with _kept(Pool(PoolSettings(command, size=1)), until) as pool:
        for found in (None, pool):
            provisioner = ProcessProvisioner(open_home, "host-1", command, ProcessSettings(pool=found))
            await provisioner.provision(deployment := deployment_of(pipeline=str(uuid4())), TOKEN)
            seen = await _seen(open_home, deployment, until)
            status = Path(f"/proc/{seen['pid']}/status").read_text()
            owner = Path(f"/proc/{seen['pid']}/environ").stat().st_uid
            assert owner == seen["uid"]  # its own user may look into it, as into every process of his
            given.append((seen, [line for line in status.splitlines() if line.startswith("Cap")]))
            storage = open_home / "pipelines" / deployment.pipeline_id / "storage"
            assert storage.stat().st_uid == seen["uid"] > 1_000_000
            await provisioner.remove(deployment)
        assert pool.served == 1
    (cold, cold_rights), (warm, warm_rights) = given
    assert warm_rights == cold_rights
    assert warm["groups"] == cold["groups"] == []
    assert warm["uid"] != cold["uid"]


async def test_a_member_becomes_one_pipeline_and_another_takes_its_place(
    warm: ProcessProvisioner, home: Path, pool: Pool, deployment_of: Any, until: Any
) -> None:
    members = pool.pids
    pids = set()
    for generation in (1, 2):
        await until(lambda: pool.ready == 2)
        deployment = deployment_of(generation)
        await warm.provision(deployment, TOKEN)
        pids.add((await _seen(home, deployment, until))["pid"])
        await warm.deprovision(deployment)
    assert pool.served == 2
    assert len(pids) == 2
    assert members[0] in pids
    await until(lambda: all(map(_gone, pids)))
    await until(lambda: pool.ready == 2)
    assert not pids & set(pool.pids)


async def test_two_starts_that_race_for_one_member_both_start(
    home: Path, deployment_of: Any, until: Any
) -> None:
    async with _kept(Pool(PoolSettings(COMMAND, size=1)), until) as pool:
        provisioner = ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(pool=pool))
        both = [deployment_of(pipeline=str(uuid4())) for _ in range(2)]
        await asyncio.gather(*(provisioner.provision(deployment, TOKEN) for deployment in both))
        pids = {(await _seen(home, deployment, until))["pid"] for deployment in both}
        assert len(pids) == 2
        assert pool.served == 1


# -- when a start goes without -------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["TZ", "LC_NUMERIC", "MALLOC_ARENA_MAX"])
async def test_a_variable_that_counts_from_the_start_on_needs_a_process_of_its_own(
    warm: ProcessProvisioner, home: Path, pool: Pool, deployment_of: Any, until: Any, variable: str
) -> None:
    deployment = deployment_of(env={variable: "1", "STUB_MODE": ""})
    await warm.provision(deployment, TOKEN)
    assert (await _seen(home, deployment, until))["environment"][variable] == "1"
    assert (pool.served, pool.ready) == (0, 2)


async def test_a_member_that_is_larger_than_a_limit_is_not_used_under_it(
    home: Path, deployment_of: Any, until: Any
) -> None:
    settings = PoolSettings(COMMAND, ("tests.provision.heavy",), size=1)
    async with _kept(Pool(settings), until) as pool:
        provisioner = ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(pool=pool))
        small, large = (
            deployment_of(pipeline=str(uuid4()), resources={"memory_mb_max": megabytes})
            for megabytes in (50, 500)
        )
        await provisioner.provision(small, TOKEN)
        assert pool.served == 0
        await provisioner.provision(large, TOKEN)
        assert pool.served == 1
        for deployment in (small, large):
            await _seen(home, deployment, until)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_members_that_died_or_hang_are_passed_over_and_leave_nothing(
    warm: ProcessProvisioner, home: Path, pool: Pool, deployment_of: Any, until: Any, how: int
) -> None:
    members = pool.pids
    for pid in members:
        os.kill(pid, how)
    await warm.provision(deployment_of(), TOKEN)
    pid = (await _seen(home, deployment_of(), until))["pid"]
    assert pid not in members
    await until(lambda: _gone(members[0]))
    log = (home / "pipelines" / deployment_of().pipeline_id / "pipeline.log").read_text()
    assert log.count("hello from generation 1") == 1


async def test_members_that_come_to_nothing_are_reported_and_not_missed(
    home: Path, deployment_of: Any, until: Any
) -> None:
    with capture_logs() as lines:
        async with _kept(Pool(PoolSettings(COMMAND, ("no_such_module",))), until, ready=0) as pool:
            await until(lambda: lines)
            provisioner = ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(pool=pool))
            await provisioner.provision(deployment_of(), TOKEN)
            await _seen(home, deployment_of(), until)
    assert lines[0]["event"] == "no warm engine"
    assert lines[0]["reason"] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_only_the_built_in_engine_is_kept_warm() -> None:
    engine = [sys.executable, "-m", "sluicegate.engine", "run"]
    assert pools.of(engine, 2) is not None
    assert pools.of(engine, 0) is None
    assert pools.of([sys.executable, "stub.py"], 2) is None
    assert pools.of(["/opt/other/python", *engine[1:]], 2) is None


# -- how many there are --------------------------------------------------------------------------------------


async def test_members_go_when_their_worker_is_killed(home: Path, deployment_of: Any, until: Any) -> None:
    worker = Worker(home, deployment_of(), members=2)
    assert not any(map(_gone, worker.members))
    worker.bury()
    await until(lambda: all(map(_gone, worker.members)))
    assert len(worker.members) == 2


async def test_members_go_when_memory_is_short_and_come_back_when_it_is_not(until: Any) -> None:
    available = PLENTY
    async with _kept(Pool(PoolSettings(COMMAND), lambda: available), until, ready=2) as pool:
        members = pool.pids
        available = SPARE_BYTES - 1
        await until(lambda: pool.ready == 0)
        await until(lambda: all(map(_gone, members)))
        available = PLENTY
        await until(lambda: pool.ready == 2)


async def test_no_member_is_started_beside_a_start(until: Any) -> None:
    async with _kept(Pool(PoolSettings(COMMAND, quiet=0.0)), until, ready=2) as pool:
        with pool.start_in_progress():
            for pid in pool.pids:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: pool.ready == 0)
            assert pool.ready == 0
        await until(lambda: pool.ready == 2)


async def test_starts_without_end_do_not_keep_a_pool_empty(until: Any) -> None:
    async with _kept(Pool(PoolSettings(COMMAND, size=1, patience=0.5)), until) as pool:
        with pool.start_in_progress():
            for _ in range(2):
                [pid] = pool.pids
                os.kill(pid, signal.SIGKILL)
                await until(lambda pid=pid: pool.ready == 1 and pool.pids != [pid])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max\n", 9_000 * 1024), ("5000000\n", 5_000_000 - 3_000_000 + 1_000_000)],
)
def test_memory_is_what_the_host_or_the_group_has_left(tmp_path: Path, limit: str, expected: int) -> None:
    proc, group = tmp_path / "proc", tmp_path / "groups" / "system" / "worker"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16000 kB\nMemAvailable: 9000 kB\nHugePages_Total: 0\n")
    (proc / "self" / "cgroup").write_text("4:memory:/other\n0::/system/worker/inner\n")
    (group / "inner").mkdir(parents=True)
    (group / "memory.max").write_text(limit)
    (group / "memory.current").write_text("3000000\n")
    (group / "memory.stat").write_text("anon 2000000\ninactive_file 1000000\n")
    assert memory.available_bytes(proc, tmp_path / "groups") == expected


def test_memory_of_this_host_is_more_than_nothing() -> None:
    assert memory.available_bytes() > 0

"""What is the process provisioner's own: what a program is given, its limits, its ends."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.lifecycle.effects import Deployment
from sluicegate.provision import Exit, ProvisionError, ProvisionRejected, Superseded
from sluicegate.provision.folder import Folder
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from tests.provision.workers import COMMAND, STUB, TOKEN


async def _seen(home: Path, deployment: Deployment, until: Any) -> dict[str, Any]:
    """Wait for the stub to say what it was given."""
    working = home / "pipelines" / deployment.pipeline_id / "run" / str(deployment.generation)
    await until((working / "port").exists)
    found: dict[str, Any] = json.loads((working / "seen.json").read_text())
    return found


def _log(home: Path, deployment: Deployment) -> str:
    return (home / "pipelines" / deployment.pipeline_id / "pipeline.log").read_text()


# -- what the program is given -------------------------------------------------------------------------------


async def test_the_program_is_given_what_it_needs_and_nothing_else(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_SECRET", "hunter2")
    env = {"MINE": "1", "LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "HOME": "/", "STUB_MODE": ""}
    deployment = deployment_of(env=env, workers=3)
    await process.provision(deployment, TOKEN)
    seen = await _seen(home, deployment, until)
    root = home / "pipelines" / deployment.pipeline_id
    assert seen["arguments"][2:] == [
        *("--bind-address", "127.0.0.1", "--initial", "running"),
        *("--deployment-id", deployment.deployment_id, "--bootstrap-policy", "await_approval"),
    ]
    assert seen["config"]["auth_token"] == TOKEN
    assert seen["config"]["storage_config"] == {"path": str(root / "storage")}
    assert seen["environment"]["MINE"] == "1"
    assert seen["environment"]["TOKIO_WORKER_THREADS"] == "3"
    assert seen["environment"]["HOME"] == str(root / "run" / "1")
    assert "/tmp" not in seen["environment"].get("PYTHONPATH", "").split(":")
    assert not {"WORKER_SECRET", "LD_PRELOAD"} & seen["environment"].keys()
    assert set(seen["descriptors"]) == {"/dev/null", str(root / "pipeline.log"), str(root / "lock")}
    assert "WARN provision: env may not set HOME, LD_PRELOAD, PYTHONPATH" in _log(home, deployment)
    assert seen["no_new_privileges"] == 1
    assert seen["session"] == seen["pid"]
    assert seen["ignored"] & 1 << (signal.SIGTERM - 1) == 0


@pytest.mark.parametrize("chosen", ["none", "01980000-0000-7000-8000-000000000000"])
async def test_the_program_is_told_what_to_begin_from(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, chosen: str
) -> None:
    deployment = deployment_of().but(checkpoint=chosen)
    await process.provision(deployment, TOKEN)
    seen = await _seen(home, deployment, until)
    assert seen["arguments"][-2:] == ["--checkpoint", chosen]


async def test_a_pipeline_without_storage_gets_no_folder(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(storage=None)
    await process.provision(deployment, TOKEN)
    assert (await _seen(home, deployment, until))["config"]["storage_config"] is None
    assert not (home / "pipelines" / deployment.pipeline_id / "storage").exists()


async def test_limits_hold_for_the_process(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(resources={"memory_mb_max": 1000, "cpu_cores_max": 0.5})
    await process.provision(deployment, TOKEN)
    seen = await _seen(home, deployment, until)
    limits = Path(f"/proc/{seen['pid']}/limits").read_text().splitlines()
    named = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    assert named["Max data size"] == ["1512000000", "1512000000"]
    assert named["Max core file size"] == ["0", "0"]
    assert int(named["Max open files"][1]) <= 16_384
    assert seen["processors"] == 1


async def test_a_program_gives_way_to_the_control_plane(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await process.provision(deployment, TOKEN)
    seen = await _seen(home, deployment, until)
    assert seen["priority"] == os.getpriority(os.PRIO_PROCESS, 0) + 10
    assert _session_priority(seen["pid"]) in ("10", None)


def _session_priority(pid: int) -> str | None:
    """What counts between sessions; None where the kernel does not group processes by them."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]
    return None


@pytest.mark.parametrize("megabytes", [2**63, 2**64 - 1])
async def test_a_limit_that_cannot_be_set_is_rejected_with_the_reason(
    process: ProcessProvisioner, deployment_of: Any, megabytes: int
) -> None:
    deployment = deployment_of(resources={"memory_mb_max": megabytes})
    with pytest.raises(ProvisionRejected, match=r"\d{20,} bytes of memory cannot be set"):
        await process.provision(deployment, TOKEN)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that every user can reach, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs an interpreter that all can run")
async def test_as_root_each_pipeline_has_a_user_of_its_own(
    open_home: Path, deployment_of: Any, until: Any
) -> None:
    script = shutil.copy(STUB, open_home.parent / "stub.py")
    provisioner = ProcessProvisioner(open_home, "host-1", ["/usr/bin/python3", str(script)])
    one, other = deployment_of(), deployment_of(pipeline=str(uuid4()))
    for deployment in (one, other):
        await provisioner.provision(deployment, TOKEN)
    users = {(await _seen(open_home, deployment, until))["uid"] for deployment in (one, other)}
    assert len(users) == 2
    assert min(users) > 1_000_000
    found = await provisioner.locate(one)
    assert found is not None
    assert found.details["user"] in users
    storage = open_home / "pipelines" / one.pipeline_id / "storage"
    assert storage.stat().st_uid == found.details["user"]
    assert storage.stat().st_mode & 0o077 == 0
    for deployment in (one, other):
        await provisioner.remove(deployment)
    assert list((open_home / "users").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_users_of_their_own_can_be_turned_off(open_home: Path, deployment_of: Any, until: Any) -> None:
    provisioner = ProcessProvisioner(open_home, "host-1", COMMAND, ProcessSettings(own_users=False))
    await provisioner.provision(deployment_of(), TOKEN)
    assert (await _seen(open_home, deployment_of(), until))["uid"] == 0
    await provisioner.remove(deployment_of())


async def test_a_program_that_does_not_exist_is_rejected(home: Path, deployment_of: Any) -> None:
    provisioner = ProcessProvisioner(home, "host-1", ["no-such-program"])
    with pytest.raises(ProvisionRejected, match="no-such-program"):
        await provisioner.provision(deployment_of(), TOKEN)


async def test_a_program_that_cannot_be_run_ends_with_the_reason(
    home: Path, deployment_of: Any, until: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF but no more")
    broken.chmod(0o755)
    provisioner = ProcessProvisioner(home, "host-1", [str(broken)])
    await provisioner.provision(deployment_of(), TOKEN)
    ended = await until(lambda: provisioner.check(deployment_of()))
    assert ended.exit_code == 127
    assert "could not be started" in ended.log_tail[-1]


async def test_a_variable_that_no_environment_can_have_ends_with_the_reason(
    process: ProcessProvisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(env={"NAME": "a\0b"})
    await process.provision(deployment, TOKEN)
    ended = await until(lambda: process.check(deployment))
    assert ended.exit_code == 127
    assert "could not be started: embedded null byte" in ended.log_tail[-1]


async def test_a_start_that_could_not_be_prepared_may_be_tried_again(home: Path, deployment_of: Any) -> None:
    provisioner = ProcessProvisioner(home, "host-1", COMMAND, ProcessSettings(own_users=False))
    root = home / "pipelines" / deployment_of().pipeline_id
    root.mkdir(parents=True)
    (root / "run").write_text("a file where a folder belongs")
    with pytest.raises(ProvisionError):
        await provisioner.provision(deployment_of(), TOKEN)
    assert await provisioner.check(deployment_of()) is None
    (root / "run").unlink()
    await provisioner.provision(deployment_of(), TOKEN)


async def test_an_id_that_is_a_path_is_rejected(process: ProcessProvisioner, deployment_of: Any) -> None:
    with pytest.raises(ProvisionRejected):
        await process.deprovision(deployment_of(pipeline="../../etc"))


# -- ends ----------------------------------------------------------------------------------------------------


async def test_an_exit_code_is_reported_with_the_last_lines(
    process: ProcessProvisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(mode="exit")
    await process.provision(deployment, TOKEN)
    ended = await until(lambda: process.check(deployment))
    assert (ended.exit_code, ended.signal) == (3, None)
    assert len(ended.log_tail) == 15
    assert ended.log_tail[-2] == "last words 19"
    assert ended.log_tail[-1] == "x" * 300


async def test_a_signal_is_reported_by_name(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await process.provision(deployment, TOKEN)
    os.kill((await _seen(home, deployment, until))["pid"], signal.SIGKILL)
    ended = await until(lambda: process.check(deployment))
    assert (ended.exit_code, ended.signal) == (None, "SIGKILL")
    assert ended.log_tail == ["hello from generation 1"]
    assert "ended with status 137" in _log(home, deployment)


async def test_the_last_lines_are_those_of_this_generation(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    for generation in (1, 2):
        deployment = deployment_of(generation)
        await process.provision(deployment, TOKEN)
        await _seen(home, deployment, until)
        await process.deprovision(deployment)
        ended = await process.check(deployment)
        assert ended is not None
        assert ended.log_tail == [f"hello from generation {generation}"]
        assert ended.signal == "SIGTERM"


async def test_without_its_shim_an_end_is_still_an_end(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await process.provision(deployment, TOKEN)
    await _seen(home, deployment, until)
    control = Folder(home, deployment.pipeline_id).control
    assert control is not None
    os.kill(control.shim_pid, signal.SIGKILL)
    os.kill(control.pid, signal.SIGKILL)
    ended = await until(lambda: process.check(deployment))
    assert (ended.exit_code, ended.signal) == (None, None)


async def test_after_a_restart_of_the_host_nothing_lives(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await process.provision(deployment, TOKEN)
    await _seen(home, deployment, until)
    path = home / "pipelines" / deployment.pipeline_id / "control.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "another boot"}))
    ended = await process.check(deployment)
    assert ended is not None
    assert (ended.exit_code, ended.signal) == (None, None)
    assert await process.locate(deployment) is None


async def test_a_generation_of_which_nothing_is_recorded_has_ended(
    process: ProcessProvisioner, deployment_of: Any
) -> None:
    assert await process.check(deployment_of()) == Exit(traceless=True)


async def test_an_attempt_that_has_not_reported_is_still_starting(
    process: ProcessProvisioner, home: Path, deployment_of: Any
) -> None:
    deployment = deployment_of()
    attempts = home / "pipelines" / deployment.pipeline_id / "attempts"
    attempts.mkdir(parents=True)
    (attempts / "1.abc.json").write_text("{}")
    assert await process.check(deployment) is None
    await process.deprovision(deployment)
    assert await process.check(deployment) == Exit(stopped=True)


async def test_a_port_file_that_is_a_link_is_not_followed(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(mode="link")
    await process.provision(deployment, TOKEN)
    working = home / "pipelines" / deployment.pipeline_id / "run" / "1"
    await until((working / "port").is_symlink)
    assert await process.locate(deployment) is None


# -- stopping ------------------------------------------------------------------------------------------------


async def test_a_program_that_ignores_term_is_killed(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of(mode="stubborn")
    await process.provision(deployment, TOKEN)
    await _seen(home, deployment, until)
    async with asyncio.timeout(10):
        await process.deprovision(deployment)
    assert processes_of(deployment.pipeline_id) == []
    ended = await process.check(deployment)
    assert ended is not None
    assert ended.signal == "SIGKILL"


async def test_children_end_with_the_program(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of(mode="fork")
    await process.provision(deployment, TOKEN)
    await _seen(home, deployment, until)
    control = Folder(home, deployment.pipeline_id).control
    assert control is not None
    # The program, and two children in two ways.
    assert len(set(processes_of(deployment.pipeline_id)) - {control.shim_pid}) == 3
    await process.deprovision(deployment)
    assert processes_of(deployment.pipeline_id) == []


async def test_children_of_a_program_that_crashed_are_ended_by_the_stop(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of(mode="fork")
    await process.provision(deployment, TOKEN)
    os.kill((await _seen(home, deployment, until))["pid"], signal.SIGKILL)
    await until(lambda: process.check(deployment))
    await until(lambda: len(processes_of(deployment.pipeline_id)) == 2)
    await process.deprovision(deployment)
    assert processes_of(deployment.pipeline_id) == []


async def test_a_newer_generation_waits_for_the_older_to_be_gone(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    older, newer = deployment_of(1), deployment_of(2)
    await process.provision(older, TOKEN)
    pid = (await _seen(home, older, until))["pid"]
    with pytest.raises(ProvisionError, match="still runs"):
        await process.provision(newer, TOKEN)
    assert await process.check(older) is None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: process.check(older))
    await process.provision(newer, TOKEN)
    assert await process.check(newer) is None
    with pytest.raises(Superseded):
        await process.provision(older, TOKEN)


async def test_whoever_holds_the_lock_keeps_a_program_from_starting(
    process: ProcessProvisioner, home: Path, deployment_of: Any
) -> None:
    deployment = deployment_of()
    folder = Folder(home, deployment.pipeline_id)
    folder.furnish(0o700)
    with folder.locked(), pytest.raises(ProvisionError, match="lock"):
        await process.provision(deployment, TOKEN)
    assert "hello" not in _log(home, deployment)
    await process.provision(deployment, TOKEN)
    assert await process.check(deployment) is None


async def test_a_stop_is_quick_where_nothing_runs(process: ProcessProvisioner, deployment_of: Any) -> None:
    for _ in range(2):
        async with asyncio.timeout(1):
            await process.deprovision(deployment_of())


async def test_clearing_is_refused_while_the_storage_is_in_use(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    older, newer = deployment_of(1), deployment_of(2)
    await process.deprovision(older)
    await process.provision(newer, TOKEN)
    await _seen(home, newer, until)
    for late in (older, newer):
        with pytest.raises(ProvisionError):
            await process.clear_storage(late)
    assert (home / "pipelines" / newer.pipeline_id / "storage").is_dir()


async def test_clearing_removes_what_a_program_has_locked_away(
    process: ProcessProvisioner, home: Path, deployment_of: Any
) -> None:
    deployment = deployment_of()
    await process.deprovision(deployment)
    inner = home / "pipelines" / deployment.pipeline_id / "storage" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    inner.chmod(0)
    inner.parent.chmod(0)
    await process.clear_storage(deployment)
    assert not inner.parents[1].exists()
    assert list((home / "trash").iterdir()) == []
    with pytest.raises(Superseded):
        await process.provision(deployment, TOKEN)

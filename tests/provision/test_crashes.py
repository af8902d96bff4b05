"""Workers that die or sleep at any point, and the fence that keeps a late start from starting (I2)."""

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.lifecycle.effects import Deployment
from sluicegate.provision.folder import Folder
from sluicegate.provision.process import ProcessProvisioner
from tests.provision.workers import TOKEN, Worker


async def _seen(home: Path, deployment: Deployment, until: Any) -> dict[str, Any]:
    """Wait for the stub to say what it was given."""
    working = home / "pipelines" / deployment.pipeline_id / "run" / str(deployment.generation)
    await until((working / "port").exists)
    found: dict[str, Any] = json.loads((working / "seen.json").read_text())
    return found


def _log(home: Path, deployment: Deployment) -> str:
    return (home / "pipelines" / deployment.pipeline_id / "pipeline.log").read_text()


@pytest.mark.parametrize(("members", "seed"), [*((0, n) for n in range(12)), *((1, n) for n in range(6))])
async def test_a_worker_killed_anywhere_leaves_at_most_one_process(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, members: int, seed: int
) -> None:
    process, deployment = cold, deployment_of()
    worker = Worker(home, deployment, members=members)
    worker.tell()
    await asyncio.sleep(random.Random(seed).uniform(0, 0.06))  # the point is where, not how long
    worker.bury()
    await process.provision(deployment, TOKEN)
    await _seen(home, deployment, until)
    assert await process.check(deployment) is None
    folder = Folder(home, deployment.pipeline_id)
    await until(lambda: all(_reported(folder, attempt) for attempt in folder.attempts(1)))
    assert _log(home, deployment).count("hello from generation 1") == 1


def _reported(folder: Folder, attempt: str) -> bool:
    """Say whether an attempt is the live process, has ended, or never began (its worker died first)."""
    control = folder.control
    mine = control is not None and control.attempt == attempt
    return mine or folder.exit_status(attempt) is not None or not _mentioned(attempt)


def _mentioned(text: str) -> bool:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    return True
    return False


@pytest.mark.parametrize("members", [0, 1], ids=["cold", "warm"])
async def test_a_worker_that_sleeps_through_a_stop_starts_nothing(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, processes_of: Any, members: int
) -> None:
    process, deployment = cold, deployment_of()
    worker = Worker(home, deployment, members=members)
    worker.tell()
    await until((home / "pipelines" / deployment.pipeline_id).exists)
    worker.process.send_signal(signal.SIGSTOP)
    await process.deprovision(deployment)
    worker.process.send_signal(signal.SIGCONT)
    worker.process.wait()
    worker.bury()
    await process.deprovision(deployment)
    await until(lambda: processes_of(deployment.pipeline_id) == [])
    assert await process.locate(deployment) is None


@pytest.mark.parametrize("members", [0, 1], ids=["cold", "warm"])
async def test_the_process_outlives_its_worker_and_is_adopted(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, members: int
) -> None:
    process, deployment = cold, deployment_of()
    worker = Worker(home, deployment, members=members)
    worker.tell()
    seen = await _seen(home, deployment, until)
    worker.bury()
    (home / "pipelines" / "not-a-pipeline").mkdir()
    broken = home / "pipelines" / str(uuid4())
    broken.mkdir()
    (broken / "control.json").write_text("{")
    (found,) = await process.adopt()
    assert (found.pipeline_id, found.alive) == (deployment.pipeline_id, True)
    location = await process.locate(deployment)
    assert location is not None
    assert location.details["pid"] == seen["pid"]


@contextlib.contextmanager
def _frozen_launcher(home: Path, deployment: Deployment) -> Iterator[tuple[Folder, int]]:
    """Freeze a launcher in front of the lock, by holding the lock; let the lock go at the end."""
    folder = Folder(home, deployment.pipeline_id)
    folder.furnish(0o700)
    with folder.locked():
        worker = Worker(home, deployment)
        worker.tell()
        while not (found := _launchers(folder)):
            pass
        os.kill(found[0], signal.SIGSTOP)
        worker.bury()
    yield folder, found[0]


def _launchers(folder: Folder) -> list[int]:
    """Find launchers of a pipeline that have opened its lock."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdigit() else b""
            if b"import inplace" in told and folder.pipeline_id.encode() in told and b"shim.sh" not in told:
                opened = [os.readlink(f"/proc/{name}/fd/{n}") for n in os.listdir(f"/proc/{name}/fd")]
                if str(folder.root / "lock") in opened:
                    found.append(int(name))
    return found


async def test_a_launcher_frozen_before_the_lock_finds_the_fence(
    home: Path, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of()
    with _frozen_launcher(home, deployment) as (folder, launcher):
        folder.fence(1)
        os.kill(launcher, signal.SIGCONT)
        await until(lambda: processes_of(deployment.pipeline_id) == [])
    assert folder.control is None
    assert "hello" not in _log(home, deployment)


async def test_a_launcher_frozen_before_the_lock_is_ended_by_a_stop(
    process: ProcessProvisioner, home: Path, deployment_of: Any, processes_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    with _frozen_launcher(home, deployment):
        await process.deprovision(deployment)
    await until(lambda: processes_of(deployment.pipeline_id) == [])
    assert "hello" not in _log(home, deployment)


async def test_a_launcher_that_wakes_after_a_removal_finds_no_pipeline(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of()
    with _frozen_launcher(home, deployment) as (folder, launcher):
        folder.mark_removed()
        folder.discard()
        os.kill(launcher, signal.SIGCONT)
        await until(lambda: processes_of(deployment.pipeline_id) == [])
    assert not folder.root.exists()
    await process.remove(deployment)


async def test_a_folder_made_by_a_call_after_the_removal_is_tidied_up(
    process: ProcessProvisioner, home: Path, deployment_of: Any
) -> None:
    deployment = deployment_of()
    folder = Folder(home, deployment.pipeline_id)
    folder.mark_removed()
    folder.furnish(0o700)
    assert await process.adopt() == []
    assert not folder.root.exists()


async def test_the_lock_lives_exactly_as_long_as_the_process(
    process: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await process.provision(deployment, TOKEN)
    seen = await _seen(home, deployment, until)
    with (home / "pipelines" / deployment.pipeline_id / "lock").open("r+") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(seen["pid"], signal.SIGKILL)
        await until(lambda: process.check(deployment))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

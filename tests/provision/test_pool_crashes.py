"""Members and their workers that die or sleep at any point: what was stopped is never served (I2)."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sluicegate import faults
from sluicegate.lifecycle.effects import Deployment
from sluicegate.provision import ProvisionError, processes
from sluicegate.provision.folder import Folder
from sluicegate.provision.process import ProcessProvisioner
from tests.provision.workers import TOKEN, Worker

IN_MEMBER = (faults.POOL_CLAIMED, faults.LOCK_TAKEN, faults.RECORDED, faults.POOL_RECORDED)
IN_WORKER = (faults.ATTEMPT_WRITTEN, faults.POOL_ASKED, faults.POOL_TOLD)
RECORDED = (faults.RECORDED, faults.POOL_RECORDED)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Where points are armed."""
    folder = tmp_path / "points"
    for name in ("armed", "hit"):
        (folder / name).mkdir(parents=True)
    return folder


async def _reached(home: Path, deployment: Deployment, points: Path, until: Any, **armed: str) -> Worker:
    """Let a worker with one warm engine provision until a process has come to an armed point."""
    ((point, how),) = armed.items()
    (points / "armed" / point).write_text(how)
    worker = Worker(home, deployment, members=1, points=points)
    worker.tell()
    await until(lambda: list((points / "hit").iterdir()))
    return worker


def _hit(points: Path) -> int:
    """The process that came to the point."""
    [hit] = (points / "hit").iterdir()
    return int(hit.name.split(".")[-2])


def _hellos(home: Path, deployment: Deployment) -> int:
    return (Folder(home, deployment.pipeline_id).log.path).read_text().count("hello from generation 1")


@pytest.mark.parametrize("point", [*IN_MEMBER, *IN_WORKER])
async def test_whoever_is_killed_at_a_point_another_call_settles_it(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path, point: str
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{point: "kill"})
    await until(lambda: worker.process.poll() is not None)
    worker.bury()
    assert (_hit(points) in worker.members) is (point in IN_MEMBER)

    async def provisioned() -> bool:
        try:
            await cold.provision(deployment, TOKEN)
        except ProvisionError:
            return False
        return True

    await until(provisioned)
    if point in RECORDED:
        ended = await until(lambda: cold.check(deployment))
        assert ended.signal == "SIGKILL"
        assert _hellos(home, deployment) == 0
    else:
        await until(lambda: cold.locate(deployment))
        assert _hellos(home, deployment) == 1
        # What came too late has only to see that, and ends.
        await until(lambda: len(list(processes.belonging(deployment.pipeline_id, 1))) == 1)


@pytest.mark.parametrize("point", IN_MEMBER)
async def test_a_member_that_sleeps_is_found_and_ended_by_a_stop(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path, point: str
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{point: "stop"})
    assert [pid for pid, _ in processes.belonging(deployment.pipeline_id, 1)] == worker.members
    await cold.deprovision(deployment)
    assert not list(processes.belonging(deployment.pipeline_id, 1))
    worker.bury()
    assert await cold.locate(deployment) is None
    assert _hellos(home, deployment) == 0


async def test_a_member_that_wakes_up_after_a_stop_finds_the_fence(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{faults.POOL_CLAIMED: "stop"})
    folder = Folder(home, deployment.pipeline_id)
    folder.fence(1)
    os.kill(worker.members[0], signal.SIGCONT)
    await until(lambda: not list(processes.belonging(deployment.pipeline_id, 1)))
    worker.bury()
    assert folder.control is None
    assert _hellos(home, deployment) == 0
    with pytest.raises(ProvisionError):
        await cold.provision(deployment, TOKEN)


async def test_a_member_that_wakes_up_after_another_process_was_started_does_not_start(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{faults.POOL_CLAIMED: "stop"})
    await cold.provision(deployment, TOKEN)
    found = await until(lambda: cold.locate(deployment))
    os.kill(worker.members[0], signal.SIGCONT)
    await until(
        lambda: [pid for pid, _ in processes.belonging(deployment.pipeline_id, 1)] == [found.details["pid"]]
    )
    worker.bury()
    assert found.details["pid"] not in worker.members
    assert await cold.check(deployment) is None
    assert _hellos(home, deployment) == 1


async def test_a_worker_that_wakes_up_after_a_stop_lets_nobody_go(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{faults.POOL_ASKED: "stop"})
    await cold.deprovision(deployment)
    worker.process.send_signal(signal.SIGCONT)
    await until(lambda: worker.process.poll() is not None)
    worker.bury()
    await until(lambda: not list(processes.belonging(deployment.pipeline_id, 1)))
    assert _hellos(home, deployment) == 0


async def test_a_member_without_a_word_from_its_worker_never_serves(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any, points: Path
) -> None:
    deployment = deployment_of()
    worker = await _reached(home, deployment, points, until, **{faults.POOL_ASKED: "stop"})
    assert [pid for pid, _ in processes.belonging(deployment.pipeline_id, 1)] == worker.members
    worker.bury()
    await until(lambda: not list(processes.belonging(deployment.pipeline_id, 1)))
    assert Folder(home, deployment.pipeline_id).control is None
    assert _hellos(home, deployment) == 0
    await cold.provision(deployment, TOKEN)
    assert await until(lambda: cold.locate(deployment))


async def test_how_a_warm_process_ended_is_written_down_without_its_worker(
    cold: ProcessProvisioner, home: Path, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    worker = Worker(home, deployment, members=1)
    worker.tell()
    await until(lambda: cold.locate(deployment))
    worker.bury()
    os.kill(worker.members[0], signal.SIGKILL)
    ended = await until(lambda: cold.check(deployment))
    assert ended.signal == "SIGKILL"
    assert "ended with status 137" in Folder(home, deployment.pipeline_id).log.path.read_text()
    control = Folder(home, deployment.pipeline_id).control
    assert control is not None
    assert control.pid in worker.members
    await until(lambda: not control.watched)

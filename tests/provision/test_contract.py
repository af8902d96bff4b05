"""What every provisioner promises (the table in `sluicegate/provision/__init__.py`)."""

import asyncio
import socket
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.lifecycle.effects import Deployment
from sluicegate.provision import Location, Provisioner, Superseded

TOKEN = "token of the deployment"


async def _ready(provisioner: Provisioner, deployment: Deployment, until: Any) -> Location:
    found = await until(lambda: provisioner.locate(deployment))
    assert isinstance(found, Location)
    return found


async def _text(provisioner: Provisioner, deployment: Deployment) -> str:
    chunks = [chunk async for chunk in provisioner.logs(deployment.pipeline_id, follow=False)]
    return b"".join(chunks).decode()


async def test_a_provisioned_process_answers_where_locate_says(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    assert await provisioner.locate(deployment) is None
    await provisioner.provision(deployment, TOKEN)
    location = await _ready(provisioner, deployment, until)
    host, port = location.address.rsplit(":", 1)
    socket.create_connection((host, int(port))).close()
    assert await provisioner.check(deployment) is None


async def test_provisioning_again_changes_nothing(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await provisioner.provision(deployment, TOKEN)
    first = await _ready(provisioner, deployment, until)
    await provisioner.provision(deployment, TOKEN)
    assert await provisioner.locate(deployment) == first


async def test_a_process_that_has_ended_is_not_started_again(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of(mode="exit")
    await provisioner.provision(deployment, TOKEN)
    ended = await until(lambda: provisioner.check(deployment))
    assert ended.exit_code == 3
    await provisioner.provision(deployment, TOKEN)
    assert await provisioner.check(deployment) == ended
    assert (await _text(provisioner, deployment)).count("hello from generation 1") == 1


async def test_deprovision_ends_the_process_and_may_be_repeated(
    provisioner: Provisioner, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of()
    await provisioner.provision(deployment, TOKEN)
    await _ready(provisioner, deployment, until)
    await provisioner.deprovision(deployment)
    assert processes_of(deployment.pipeline_id) == []
    assert await provisioner.locate(deployment) is None
    assert await provisioner.check(deployment) is not None
    await provisioner.deprovision(deployment)


async def test_a_late_provision_is_superseded_and_starts_nothing(
    provisioner: Provisioner, deployment_of: Any, processes_of: Any
) -> None:
    deployment = deployment_of(generation=2)
    await provisioner.deprovision(deployment)
    for generation in (1, 2):
        with pytest.raises(Superseded):
            await provisioner.provision(deployment_of(generation), TOKEN)
    assert processes_of(deployment.pipeline_id) == []


async def test_a_late_deprovision_leaves_the_newer_process_alone(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    older, newer = deployment_of(1), deployment_of(2)
    await provisioner.deprovision(older)
    await provisioner.provision(newer, TOKEN)
    first = await _ready(provisioner, newer, until)
    await provisioner.deprovision(older)
    assert await provisioner.locate(newer) == first
    assert await provisioner.check(newer) is None
    assert await provisioner.check(older) is not None


async def test_concurrent_calls_start_one_process(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await asyncio.gather(*(provisioner.provision(deployment, TOKEN) for _ in range(4)))
    await _ready(provisioner, deployment, until)
    assert (await _text(provisioner, deployment)).count("hello from generation 1") == 1


async def test_a_provision_beside_a_deprovision_leaves_nothing(
    provisioner: Provisioner, deployment_of: Any, processes_of: Any, until: Any
) -> None:
    for _ in range(10):
        deployment = deployment_of(pipeline=str(uuid4()))
        await asyncio.gather(
            provisioner.provision(deployment, TOKEN),
            provisioner.deprovision(deployment),
            return_exceptions=True,
        )
        await provisioner.deprovision(deployment)
        assert await provisioner.locate(deployment) is None
        # What may still be there for a moment has not started the program, and finds the fence.
        await until(lambda name=deployment.pipeline_id: processes_of(name) == [])


async def test_logs_survive_a_stop_and_a_clear(
    provisioner: Provisioner, deployment_of: Any, until: Any
) -> None:
    deployment = deployment_of()
    await provisioner.provision(deployment, TOKEN)
    await _ready(provisioner, deployment, until)
    await provisioner.deprovision(deployment)
    await provisioner.clear_storage(deployment)
    await provisioner.clear_storage(deployment)
    lines = (await _text(provisioner, deployment)).splitlines()
    assert lines[0].startswith("[manager]")
    assert "fresh start" in lines[0]
    assert "hello from generation 1" in lines
    assert 'pipeline-name="example"' in lines[-1]


async def test_a_removed_pipeline_leaves_nothing_and_stays_refused(
    provisioner: Provisioner, deployment_of: Any, until: Any, processes_of: Any
) -> None:
    deployment = deployment_of()
    await provisioner.provision(deployment, TOKEN)
    await _ready(provisioner, deployment, until)
    follower = asyncio.create_task(_follow(provisioner, deployment.pipeline_id))
    await provisioner.remove(deployment)
    await provisioner.remove(deployment)
    assert processes_of(deployment.pipeline_id) == []
    assert b"deleted" in (await follower).splitlines()[-1]
    with pytest.raises(Superseded):
        await provisioner.provision(deployment_of(generation=9), TOKEN)
    await provisioner.deprovision(deployment)
    await provisioner.clear_storage(deployment)
    assert await provisioner.adopt() == []


async def _follow(provisioner: Provisioner, pipeline_id: str) -> bytes:
    return b"".join([chunk async for chunk in provisioner.logs(pipeline_id)])


async def test_adopt_finds_what_runs_and_not_what_was_stopped(
    provisioner: Provisioner, deployment_of: Any
) -> None:
    running, stopped = deployment_of(3), deployment_of(pipeline=str(uuid4()))
    await provisioner.provision(running, TOKEN)
    await provisioner.provision(stopped, TOKEN)
    await provisioner.deprovision(stopped)
    (found,) = await provisioner.adopt()
    assert (found.pipeline_id, found.generation, found.alive) == (running.pipeline_id, 3, True)
    assert found.workflow_id == running.workflow_id


async def test_logs_of_a_pipeline_without_any_say_so_at_once(provisioner: Provisioner) -> None:
    first = await anext(provisioner.logs(str(uuid4())))
    assert b"fresh start" in first

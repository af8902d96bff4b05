"""What a deployment was provisioned with is written down on its host, for when everything else is lost."""

from typing import Any

import pytest

from sluicegate.provision import Exit, Provisioner, Superseded
from sluicegate.provision.process import ProcessProvisioner

TOKEN = "token of the deployment"
RECORD = {"id": "an id", "name": "example", "tags": ["a"]}


async def test_a_record_is_there_as_long_as_its_deployment_is_wanted(
    provisioner: Provisioner, deployment_of: Any
) -> None:
    first = deployment_of().but(record=RECORD)
    assert await provisioner.recorded(first) is None
    for _ in range(2):
        await provisioner.provision(first, TOKEN)
        whole = {**RECORD, "plan": first.plan.model_dump(), "runtime_config": first.runtime_config}
        assert await provisioner.recorded(first) == whole
    await provisioner.deprovision(first)
    with pytest.raises(Superseded):
        await provisioner.recorded(first)


async def test_a_record_counts_for_its_own_generation_only(
    provisioner: Provisioner, deployment_of: Any
) -> None:
    first, second = deployment_of(1).but(record=RECORD), deployment_of(2)
    await provisioner.provision(first, TOKEN)
    await provisioner.deprovision(first)
    await provisioner.provision(second, TOKEN)
    assert await provisioner.recorded(second) is None


async def test_a_record_is_for_the_host_alone_and_has_no_token(
    process: ProcessProvisioner, deployment_of: Any
) -> None:
    deployment = deployment_of().but(record=RECORD)
    await process.provision(deployment, TOKEN)
    path = process._folder(deployment).root / "record.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in path.read_text()
    assert list(path.parent.glob(".record.*")) == []
    path.write_text('{"generation": 1, "record"')
    assert await process.recorded(deployment) is None


async def test_who_asks_for_a_generation_that_was_stopped_is_told_so(
    provisioner: Provisioner, deployment_of: Any
) -> None:
    first, second = deployment_of(1), deployment_of(2)
    await provisioner.provision(first, TOKEN)
    await provisioner.deprovision(first)
    ended = await provisioner.check(first)
    assert ended is not None
    assert ended.stopped
    await provisioner.provision(second, TOKEN)
    assert await provisioner.check(first) == Exit(stopped=True)
    assert await provisioner.check(second) is None

"""`sluicegate adopt`: each reason for which a process is left without a pipeline is told, and nothing begins.

That it works on real processes is shown in `tests/e2e/test_lost_namespace.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from sluicegate.lifecycle.effects import Addressed, Failure, Observation
from sluicegate.lifecycle.status import ResourcesStatus, RuntimeDesired, RuntimeStatus
from sluicegate.operate import live
from sluicegate.operate.adopt import ADOPTED, KNOWN, Adoption
from sluicegate.provision import Adopted, Location, Superseded
from sluicegate.runtime_client import RuntimeClient, Unreachable
from sluicegate.settings import RUNTIME, Settings

RUNNING = Observation(runtime_status=RuntimeStatus.RUNNING, runtime_desired_status=RuntimeDesired.RUNNING)
FATAL = RUNNING.but(fatal=Failure(message="out of memory", error_code="RuntimeError"))


class Host:
    """A host with one process."""

    host_id = "fake"

    def __init__(self, found: Adopted, record: Any, location: str | None = "h:1") -> None:
        """Know what is to be found."""
        self._found, self._record = found, record
        self._location = Location(address=location) if location else None

    async def adopt(self) -> Sequence[Adopted]:
        """Find it, and one that has ended."""
        return (self._found, self._found.but(workflow_id="pipeline/t/over", alive=False))

    async def recorded(self, deployment: Addressed) -> dict[str, Any] | None:
        """Give the record, or raise what it is."""
        if isinstance(self._record, Exception):
            raise self._record
        return dict(self._record) if self._record else None

    async def locate(self, deployment: Addressed) -> Location | None:
        """Say where it answers."""
        return self._location


class Process(RuntimeClient):
    """A process that says one thing."""

    def __init__(self, said: Observation | None) -> None:
        """Say it, or nothing."""
        super().__init__(lambda deployment_id: Settings().token(RUNTIME, deployment_id))
        self._said = said

    async def status(
        self, location: str, deployment_id: str, timeout: float, hung_up: Callable[[], None] | None = None
    ) -> Observation:
        """Say it."""
        if self._said is None:
            raise Unreachable("nobody listens")
        return self._said


@pytest.fixture
async def provisioned(
    create: Any, eventually: Callable[..., Awaitable[Any]]
) -> tuple[Adopted, dict[str, Any]]:
    """What a host knows of a pipeline that was lost: its process, and what it was provisioned with."""
    subject = await create()
    await subject.tell("start")

    async def runs() -> bool:
        return bool(await subject.status() == "Running")

    await eventually(runs)
    [deployment] = subject.script.deployments
    await subject.handle.terminate("it is lost")
    found = Adopted(pipeline_id=subject.id, generation=1, workflow_id=subject.handle.id, alive=True)
    rest = deployment.model_dump(mode="json", include={"plan", "runtime_config"})
    return found, {**deployment.record, **rest}


async def outcome(server: WorkflowEnvironment, host: Host, said: Observation | None = RUNNING) -> str:
    """Adopt, and say what came of it."""
    process = Process(said)
    [result] = await Adoption(server.client, host, process).carry_out()
    await process.aclose()
    return result.outcome


async def test_what_was_provisioned_is_adopted_once(
    temporal_server: WorkflowEnvironment, provisioned: tuple[Adopted, dict[str, Any]]
) -> None:
    found, record = provisioned
    assert record["resources_status"] == ResourcesStatus.PROVISIONING
    host = Host(found, record)
    assert await outcome(temporal_server, host) == ADOPTED
    assert await outcome(temporal_server, host) == KNOWN
    another = Host(found.but(pipeline_id="another"), record)
    assert await outcome(temporal_server, another) == f"its name is taken by the pipeline {found.pipeline_id}"


@pytest.mark.parametrize(
    ("changes", "location", "said", "told"),
    [
        (None, "h:1", RUNNING, "nothing was written down"),
        (Superseded("it is being stopped"), "h:1", RUNNING, "it is being stopped"),
        ({"created_at": "never"}, "h:1", RUNNING, "cannot be read"),
        ({"generation": 2}, "h:1", RUNNING, "of another deployment"),
        ({"host": {"host_id": "elsewhere", "logs_address": ""}}, "h:1", RUNNING, "of another deployment"),
        ({"name": "renamed"}, "h:1", RUNNING, "of another name"),
        ({"resources_status": "Stopped"}, "h:1", RUNNING, "of another moment"),
        ({}, None, RUNNING, "does not say where it answers"),
        ({}, "h:1", None, "does not answer: nobody listens"),
        ({}, "h:1", FATAL, "has failed: out of memory"),
    ],
)
async def test_a_process_that_cannot_be_adopted_is_left_alone_and_told(
    temporal_server: WorkflowEnvironment,
    provisioned: tuple[Adopted, dict[str, Any]],
    changes: Any,
    location: str | None,
    said: Observation | None,
    told: str,
) -> None:
    found, record = provisioned
    given = {**record, **changes} if isinstance(changes, dict) else changes
    assert told in await outcome(temporal_server, Host(found, given, location), said)
    assert await live.run_id(temporal_server.client, found.workflow_id) is None

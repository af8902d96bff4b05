"""A provisioner, a process and a Temporal client in memory: what deploying and watching need."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from sluicegate.lifecycle.effects import Addressed, Deployment, Observation, Observed
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.provision import Adopted, Exit, Location, ProvisionError
from sluicegate.runtime_client import RuntimeClient, Unreachable


def seen(status: RuntimeStatus, desired: RuntimeDesired = RuntimeDesired.RUNNING, **more: Any) -> Observation:
    """An observation."""
    return Observation(runtime_status=status, runtime_desired_status=desired, **more)


@dataclass
class FakeProvisioner:
    """Starts nothing and remembers what it was asked; `refuse` is raised where it is set."""

    host_id: str = "here"
    refuse: ProvisionError | None = None
    ended: Exit | None = None
    located: Location | None = field(default_factory=lambda: Location(address="127.0.0.1:1"))
    calls: list[str] = field(default_factory=list)

    async def provision(self, deployment: Deployment, token: str) -> None:
        """Start."""
        self.calls.append(f"provision {deployment.generation} {token}")
        if self.refuse:
            raise self.refuse

    async def locate(self, deployment: Addressed) -> Location | None:
        """Locate."""
        return self.located

    async def check(self, deployment: Addressed) -> Exit | None:
        """Check."""
        return self.ended

    async def deprovision(self, deployment: Addressed) -> None:
        """End."""
        self.calls.append(f"deprovision {deployment.generation}")

    async def clear_storage(self, deployment: Addressed) -> None:
        """Clear."""
        self.calls.append("clear_storage")

    async def remove(self, deployment: Addressed) -> None:
        """Remove."""
        self.calls.append("remove")

    async def adopt(self) -> Sequence[Adopted]:
        """Find nothing."""
        return ()

    async def logs(self, pipeline_id: str, *, follow: bool = True) -> AsyncIterator[bytes]:
        """Say nothing."""
        yield b""


class FakeRuntime(RuntimeClient):
    """A process that says what it is told to say, one word a look, the last one for ever."""

    def __init__(self) -> None:
        """Begin silent."""
        super().__init__(lambda deployment_id: f"token of {deployment_id}")
        self.says: list[Observation | Unreachable] = []
        self.looks = 0
        self.hung_up: Callable[[], None] | None = None
        self.told: list[str] = []
        self.refuse: Exception | None = None

    async def status(
        self, location: str, deployment_id: str, timeout: float, hung_up: Callable[[], None] | None = None
    ) -> Observation:
        """Say the next word."""
        self.looks += 1
        self.hung_up = hung_up
        word = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(word, Unreachable):
            raise word
        return word

    async def command(
        self, location: str, deployment_id: str, method: str, path: str, timeout: float = 1
    ) -> None:
        """Remember a command."""
        if self.refuse:
            raise self.refuse
        self.told.append(f"{method} {path}")


class FakeClient:
    """Takes signals; `fail` is raised by the next one where it is set."""

    def __init__(self) -> None:
        """Begin without any."""
        self.signals: list[Observed] = []
        self.fail: Exception | None = None
        self.signalled = asyncio.Event()

    def get_workflow_handle(self, workflow_id: str) -> "FakeClient":
        """Be every handle."""
        return self

    async def signal(self, name: str, news: Observed) -> None:
        """Take a signal."""
        if self.fail:
            failure, self.fail = self.fail, None
            raise failure
        self.signals.append(news)
        self.signalled.set()


@pytest.fixture
def provisioner() -> FakeProvisioner:
    """See `FakeProvisioner`."""
    return FakeProvisioner()


@pytest.fixture
async def runtime() -> AsyncIterator[FakeRuntime]:
    """See `FakeRuntime`."""
    async with FakeRuntime() as made:
        yield made


@pytest.fixture
async def client() -> FakeClient:
    """See `FakeClient`."""
    return FakeClient()


@pytest.fixture(name="seen")
def _seen() -> Any:
    """See `seen`."""
    return seen

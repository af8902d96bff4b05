"""`sluicegate adopt`: gives the processes of this host their pipelines back, where those are lost.

For each process that lives and that nobody has stopped, what it was provisioned with is read from its folder,
it is asked what it does now, and a workflow begins with both. A pipeline that is there is left as it is.
"""

import argparse
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from temporalio.client import Client

from sluicegate import settings, temporal
from sluicegate.lifecycle.effects import Addressed, Provisioned
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.status import ResourcesStatus
from sluicegate.operate import live, records, verb
from sluicegate.operate.verb import Unusable
from sluicegate.provision import Adopted, Location, ProvisionError
from sluicegate.provision.host import HomeError, HostIdentity
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from sluicegate.runtime_client import RuntimeClient, Unreachable
from sluicegate.settings import Settings

ANSWERED_WITHIN = 10.0
ADOPTED, KNOWN = "adopted", "there already"
_WELL = (ADOPTED, KNOWN)


class Left(Exception):
    """A process is left without a pipeline; the text says why."""


class Result(NamedTuple):
    """What came of one process."""

    workflow_id: str
    outcome: str


class Processes(Protocol):
    """What of a provisioner is needed here."""

    host_id: str

    async def adopt(self) -> Sequence[Adopted]:
        """See `Provisioner`."""

    async def recorded(self, deployment: Addressed) -> dict[str, Any] | None:
        """See `Provisioner`."""

    async def locate(self, deployment: Addressed) -> Location | None:
        """See `Provisioner`."""


class Adoption:
    """Adopts what runs on one host."""

    def __init__(self, client: Client, provisioner: Processes, runtime: RuntimeClient) -> None:
        """Find processes through the provisioner and ask them through the runtime client."""
        self._client = client
        self._provisioner = provisioner
        self._runtime = runtime

    async def carry_out(self) -> list[Result]:
        """Adopt every process that lives, a few at a time."""
        found = [adopted for adopted in await self._provisioner.adopt() if adopted.alive]

        async def each() -> AsyncIterator[Adopted]:
            for adopted in found:
                yield adopted

        return [result async for result in verb.each(each(), self._adopt)]

    async def _adopt(self, found: Adopted) -> Result:
        try:
            return Result(found.workflow_id, await self._taken_up(found))
        except (Left, ProvisionError) as problem:
            return Result(found.workflow_id, str(problem))

    async def _taken_up(self, found: Adopted) -> str:
        if await self._is_there(found):
            return KNOWN
        p = await self._record(found)
        seen = await self._look(found, p)
        record = records.pipeline(State.adopted(p, seen, datetime.now(UTC)))
        if await record.start(self._client):
            return ADOPTED
        await self._is_there(found)
        return KNOWN

    async def _is_there(self, found: Adopted) -> bool:
        """Whether the pipeline has its workflow. Raises Left where another has its name."""
        if await live.run_id(self._client, found.workflow_id) is None:
            return False
        described = await self._client.get_workflow_handle(found.workflow_id).describe()
        memo: dict[str, Any] = await described.memo_value(temporal.MEMO, {}, type_hint=dict)
        if memo.get("id") != found.pipeline_id:
            raise Left(f"its name is taken by the pipeline {memo.get('id')}")
        return True

    async def _record(self, found: Adopted) -> Pipeline:
        raw = await self._provisioner.recorded(found)
        if raw is None:
            raise Left("nothing was written down when it was started, by an older release")
        try:
            p = Pipeline.model_validate(raw)
        except ValidationError as problem:
            raise Left(f"what was written down cannot be read: {problem}") from problem
        mine = (p.id, p.generation, p.host and p.host.host_id)
        if mine != (found.pipeline_id, found.generation, self._provisioner.host_id):
            raise Left("what was written down is of another deployment")
        if temporal.pipeline_workflow_id(p.tenant_id, p.name) != found.workflow_id:
            raise Left("what was written down is of another name")
        if p.resources_status is not ResourcesStatus.PROVISIONING:
            raise Left("what was written down is of another moment")
        return p

    async def _look(self, found: Adopted, p: Pipeline) -> Provisioned:
        location = await self._provisioner.locate(found)
        if location is None or p.deployment_id is None:
            raise Left("its process does not say where it answers")
        try:
            seen = await self._runtime.status(location.address, p.deployment_id, timeout=ANSWERED_WITHIN)
        except Unreachable as problem:
            raise Left(f"its process does not answer: {problem}") from problem
        if seen.fatal is not None:
            raise Left(f"its process has failed: {seen.fatal.message}")
        return Provisioned(location=location.address, details=location.details, observation=seen)


async def carry_out(screen: Console) -> int:
    """Adopt what runs here and print what was done."""
    given = Settings()
    provisioner = _provisioner(given)
    runtime = RuntimeClient(partial(given.token, settings.RUNTIME))
    try:
        async with verb.connected(given) as client:
            await verb.prepared(client)
            results = await Adoption(client, provisioner, runtime).carry_out()
    finally:
        await runtime.aclose()
    if not results:
        screen.print(f"No pipeline runs on this host ({given.home}).", soft_wrap=True)
        return verb.WELL
    table = Table("workflow", "outcome")
    for result in results:
        table.add_row(escape(result.workflow_id), escape(result.outcome))
    screen.print(table)
    return verb.WELL if all(result.outcome in _WELL for result in results) else verb.FAILED


def _provisioner(given: Settings) -> ProcessProvisioner:
    """Find this host's processes. Raises Unusable where this is no host."""
    if not (given.home / "host.json").exists():
        raise Unusable(f"{given.home} is no host's data folder: no worker has ever run on it.")
    try:
        host_id = HostIdentity.of(given.home).host_id
    except (HomeError, OSError) as problem:
        raise Unusable(str(problem)) from problem
    return ProcessProvisioner(
        given.home,
        host_id,
        given.runtime_command,
        ProcessSettings(bind_address=given.runtime_bind, advertised_address=given.runtime_advertise),
    )


def main(words: list[str] | None = None) -> int:
    """Run the verb."""
    argparse.ArgumentParser(prog="sluicegate adopt").parse_args(words)
    return verb.run(carry_out)


if __name__ == "__main__":
    verb.end(main())

"""A control plane whose workers and front end are moved from one release to another while it works."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from socket import gethostname
from typing import Any
from uuid import uuid4

import httpx
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from sluicegate import temporal
from sluicegate.lifecycle.values import Packed
from sluicegate.operate import polling
from sluicegate.overtaking import OVERTAKEN
from tests.conformance.plane import RUNTIME, end_pipelines, free_port
from tests.conftest import TEMPORAL, dynamic_config, eventually
from tests.upgrade.releases import Release

UP_WITHIN = 120.0
_HARMLESS = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
"""A message came into the very task that ended a history: the server has it done again."""


class Plane:
    """Some workers of one host and a front end."""

    def __init__(self, client: Client, folder: Path) -> None:
        """Know where everything is; the processes come later."""
        self.client = client
        self.folder = folder
        self.home = folder / "home"
        self.urls: list[str] = []
        """Of front ends, the newest first."""
        self._environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "SLUICEGATE_HOME": str(self.home),
            "SLUICEGATE_USER_PER_PIPELINE": "false",
            "SLUICEGATE_RUNTIME_COMMAND": f"{sys.executable} {RUNTIME} --scripts {folder}",
        }
        self._workers: list[asyncio.subprocess.Process] = []
        self._api: asyncio.subprocess.Process | None = None

    async def move(self, release: Release, workers: int) -> None:
        """Have a release do all the work: one worker after the other, then the front end; the new one is
        there before the old one goes."""
        leaving, self._workers = self._workers, []
        for _ in range(workers):
            await self._begin_worker(release)
            if leaving:
                await _end(leaving.pop(0))
        for worker in leaving:
            await _end(worker)
        leaving_api = self._api
        await self._begin_api(release)
        if leaving_api is not None:
            await _end(leaving_api)
            self.urls.pop()

    async def _begin_worker(self, release: Release) -> None:
        worker = await self._run(release, "worker", {})
        self._workers.append(worker)

        async def polls() -> bool:
            assert worker.returncode is None, f"the worker of {release.name} has ended"
            known = [
                await polling.pollers(self.client, kind, queue)
                for kind, queue in (("workflow", temporal.PIPELINES), ("activity", temporal.EFFECTS))
            ]
            return all(f"{worker.pid}@{gethostname()}" in pollers for pollers in known)

        await eventually(polls, UP_WITHIN)

    async def _begin_api(self, release: Release) -> None:
        port = free_port()
        self._api = await self._run(release, "api", {"SLUICEGATE_API_PORT": str(port)})
        url = f"http://127.0.0.1:{port}"

        async def healthy() -> bool:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"{url}/healthz", timeout=5)).status_code == 200

        await eventually(healthy, UP_WITHIN)
        self.urls.insert(0, url)

    async def _run(
        self, release: Release, module: str, settings: dict[str, str]
    ) -> asyncio.subprocess.Process:
        """Run a module of a release's own: the working folder comes first where Python looks."""
        with (self.folder / f"{module}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                cwd=release.folder,
                env={**self._environment, **settings, "PYTHONPATH": str(release.folder)},
                stdout=log,
                stderr=log,
            )

    async def leave(self) -> None:
        """Kill the control plane; pipelines go on."""
        for process in (*self._workers, self._api):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()

    def pids(self) -> dict[str, int]:
        """The processes of this host's pipelines, by pipeline id."""
        controls = (json.loads(path.read_text()) for path in self.home.glob("pipelines/*/control.json"))
        return {control["pipeline_id"]: control["pid"] for control in controls}

    async def events(self, workflow_id: str) -> Any:
        """The transitions of a pipeline."""
        answer = await self.client.get_workflow_handle(workflow_id).query("events", result_type=Packed)
        return answer.json_value

    async def failed_tasks(self) -> list[str]:
        """Name every workflow task that has failed in any history, and why."""
        found = []
        async for row in self.client.list_workflows():
            handle = self.client.get_workflow_handle(row.id, run_id=row.run_id)
            found += failures(await handle.fetch_history())
        return found


def failures(history: WorkflowHistory) -> list[str]:
    """Name the workflow tasks of a history that have failed, and why; not those by which a workflow that was
    shown events ahead of their task is taken up anew, see `sluicegate.overtaking`."""
    found = []
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            if failed.cause != _HARMLESS and failed.failure.message != OVERTAKEN:
                cause = WorkflowTaskFailedCause.Name(failed.cause)
                found.append(f"{history.workflow_id}: {cause} {failed.failure.message}")
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    await process.wait()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Plane]:
    """A Temporal server that keeps everything in a file, and nothing yet that works for it; on the way out
    the control plane is killed, and its pipelines go on."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=TEMPORAL,
        plugins=[temporal.PLUGIN],
        dev_server_log_level="error",
        dev_server_database_filename=str(folder / f"{uuid4()}.db"),
        dev_server_startup_timeout=timedelta(seconds=UP_WITHIN),
        dev_server_extra_args=dynamic_config(dict(temporal.DEV_SERVER_CONFIG)),
    ) as server:
        plane = Plane(server.client, folder)
        try:
            yield plane
        finally:
            await plane.leave()


@contextmanager
def pipelines_ended(folder: Path) -> Iterator[None]:
    """End the pipelines of an installation on the way out."""
    try:
        yield
    finally:
        end_pipelines(folder / "home")

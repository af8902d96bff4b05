"""When all is mended: everything comes to rest, is asked for its rows, is stopped, cleared and deleted."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from sluicegate.lifecycle.journal import Since
from sluicegate.lifecycle.values import Packed
from sluicegate.provision import processes
from tests.chaos.connection import Connection
from tests.chaos.errands import note_looks
from tests.chaos.invariants import shown, stopped
from tests.chaos.invariants.decided import EDITED
from tests.chaos.plane import Plane
from tests.chaos.recording import Recording, Run
from tests.chaos.sampler import Sampler

SETTLED_WITHIN = 180.0
"""Seconds; a watch whose worker was killed is found missing by its heartbeat after ninety."""
GONE_WITHIN = 240.0
"""Seconds; a clean-up removes schedules a second time after a minute, and tries again after another."""
AT_ONCE = 8


@dataclass
class Ending:
    """Ends a run, and writes down what it finds."""

    plane: Plane
    client: Connection
    run: Run
    recording: Recording
    waits_for_clean_ups: bool = True
    """Also where they have nothing left to remove, but are to look once more."""

    async def _pipelines(self) -> list[dict[str, Any]]:
        """All that there are. Raises RuntimeError where nobody says, although nothing is broken any more."""
        found: list[dict[str, Any]] | None = await self.client.reads("/v0/pipelines", selector="status")
        if found is None:
            raise RuntimeError("the pipelines are not listed although all is mended")
        return found

    async def settle(self) -> None:
        """Wait until every pipeline shows what its processes are, and note how they are in the end."""

        async def settled() -> bool:
            began = time.monotonic()
            found = await self._pipelines()
            note_looks(self.recording, found, began)
            live = await asyncio.to_thread(Sampler(self.plane.home).look)
            self.run.settled = [
                {
                    "name": one["name"],
                    "id": one["id"],
                    "status": one["deployment_status"],
                    "live": len(live.get(one["id"], ())),
                }
                for one in found
            ]
            return bool(found) and all(shown.agrees(one["status"], one["live"]) for one in self.run.settled)

        await self.client.until(settled, SETTLED_WITHIN)
        await _all(self._keep_texts(one["name"]) for one in self.run.settled)

    async def _keep_texts(self, name: str) -> None:
        shown = await self.client.reads(f"/v0/pipelines/{name}")
        if shown is not None:
            self.run.texts[name] = {key: shown[key] for key in EDITED}

    async def ask_for_rows(self) -> None:
        """Have every pipeline with rows run once more, and read all of them."""
        pushed = {push["name"] for push in self.recording.read("rows")}
        for name in sorted(pushed):
            path = f"/v0/pipelines/{name}"
            await self.client.decided("POST", f"{path}/start", self.client.key())
            await self.client.until(lambda: self._read_rows(name, path), SETTLED_WITHIN)  # noqa: B023

    async def _read_rows(self, name: str, path: str) -> bool:
        words = {"sql": "SELECT n FROM numbers", "format": "json"}
        answer = await self.client.ask("GET", f"{path}/query", params=words)
        if answer is None or answer.status_code != 200:
            return False
        self.run.rows[name] = [int(json.loads(line)["n"]) for line in answer.text.splitlines()]
        return True

    async def stop_all(self) -> None:
        """Stop every pipeline by force, and note when it was Stopped."""
        found = await self._pipelines()
        await _all(self._stop(one["name"], one["id"]) for one in found)

    async def _stop(self, name: str, pipeline: str) -> None:
        asked, shows = time.monotonic(), "nothing"
        path = f"/v0/pipelines/{name}"
        await self.client.decided("POST", f"{path}/stop", self.client.key(), params={"force": "true"})

        async def is_stopped() -> bool:
            nonlocal shows
            status = await self.client.reads(path, selector="status")
            shows = status["deployment_status"] if status else shows
            return shows == "Stopped"

        reached = await self.client.until(is_stopped, stopped.BOUND)
        at = time.monotonic() if reached else None
        self.run.stops.append(
            {"name": name, "pipeline": pipeline, "asked": asked, "stopped": at, "shown": shows}
        )

    async def delete_all(self) -> None:
        """Clear and delete every pipeline, and look until nothing is left of any that was ever deleted."""
        found = await self._pipelines()
        await _all(self._delete(one["name"], one["id"]) for one in found)
        temporal = await self.plane.client()

        async def nothing_is_left() -> bool:
            labels = [label async for label in _labels(temporal, self.waits_for_clean_ups)]
            self.run.remains = await asyncio.to_thread(remains, self.plane.home, self.run.deleted, labels)
            return not self.run.remains

        await self.client.until(nothing_is_left, GONE_WITHIN)

    async def _delete(self, name: str, pipeline: str) -> None:
        path = f"/v0/pipelines/{name}"
        await self.client.decided("POST", f"{path}/clear", self.client.key())

        async def is_deleted() -> bool:
            answer = await self.client.decided("DELETE", path, self.client.key())
            return answer is not None and (answer.response.is_success or answer.response.status_code == 404)

        if await self.client.until(is_deleted, GONE_WITHIN):
            self.run.deleted.append(pipeline)
        else:
            self.run.kept.append(pipeline)

    async def keep_histories(self) -> None:
        """Write down every workflow's history, and the events of every pipeline, deleted ones too."""
        client = await self.plane.client()
        folder = self.recording.folder / "histories"
        folder.mkdir(exist_ok=True)
        number = 0
        async for execution in client.list_workflows():
            number += 1
            handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
            try:
                history = await handle.fetch_history()
            except RPCError as gone:
                if gone.status is RPCStatusCode.NOT_FOUND and execution.workflow_type == "Validation":
                    continue  # who has its answer deletes it, which a server does in its own time
                raise
            recorded = {"workflow_id": execution.id, "history": history.to_json_dict()}
            (folder / f"{number:05}.json").write_text(json.dumps(recorded))
            if _is_newest(execution):
                await self._keep_events(client, execution)

    async def _keep_events(self, client: Client, execution: WorkflowExecution) -> None:
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        try:
            packed: Packed = await handle.query("events", Since(), result_type=Packed)
        except RPCError as failed:
            if failed.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            self.run.silent.append(execution.id)
            return
        described = await handle.describe()
        pipeline = str((await described.memo_value("pipeline"))["id"])
        if pipeline in self.run.created:
            self.run.events[pipeline] = list(reversed(packed.json_value))


def _is_newest(execution: WorkflowExecution) -> bool:
    is_pipeline = execution.workflow_type == "Pipeline"
    return is_pipeline and execution.status is not WorkflowExecutionStatus.CONTINUED_AS_NEW


def remains(home: Path, deleted: Iterable[str], labels: Iterable[str]) -> dict[str, list[str]]:
    """What there is still of deleted pipelines: on this host, and of what Temporal has by these labels."""
    found: dict[str, list[str]] = {}
    for pipeline in set(deleted):
        left = [f"process {pid}" for pid, _ in processes.belonging(pipeline, 2**62)]
        folders = [home / "pipelines" / pipeline, *(home / "trash").glob(f"{pipeline}.*")]
        left += [str(folder) for folder in folders if folder.exists()]
        left += [label for label in labels if pipeline in label]
        if left:
            found[pipeline] = left
    return found


async def _labels(client: Client, clean_ups: bool) -> AsyncIterator[str]:
    """Ids of all schedules, and of clean-ups under way."""
    async for schedule in await client.list_schedules():
        yield schedule.id
    if clean_ups:
        under_way = "WorkflowType = 'Cleanup' AND ExecutionStatus = 'Running'"
        async for execution in client.list_workflows(under_way):
            yield execution.id


async def _all(deeds: Iterable[Awaitable[None]]) -> None:
    """Do all, some at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(deed: Awaitable[None]) -> None:
        async with turns:
            await deed

    await asyncio.gather(*map(in_turn, deeds))


Step = Callable[[Ending], Awaitable[None]]
STEPS: tuple[tuple[str, Step], ...] = (
    ("everything comes to rest", Ending.settle),
    ("rows are asked for", Ending.ask_for_rows),
    ("everything is stopped", Ending.stop_all),
    ("everything is deleted", Ending.delete_all),
    ("histories are kept", Ending.keep_histories),
)

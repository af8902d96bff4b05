"""`sluicegate backup`: all that the control plane remembers, to one file.

Each workflow is asked for its state while it goes on. So the file has every pipeline as it was at some moment
between begin and end, and each by itself is whole. What is not kept: events of cluster health, and bulk
operations, schedules that are due and validations under way.
"""

import argparse
import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition
from temporalio.service import RPCError, RPCStatusCode

from sluicegate.lifecycle import limits
from sluicegate.lifecycle.values import Packed
from sluicegate.operate import archive, live, verb
from sluicegate.operate.archive import Line, Writer
from sluicegate.operate.live import Listed
from sluicegate.operate.records import RESTORED
from sluicegate.operate.verb import Unusable
from sluicegate.settings import Settings

ANSWERED_WITHIN = timedelta(seconds=15)
TRIES = 3
_HANDED_OVER_POLL = 0.2
_LATE = (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED)
"""How a query ends that nobody answers."""
_BUSY = (*_LATE, RPCStatusCode.RESOURCE_EXHAUSTED)
"""What may be better at the next try; a server holds one query of a workflow at a time."""


@dataclass(frozen=True)
class Missing:
    """A workflow that lives and could not be read."""

    workflow_id: str
    cause: str


class Reader:
    """Reads what workflows remember."""

    def __init__(self, client: Client) -> None:
        """Read through the given client."""
        self._client = client

    async def read(self, found: Listed) -> Line | Missing | None:
        """Read one workflow; None where it has ended, or its kind is not kept."""
        if found.kind not in RESTORED:
            return None
        try:
            raw = await self._raw(found)
        except WorkflowQueryRejectedError:
            return None
        except WorkflowQueryFailedError as failed:
            return Missing(found.workflow_id, str(failed))
        except RPCError as failed:
            if failed.status is RPCStatusCode.NOT_FOUND:
                return None
            if failed.status not in (*_BUSY, RPCStatusCode.FAILED_PRECONDITION):
                raise
            late = failed.status in _LATE
            return Missing(found.workflow_id, "no worker has answered" if late else failed.message)
        if raw is None:
            return None
        [payload] = await self._client.data_converter.encode([raw])
        return Line.of(found.kind, found.workflow_id, payload)

    async def _raw(self, found: Listed) -> dict[str, Any] | None:
        if found.kind == "Cleanup":
            return await self._argument(found.workflow_id)
        if found.kind != "Pipeline":
            return dict(await self._query(found.workflow_id))
        return await self._pipeline(found.workflow_id)

    async def _pipeline(self, workflow_id: str) -> dict[str, Any] | None:
        """Read a pipeline; one that is being renamed counts under its old name until it has been handed
        over, and under its new one from then on."""
        deadline = asyncio.get_running_loop().time() + limits.HANDED_OVER_WITHIN.total_seconds()
        while True:
            raw = dict(Packed.model_validate(await self._query(workflow_id)).json_value)
            if not raw["pipeline"].get("fenced"):
                return raw
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(_HANDED_OVER_POLL)

    async def _query(self, workflow_id: str) -> Any:
        handle = self._client.get_workflow_handle(workflow_id)
        for left in reversed(range(TRIES)):
            try:
                return await handle.query(
                    "state",
                    result_type=dict,
                    reject_condition=QueryRejectCondition.NOT_OPEN,
                    rpc_timeout=ANSWERED_WITHIN,
                )
            except RPCError as failed:
                if failed.status not in _BUSY or not left:
                    raise
        raise AssertionError("a query either answers or raises")

    async def _argument(self, workflow_id: str) -> dict[str, Any] | None:
        """Read what a workflow was started with; None where it has ended."""
        run_id = await live.run_id(self._client, workflow_id)
        return await argument(self._client, workflow_id, run_id) if run_id else None


async def argument(client: Client, workflow_id: str, run_id: str) -> dict[str, Any]:
    """Read what a run was started with."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    events = handle.fetch_history_events(page_size=1)
    first = await anext(events)
    if first.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        raise ValueError("a history begins with another event")
    began = first.workflow_execution_started_event_attributes
    [raw] = await client.data_converter.decode(began.input.payloads, [dict])
    return dict(raw)


async def collect(client: Client, writer: Writer, status: Status) -> None:
    """Write all that lives, and what came to live meanwhile: a rename may be behind it.

    Raises Unusable where nobody answers.
    """
    reader = Reader(client)
    seen: set[str] = set()
    before = -1
    while len(seen) > before:
        before = len(seen)
        async with aclosing(verb.each(live.listed(client, seen=seen), reader.read)) as records:
            async for found in records:
                _note(found, writer)
                status.update(f"{writer.counts.total()} records")
    if writer.missing and not writer.counts:
        raise _nobody(writer)


def _note(found: Line | Missing | None, writer: Writer) -> None:
    if isinstance(found, Missing):
        writer.missing[found.workflow_id] = found.cause
    elif found is not None:
        writer.add(found)
    if len(writer.missing) >= verb.AT_ONCE and not writer.counts:
        raise _nobody(writer)


def _nobody(writer: Writer) -> Unusable:
    cause = next(iter(writer.missing.values()))
    return Unusable(f"Nothing can be read: {cause}. Workers of this release have to run.")


async def carry_out(path: Path, screen: Console) -> int:
    """Make a backup and print what is in it."""
    async with verb.connected(Settings()) as client:
        with Console(stderr=True).status("Looking for workflows") as status, archive.writing(path) as writer:
            await collect(client, writer, status)
    header = writer.header
    screen.print(f"{archive.placed(path, header)}: {told(header.counts)}.", soft_wrap=True)
    if not header.missing:
        return verb.WELL
    table = Table("workflow", "cause", title="Not in the backup", title_justify="left")
    for workflow_id, cause in header.missing.items():
        table.add_row(escape(workflow_id), escape(cause))
    screen.print(table)
    return verb.FAILED


def told(counts: Mapping[str, int]) -> str:
    """Say how many records of which type there are."""
    found = [f"{kind} {counts[kind]}" for kind in RESTORED if counts.get(kind)]
    return ", ".join(found) or "nothing"


def main(words: list[str] | None = None) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="sluicegate backup")
    parser.add_argument("file", type=Path)
    path: Path = parser.parse_args(words).file
    return verb.run(lambda screen: carry_out(path, screen))


if __name__ == "__main__":
    verb.end(main())

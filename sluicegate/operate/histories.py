"""Histories to replay: fetched from a server, or read from exported files, one after the other.

Three forms of file are read: what the SDK's `to_json` writes, what `temporal workflow show -o json` prints,
and the export of the Temporal UI.
"""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseError
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from sluicegate.operate import live
from sluicegate.operate.live import Listed
from sluicegate.operate.verb import Unusable, each


class Unreadable(NamedTuple):
    """A file that holds no history, and why."""

    name: str
    cause: str


async def of_server(client: Client, query: str = "") -> AsyncIterator[WorkflowHistory]:
    """Fetch the newest history of each workflow of ours that lives, a few at a time."""

    async def fetch(found: Listed) -> WorkflowHistory | None:
        return await _fetched(client, found.workflow_id)

    async for history in each(live.listed(client, query), fetch):
        if history is not None:
            yield history


async def _fetched(client: Client, workflow_id: str) -> WorkflowHistory | None:
    run_id = await live.run_id(client, workflow_id)
    if run_id is None:
        return None
    try:
        return await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    except RPCError as problem:
        if problem.status is RPCStatusCode.NOT_FOUND:  # deleted meanwhile
            return None
        raise


async def of_folder(folder: Path) -> AsyncIterator[WorkflowHistory | Unreadable]:
    """Read every JSON file of a folder. Raises Unusable where there is none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise Unusable(f"There is no exported history (*.json) in {folder}.")
    for path in paths:
        yield _read(path)


def _read(path: Path) -> WorkflowHistory | Unreadable:
    try:
        return _parsed(json.loads(path.read_text()), path.stem)
    except (OSError, ValueError, TypeError, AttributeError, ParseError) as problem:
        return Unreadable(path.name, f"not a history: {problem}")


def _parsed(raw: Any, name: str) -> WorkflowHistory:
    history = WorkflowHistory.from_json(name, {"events": raw} if isinstance(raw, list) else raw)
    if not history.events or not history.events[0].HasField("workflow_execution_started_event_attributes"):
        raise ValueError("it does not begin with the start of a workflow")
    began = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(began.workflow_id or name, history.events)


def write(history: WorkflowHistory, folder: Path) -> None:
    """Write a history into a folder, for its owner's eyes: it has programs, configurations and answers."""
    path = folder / f"{history.run_id}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(history.to_json())

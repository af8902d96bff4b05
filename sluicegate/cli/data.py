"""`ingest`, `query`, `logs`, `watch`: what goes into a pipeline, what comes out, what happens to it."""

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from sluicegate.cli.session import Json, Name, connect, give_up, print_json

if TYPE_CHECKING:
    from sluicegate.client import Client
    from sluicegate.sse import Event

BATCH = 1 << 20
"""Bytes of rows in one request: small enough to show progress, large enough to cost nothing."""
SETTLE_WITHIN = 120.0


class Form(StrEnum):
    """How rows are written down."""

    JSON = "json"
    CSV = "csv"


def ingest(
    name: Name,
    table: Annotated[str, typer.Argument(help="Name of the table.")],
    rows: Annotated[
        typer.FileBinaryRead, typer.Argument(metavar="FILE", help="File with rows; - reads the input.")
    ],
    form: Annotated[
        Form | None, typer.Option("--format", help="How they are written; else by the file's ending.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Send them also while it is paused.")] = False,
) -> None:
    """Send rows to a table and wait until they are processed.

    A JSON file has one object on each line: a row such as {"id": 1}, or {"insert": {"id": 1}} and
    {"delete": {"id": 1}}. A CSV file has the columns in the table's order and no header (tail -n +2
    removes one). Rows in error are named; the others are taken all the same.
    """
    chosen = form or (Form.CSV if str(getattr(rows, "name", "")).endswith(".csv") else Form.JSON)
    query: dict[str, object] = {"format": chosen.value, "force": force}
    sent, token = 0, None
    with connect() as client:
        if not force and client.pipeline(name).status == "Paused":
            give_up(f"{name} is paused; `sluicegate resume {name}` first, or send with --force.")
        for batch in _batches(rows):
            if chosen is Form.JSON and not sent:
                query |= {"update_format": _update_format(batch), "array": False}
            token = client.ingest(name, table, batch, **query)
            sent += len(batch)
        typer.echo(f"{sent:,} bytes of rows sent to {table}")
        # While it is paused, forced rows wait inside for the resume.
        if token and not force:
            _settle(client, name, token)


class Answer(StrEnum):
    """How the answer of a query is written down."""

    TEXT = "text"
    JSON = "json"
    PARQUET = "parquet"
    ARROW_IPC = "arrow_ipc"
    HASH = "hash"


def query(
    name: Name,
    sql: Annotated[str, typer.Argument(help="A SELECT over tables and views that are materialized.")],
    as_json: Json = False,
    form: Annotated[Answer | None, typer.Option("--format", help="How the answer is written.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File that a --format is written to.")
    ] = None,
) -> None:
    """Ask a running or paused pipeline a question."""
    with connect() as client:
        if form is not None:
            with output.open("wb") if output else nullcontext(typer.get_binary_stream("stdout")) as file:
                for piece in client.query_bytes(name, sql, form.value):
                    file.write(piece)
                file.flush()
        elif as_json:
            print_json(client.query(name, sql))
        else:
            typer.echo(client.query_text(name, sql).rstrip("\n"))


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written next.")] = False,
) -> None:
    """Print the log of a pipeline, whatever its status."""
    with connect() as client:
        for line in client.logs(name, follow=follow):
            typer.echo(line)


def watch(
    name: Name,
    after: Annotated[str | None, typer.Option(help="Id of the last event that you know.")] = None,
    as_json: Json = False,
) -> None:
    """Print each transition of a pipeline as it comes, until it is deleted; cuts are bridged."""
    with connect() as client:
        for event in client.watch(name, after=after):
            typer.echo(json.dumps(asdict(event)) if as_json else _told(event))


def _told(event: "Event") -> str:
    """An event in a line."""
    said = event.data
    if event.kind == "gap":
        return "(what came next is no longer kept)"
    if event.kind == "deleted":
        return f"{said['name']} is gone"
    status = said["deployment_runtime_status"] or said["deployment_resources_status"]
    wanted = said["deployment_runtime_desired_status"] or said["deployment_resources_desired_status"]
    error = ", with an error" if said["deployment_has_error"] else ""
    way = status if status == wanted else f"{status}, on its way to {wanted}"
    rest = f"program {said['program_status']}, storage {said['storage_status']}"
    return f"{said['recorded_at']}  {way}{error}; {rest}"


def _settle(client: "Client", name: str, token: str) -> None:
    """Wait until what was sent is processed; raises TimedOut."""
    from sluicegate.client import TimedOut

    deadline = time.monotonic() + SETTLE_WITHIN
    while not client.completed(name, token):
        if time.monotonic() > deadline:
            raise TimedOut(f"{name} has not processed them within {SETTLE_WITHIN:.0f} s and may yet")
        time.sleep(0.1)


def _update_format(batch: bytes) -> str:
    """Tell rows from inserts and deletes by the first line; what is neither is left to the engine."""
    try:
        first = json.loads(batch.splitlines()[0])
    except ValueError:
        return "raw"
    envelope = isinstance(first, dict) and len(first) == 1 and {*first} <= {"insert", "delete", "update"}
    return "insert_delete" if envelope and isinstance(next(iter(first.values())), dict) else "raw"


def _batches(file: IO[bytes]) -> Iterator[bytes]:
    """Cut a file into requests, between two lines."""
    while batch := file.readlines(BATCH):
        yield b"".join(batch)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ingest, query, logs, watch):
        app.command()(command)

"""`sluicegate demo`: a real job from end to end, checked.

A third of the way the pipeline is paused and takes rows that insist; at two thirds it is stopped with a
checkpoint and started again from it. At the end its view has to answer what DuckDB answers over the file.
"""

import json
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sluicegate.cli import arrival, flights
from sluicegate.cli.arrival import Arrival
from sluicegate.cli.flights import Batch
from sluicegate.client import Client, ClientError, Pipeline, Refused, TimedOut

NAME = "flights-demo"
DESCRIPTION = "Made by `sluicegate demo`, which replaces it the next time"
BATCH = 4_000
"""Rows in one request, some 1.2 MB."""
INSISTING = 5
"""Batches that are sent while the pipeline is paused."""
SETTLE_WITHIN = 120.0

Answers = list[dict[str, Any]]


class Demo:
    """One run against one API."""

    def __init__(self, client: Client, console: Console, progress: Progress) -> None:
        self._client = client
        self._console = console
        self._progress = progress
        self._bar = progress.add_task("", total=flights.ROWS)
        self._sent = 0

    def prepare(self) -> None:
        """Make the pipeline, paused and empty."""
        self._client.create(NAME, flights.PROGRAM, description=DESCRIPTION)
        self._until(arrival.compiled)
        self._client.start(NAME, initial="paused")
        self._until(arrival.reached("Paused"))
        self._say("created, compiled and started paused")
        self._client.resume(NAME)
        self._until(arrival.reached("Running"))
        self._say("resumed")

    def stream(self) -> None:
        """Send every flight, and interrupt the pipeline on the way."""
        batches = flights.batches(BATCH)
        pause_at, stop_at = flights.ROWS // 3, flights.ROWS * 2 // 3
        paused = stopped = False
        token = ""
        for batch in batches:
            if not paused and self._sent >= pause_at:
                paused = True
                token = self._insist([batch, *(next(batches) for _ in range(INSISTING - 1))])
                continue
            if not stopped and self._sent >= stop_at:
                stopped = True
                self._restart(token)
            token = self._send(batch)
        self._settle(token)

    def answers(self) -> Answers:
        """Ask the view; and the table, whether it has every row."""
        [counted] = self._client.query(NAME, f"SELECT COUNT(*) AS flights FROM {flights.TABLE}")
        self._say(f"its table has {counted['flights']:,} rows")
        return self._client.query(NAME, f"SELECT * FROM {flights.VIEW} ORDER BY carrier")

    def _insist(self, batches: list[Batch]) -> str:
        self._client.pause(NAME)
        pipeline = self._until(arrival.reached("Paused"))
        token = ""
        for batch in batches:
            token = self._send(batch, force=True)
        rows = sum(batch.rows for batch in batches)
        self._say(f"paused (its status: {pipeline.status}), {rows:,} rows sent with force=true")
        self._client.resume(NAME)
        self._until(arrival.reached("Running"))
        self._say("resumed")
        return token

    def _restart(self, token: str) -> None:
        self._settle(token)
        self._client.stop(NAME)
        pipeline = self._until(arrival.stopped)
        self._say(f"stopped with a checkpoint (its status: {pipeline.status})")
        self._client.start(NAME)
        self._until(arrival.reached("Running"))
        self._say("started again from the checkpoint")

    def _send(self, batch: Batch, *, force: bool = False) -> str:
        token = self._client.ingest(
            NAME,
            flights.TABLE,
            batch.body,
            format="json",
            update_format="insert_delete",
            array=True,
            force=force,
        )
        self._sent += batch.rows
        self._progress.update(self._bar, completed=self._sent)
        return token

    def _settle(self, token: str) -> None:
        """Wait until everything that was sent is in the view."""
        deadline = time.monotonic() + SETTLE_WITHIN
        while not self._client.completed(NAME, token):
            if time.monotonic() > deadline:
                raise TimedOut(f"{NAME} has not processed what was sent within {SETTLE_WITHIN:.0f} s")
            time.sleep(0.1)

    def _until(self, arrive: Arrival) -> Pipeline:
        pipeline = arrive(self._client, NAME, SETTLE_WITHIN)
        self._progress.update(self._bar, description=pipeline.status)
        return pipeline

    def _say(self, text: str) -> None:
        self._console.print(f"[cyan]{self._sent:>9,}[/]  {text}")


def run(client: Client, *, keep: bool) -> int:
    """Run the demo; the exit status says whether the answers are right."""
    console = Console(highlight=False)
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with client:
        remove(client)  # of an earlier demo; where nobody answers there is nothing to look at
        try:
            with Progress(*columns, console=console) as progress:
                demo = Demo(client, console, progress)
                demo.prepare()
                demo.stream()
                answers = demo.answers()
                if not keep:
                    remove(client)
        except ClientError:
            console.print(f"The pipeline {NAME} is left for you to look at: sluicegate show {NAME}")
            raise
    return check(answers, console)


def check(answers: Answers, console: Console) -> int:
    """Print the answers beside those of DuckDB alone; 0 where they are the same."""
    command = [sys.executable, "-m", "sluicegate.operate.flights_reference"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    expected: Answers = json.loads(done.stdout)
    console.print(_table(answers))
    if answers == expected:
        console.print(f"[green]All {len(answers)} rows are what DuckDB answers over the file itself.[/]")
        return 0
    console.print("[red]DuckDB answers otherwise over the file itself:[/]")
    for mine, theirs in _differences(answers, expected):
        console.print(f"  pipeline {mine}\n  DuckDB   {theirs}", markup=False)
    return 1


def remove(client: Client) -> None:
    """Stop, clear and delete the pipeline, wherever it stands; nothing where it does not exist."""
    try:
        client.stop(NAME, force=True)
    except Refused as refusal:
        if refusal.code == "UnknownPipelineName":
            return
        raise
    arrival.ended(client, NAME, SETTLE_WITHIN)
    client.clear(NAME)
    arrival.cleared(client, NAME, SETTLE_WITHIN)
    client.delete(NAME)


def _table(answers: Answers) -> Table:
    table = Table("carrier", title="Arrival delay by carrier, New York City 2013", title_justify="left")
    for heading in ("flights", "arrived", "late", "late %", "mean min", "longest min"):
        table.add_column(heading, justify="right")
    for row in sorted(answers, key=lambda row: -row["flights"]):
        table.add_row(
            row["carrier"],
            f"{row['flights']:,}",
            f"{row['arrived']:,}",
            f"{row['late']:,}",
            f"{100 * row['late'] / row['arrived']:.1f}",
            f"{row['minutes'] / row['arrived']:.1f}",
            f"{row['longest']:,}",
        )
    return table


def _differences(answers: Answers, expected: Answers) -> list[tuple[object, object]]:
    ours, theirs = ({row["carrier"]: row for row in rows} for rows in (answers, expected))
    pairs = [(ours.get(carrier), theirs.get(carrier)) for carrier in sorted({*ours, *theirs})]
    return [(mine, other) for mine, other in pairs if mine != other]

"""`sluicegate replay`: would the code at hand go on with every workflow that lives? Asked before a deploy.

Each history is run through the code at hand, and the state that it begins with is read. Histories pass
through one at a time with a few fetched ahead, so memory does not grow with their number.
"""

import argparse
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer

from sluicegate import codec, temporal
from sluicegate.codec import KeysError
from sluicegate.operate import beginnings, histories, verb
from sluicegate.operate.histories import Unreadable
from sluicegate.operate.verb import Unusable
from sluicegate.settings import Settings
from worker import WORKFLOWS

WORDS = 160
"""Characters of a cause that the table shows."""

Source = AsyncIterator[WorkflowHistory | Unreadable]


@dataclass(frozen=True)
class Asked:
    """What is to be replayed."""

    folder: Path | None = None
    query: str = ""
    limit: int | None = None
    export: Path | None = None


@dataclass
class Report:
    """What came of it."""

    replayed: int = 0
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    """By workflow and run, why."""

    def note(self, workflow_id: str, run_id: str, cause: str) -> None:
        """Remember a failure; the first cause of a history stays."""
        self.failures.setdefault((workflow_id, run_id), cause)

    def __str__(self) -> str:
        """Say how far it is."""
        return f"{self.replayed} replayed, {len(self.failures)} failed"


async def replay(given: Source, asked: Asked, settings: Settings, status: Status) -> Report:
    """Replay one history after the other. Raises Unusable."""
    report = Report()
    try:
        plugin = temporal.plugin(codec.encryption(settings))
    except KeysError as problem:
        raise Unusable(str(problem)) from problem
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin], runtime=quiet)
    converter = plugin.data_converter
    if not isinstance(converter, DataConverter):
        raise TypeError("the plugin has a converter of its own")
    admitted = _admitted(given, asked, converter, report)
    async with replayer.workflow_replay_iterator(admitted) as results:
        async for result in results:
            report.replayed += 1
            if result.replay_failure is not None:
                history = result.history
                report.note(history.workflow_id, history.run_id, str(result.replay_failure))
            status.update(f"{report}: {escape(result.history.workflow_id)}")
    return report


async def _admitted(
    given: Source, asked: Asked, converter: DataConverter, report: Report
) -> AsyncIterator[WorkflowHistory]:
    """Let the histories through that are to be replayed, having read how each begins."""
    taken = 0
    async for history in given:
        if taken == asked.limit:
            return
        taken += 1
        if isinstance(history, Unreadable):
            report.note(history.name, "", history.cause)
            continue
        if asked.export is not None:
            histories.write(history, asked.export)
        if cause := await beginnings.problem(history, converter):
            report.note(history.workflow_id, history.run_id, cause)
        if len(history.events) > 1:
            yield history
        else:  # a run that has just begun: nothing is decided yet, and the SDK never comes back from it
            report.replayed += 1


async def carry_out(asked: Asked, screen: Console) -> int:
    """Replay what is asked for and print what was found."""
    settings = Settings()
    async with AsyncExitStack() as stack:
        status = stack.enter_context(Console(stderr=True).status("Looking for histories"))
        if asked.folder is not None:
            given: Source = histories.of_folder(asked.folder)
        else:
            client = await stack.enter_async_context(verb.connected(settings))
            given = histories.of_server(client, asked.query)
        if asked.export is not None:
            asked.export.mkdir(mode=0o700, parents=True, exist_ok=True)
        report = await replay(given, asked, settings, status)
    _show(report, screen)
    return verb.FAILED if report.failures else verb.WELL


def _show(report: Report, screen: Console) -> None:
    if report.failures:
        table = Table("workflow", "run", "cause", title="Not fit for this code", title_justify="left")
        for (workflow_id, run_id), cause in report.failures.items():
            table.add_row(escape(workflow_id), run_id, escape(_first_words(cause)))
        screen.print(table)
    elif not report.replayed:
        screen.print("No workflow lives there: nothing to replay.")
        return
    screen.print(f"{report}.")


def _first_words(cause: str) -> str:
    """Shorten a cause; what the SDK wraps around its own message goes first."""
    wrapped = re.search(r'message: "((?:[^"\\]|\\.)*)"', cause)
    line = " ".join((wrapped[1] if wrapped else cause).split())
    return line if len(line) <= WORDS else f"{line[:WORDS]}…"


def main(words: list[str] | None = None) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="sluicegate replay")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--query", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--export", type=Path)
    asked = Asked(**vars(parser.parse_args(words)))
    if asked.folder is not None and asked.query:
        parser.error("--query narrows what a server lists; a folder is replayed as it is")
    return verb.run(lambda screen: carry_out(asked, screen))


if __name__ == "__main__":
    verb.end(main())

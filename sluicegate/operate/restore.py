"""`sluicegate restore`: what a backup has, into a namespace where nothing of ours lives.

    read the whole file ──> look what lives there ──> start one workflow after the other
      damaged, newer, or       anything but what this      its id taken meanwhile by another:
      undecipherable: refused  backup restored: refused    left alone and told

Nothing is written before the file was read to its end and the namespace was looked at. A restore that was
interrupted is simply repeated: what began with the very same record is there already and is skipped.
"""

import argparse
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from sluicegate.codec import Undecodable
from sluicegate.operate import archive, live, verb
from sluicegate.operate.archive import Line
from sluicegate.operate.backup import argument, told
from sluicegate.operate.records import RESTORED, Newer, Record
from sluicegate.operate.verb import Unusable
from sluicegate.settings import Settings

NAMED = 10
"""Workflows that a refusal names."""
NOT_OURS_TO_KEEP = {"Cluster"}
"""What an API process starts by itself, and no backup has."""


@dataclass
class Outcome:
    """What a restore has done, or would do."""

    restored: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    """Restored before, from this backup."""
    taken: list[str] = field(default_factory=list)
    """Ids that another has taken since the namespace was looked at."""


class Restore:
    """One restore of one file."""

    def __init__(self, client: Client, path: Path) -> None:
        """Read the given file, write through the given client."""
        self._client = client
        self._path = path
        self._newest: dict[str, tuple[int, str]] = {}
        """By pipeline id, the record that counts: one that was renamed meanwhile may stand twice."""

    async def check(self) -> Counter[str]:
        """Read the whole file and tell what is to be restored. Raises Unusable."""
        ids: set[str] = set()
        for line in archive.lines(self._path):
            record = await self._record(line)
            if record.workflow_id != line.workflow_id or record.workflow_id in ids:
                raise Unusable(f"{self._path} is damaged: {line.workflow_id} has another's record.")
            ids.add(record.workflow_id)
            if record.pipeline_id is not None:
                mine = (record.revision, record.workflow_id)
                self._newest[record.pipeline_id] = max(mine, self._newest.get(record.pipeline_id, mine))
        counts: Counter[str] = Counter()
        async for record in self._records():
            counts[record.kind] += 1
        return counts

    async def look(self) -> set[str]:
        """Tell what this backup has restored already. Raises Unusable where anything else lives."""
        lives = {
            found.workflow_id
            async for found in live.listed(self._client)
            if found.kind not in NOT_OURS_TO_KEEP and await live.run_id(self._client, found.workflow_id)
        }
        there: set[str] = set()
        if lives:
            async for record in self._records():
                if record.workflow_id in lives and await self._is(record):
                    there.add(record.workflow_id)
        if strangers := sorted(lives - there):
            more = f" and {len(strangers) - NAMED} more" if len(strangers) > NAMED else ""
            raise Unusable(
                f"The namespace {self._client.namespace} is not empty: there is "
                f"{', '.join(strangers[:NAMED])}{more}. A backup is restored into an empty one."
            )
        return there

    async def write(self, there: set[str], status: Status, *, dry: bool) -> Outcome:
        """Start what is not there yet, or (dry) only count it. Raises Unusable."""
        outcome = Outcome()

        async def put(record: Record) -> tuple[Record, bool, bool]:
            if record.workflow_id in there:
                return record, False, True
            started = dry or await record.start(self._client)
            return record, started, started or await self._is(record)

        async with aclosing(verb.each(self._records(), put)) as done:
            async for record, started, same in done:
                if not same:
                    outcome.taken.append(record.workflow_id)
                else:
                    (outcome.restored if started else outcome.there)[record.kind] += 1
                status.update(f"{outcome.restored.total()} restored")
        return outcome

    async def _records(self) -> AsyncIterator[Record]:
        """Read the records again, in the order in which they are restored."""
        for kind in RESTORED:
            for line in archive.lines(self._path):
                if line.kind == kind:
                    record = await self._record(line)
                    if record.pipeline_id is None or self._counts(record):
                        yield record

    def _counts(self, record: Record) -> bool:
        return self._newest[str(record.pipeline_id)] == (record.revision, record.workflow_id)

    async def _record(self, line: Line) -> Record:
        if line.kind not in RESTORED:
            raise Unusable(f"{self._path} has a record of the kind {line.kind!r}, unknown to this release.")
        try:
            [raw] = await self._client.data_converter.decode([line.stored], [dict])
            return RESTORED[line.kind](raw)
        except Undecodable as problem:
            raise Unusable(f"{line.workflow_id} cannot be read: {problem}") from problem
        except Newer as problem:
            raise Unusable(f"{line.workflow_id} cannot be read: {problem}.") from problem
        except Exception as problem:
            about = f"{type(problem).__name__}: {problem}"
            raise Unusable(
                f"{self._path} is damaged: {line.workflow_id} cannot be read: {about}"
            ) from problem

    async def _is(self, record: Record) -> bool:
        """Whether the workflow of this id began with this very record."""
        try:
            found = await self._client.get_workflow_handle(record.workflow_id).describe()
            first = found.raw_description.workflow_execution_info.first_run_id
            return await argument(self._client, record.workflow_id, first) == record.argument
        except RPCError as problem:
            if problem.status is RPCStatusCode.NOT_FOUND:  # its first history is no longer kept
                return False
            raise


async def carry_out(path: Path, screen: Console, *, dry: bool) -> int:
    """Restore a file and print what was done."""
    header = archive.read_header(path)
    async with verb.connected(Settings()) as client:
        with Console(stderr=True).status("Reading the backup") as status:
            restoring = Restore(client, path)
            counts = await restoring.check()
            made = f"{header.made_at:%Y-%m-%d %H:%M:%S} UTC, release {header.version}"
            screen.print(f"{path}, made {made}: {told(counts)}.", soft_wrap=True)
            there = await restoring.look()
            if not dry:
                await verb.prepared(client)
            outcome = await restoring.write(there, status, dry=dry)
    _show(outcome, screen, dry=dry)
    for workflow_id, cause in header.missing.items():
        screen.print(f"Not in the backup: {escape(workflow_id)} ({escape(cause)})", soft_wrap=True)
    return verb.FAILED if outcome.taken or header.missing else verb.WELL


def _show(outcome: Outcome, screen: Console, *, dry: bool) -> None:
    screen.print(f"{'Would be restored' if dry else 'Restored'}: {told(outcome.restored)}.")
    if outcome.there:
        screen.print(f"There already: {told(outcome.there)}.")
    for workflow_id in outcome.taken:
        screen.print(f"[red]Taken by another meanwhile: {escape(workflow_id)}[/]", soft_wrap=True)


def main(words: list[str] | None = None) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="sluicegate restore")
    parser.add_argument("file", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args(words)
    return verb.run(lambda screen: carry_out(given.file, screen, dry=given.dry_run))


if __name__ == "__main__":
    verb.end(main())

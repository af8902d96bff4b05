"""The search for stuck work: what is stuck as far as a front end has found, looked for every few seconds.

A look costs three lists of a page each and a bounded number of single questions, however many pipelines
there are, idle or not:

    failing      workflows whose task fails; some causes a look, each kept while it goes on failing
    under way    what has effects in flight by its search attributes, with what its record knows
    all          a page of everything, and the next one at the next look: a record may know of trouble that
                 no search attribute shows, such as a storage that cannot be cleared
    one by one   what is known to be stuck and was on no page, and what has no record and is not new

What other front ends have found is taken up from the workflow `cluster`, and believed until it was looked at,
so that they do not contradict each other. The prober of `api.health` waits for none of this.
"""

import asyncio
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from api.diagnosis import ALL, FAILING, FAILS, UNDER_WAY, Diagnosis, Row
from sluicegate.errors import Refusal
from sluicegate.lifecycle import stuck
from sluicegate.lifecycle.stuck import Kind, Report, Stuck, Trouble

LOOK_EVERY = 15.0
"""Seconds."""
LOOK_WITHIN = 30.0
"""Seconds after which a look is given up."""
CAUSES = 10
"""Failing workflow tasks whose cause is looked for in one look."""
SINGLE = 20
"""Workflows that are looked at one by one in one look, those first that have waited longest."""
NEW_FOR = timedelta(minutes=1)
"""A clean-up that young cannot be at a tenth attempt."""

_log = structlog.get_logger()


class StuckWork:
    """Looks for stuck work, and remembers what it has found."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        """Look through the given calls."""
        self._diagnosis = diagnosis
        self._began_at = datetime.now(UTC)
        self._trouble: str | None = None
        self._failing: dict[str, tuple[Row, Trouble]] = {}
        """By run."""
        self._recorded: dict[str, tuple[Stuck, ...]] = {}
        """By workflow: what its record or its activities say."""
        self._singly: dict[str, int] = {}
        """The look at which each was looked at one by one."""
        self._looks = 0
        self._noted_at: datetime | None = None
        self._taken_up_at: datetime | None = None
        self._next_page = b""
        self._searching: asyncio.Task[None] | None = None
        self.report = Report()
        """What is stuck, as of the last look."""
        self.looked_at: datetime | None = None
        """When the last look began that came out."""

    def start(self) -> None:
        """Begin to look."""
        self._searching = asyncio.create_task(self._keep_looking())

    async def aclose(self) -> None:
        """Look no more."""
        if self._searching is not None:
            self._searching.cancel()
            await asyncio.gather(self._searching, return_exceptions=True)

    def take_up(self, noted_at: datetime, known: Report) -> None:
        """Take up what was noted last, by whichever front end, until it was looked at here. What fails its
        workflow task is on one list for all."""
        if noted_at == self._noted_at:
            return
        self._noted_at, self._taken_up_at = noted_at, datetime.now(UTC)
        for one in known.items:
            if one.kind is not Kind.WORKFLOW_TASK:
                self._recorded.setdefault(one.workflow_id, (one,))

    def to_tell(self, known: Report | None) -> Report:
        """What is to be noted: what is known, unless somebody has looked here since it was taken up."""
        if self.looked_at is None or (self._taken_up_at and self.looked_at <= self._taken_up_at):
            return known or Report()
        return self.report.kept()

    def doubt(self, now: datetime) -> str | None:
        """Say that nobody knows what is stuck, where it is so."""
        return stuck.doubt(self.looked_at, self._began_at, self._trouble, now)

    async def _keep_looking(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_WITHIN):
                    await self.look()
                self._trouble = None
            except (Refusal, TimeoutError) as trouble:
                self._failed(str(trouble) or f"no answer came within {LOOK_WITHIN:g} s")
            except Exception as trouble:  # noqa: BLE001 - what shows is that the last look is long ago
                self._failed(str(trouble))
                _log.exception("stuck work could not be looked for")
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.8, 1.0))

    def _failed(self, trouble: str) -> None:
        if self._trouble is None:
            _log.warning("stuck work not looked for", error=trouble)
        self._trouble = trouble

    async def look(self) -> None:
        """Look once. Raises TemporalUnavailable, and then has found nothing new."""
        began, self._looks = datetime.now(UTC), self._looks + 1
        (failing, _), (under_way, _), (some, token) = await asyncio.gather(
            self._diagnosis.page(FAILING),
            self._diagnosis.page(UNDER_WAY),
            self._diagnosis.page(ALL, self._next_page),
        )
        await self._diagnose(failing)
        listed = {row.workflow_id: row for row in (*some, *under_way)}
        for row in listed.values():
            if row.troubles is not None:
                self._record(row)
        old = {id for id, row in listed.items() if row.troubles is None and began - row.started > NEW_FOR}
        seen = {id for id, row in listed.items() if row.troubles is not None}
        await self._look_singly((self._recorded.keys() - seen) | old)
        self._next_page = token
        found = [one for row, why in self._failing.values() for one in _of(row, [why])]
        self.report = Report.of([*found, *(one for ones in self._recorded.values() for one in ones)])
        self.looked_at = began

    async def _diagnose(self, rows: list[Row]) -> None:
        """Note who fails its workflow task, and find out for some of them why."""
        known = {row.run_id: (row, FAILS) for row in rows}
        known |= {run_id: self._failing[run_id] for run_id in known if run_id in self._failing}
        self._failing = known
        puzzling = [row for row, why in known.values() if why is FAILS][:CAUSES]
        for row, why in zip(
            puzzling, await asyncio.gather(*map(self._diagnosis.cause, puzzling)), strict=True
        ):
            self._failing[row.run_id] = (row, why)

    async def _look_singly(self, candidates: Iterable[str]) -> None:
        """Look at some one by one, those that have waited longest."""
        turns = {workflow_id: self._singly.get(workflow_id, 0) for workflow_id in candidates}
        chosen = sorted(turns, key=lambda workflow_id: (turns[workflow_id], workflow_id))[:SINGLE]
        rows = await asyncio.gather(*map(self._diagnosis.look, chosen))
        self._singly = turns | dict.fromkeys(chosen, self._looks)
        for workflow_id, row in zip(chosen, rows, strict=True):
            self._recorded.pop(workflow_id, None)
            if row is not None:
                self._record(row)

    def _record(self, row: Row) -> None:
        found = _of(row, row.troubles or ())
        if found:
            self._recorded[row.workflow_id] = found
        else:
            self._recorded.pop(row.workflow_id, None)


def _of(row: Row, troubles: Iterable[Trouble]) -> tuple[Stuck, ...]:
    return stuck.of(row.workflow_id, row.parent_id, troubles)

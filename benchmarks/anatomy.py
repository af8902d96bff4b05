"""Where the time of a call goes: when Temporal noted what it brought about, between request and answer.

Server and caller share this machine's clock, so the times of a history's events divide what a caller waited.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from benchmarks.measure import Figure


class Call(NamedTuple):
    """When a caller asked and when it had its answer, in seconds since the epoch."""

    asked: float
    answered: float


class Milestone(NamedTuple):
    """An event on the way to an answer: the first of its kind after the milestone before."""

    reached: str
    """What is so from then on."""
    kind: EventType.ValueType
    name: str = ""
    """Of the signal or the activity, where there are several."""
    last: bool = False
    """The last of its kind instead."""
    optional: bool = False
    """It may be missing, where what it stands for was so before: then it takes no time."""


SIGNALLED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
TAKEN = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
DECIDED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
DONE = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED

ADMISSION = (
    Milestone("the signal is on record", SIGNALLED, "start"),
    Milestone("the worker has the task", TAKEN),
    Milestone("the decision is on record", DECIDED),
)
START = (
    Milestone("the signal is on record", SIGNALLED, "start"),
    Milestone("it is decided", DECIDED),
    Milestone("the process is there", DONE, "provision"),
    Milestone("that is on record", DECIDED),
    Milestone("the process says that it runs", SIGNALLED, "observed", last=True, optional=True),
    Milestone("that is on record too", DECIDED, optional=True),
)
ANSWERED = "the caller knows"


async def anatomy(
    client: Client, workflow_id: str, way: Sequence[Milestone], whole: str, calls: Sequence[Call]
) -> list[Figure]:
    """Divide calls that a workflow has answered: a figure for the time up to each milestone since the one
    before. A call during which the history began anew has no such division and is left out."""
    noted = [one for run in await _runs(client, workflow_id) for one in _noted(run)]
    parts: list[list[float]] = [[] for _ in range(len(way) + 1)]
    for call in calls:
        within = [one for one in noted if call.asked <= one.at <= call.answered]
        reached = list(_reached(way, within, call.asked))
        if len(reached) == len(way):
            for part, (before, after) in zip(
                parts, pairwise([call.asked, *reached, call.answered]), strict=True
            ):
                part.append((after - before) * 1e3)
    if not parts[0]:
        raise RuntimeError(f"no call of {whole} was found in the history of {workflow_id}")
    names = [*(milestone.reached for milestone in way), ANSWERED]
    return [Figure(f"{whole}, of it: until {name}", part) for name, part in zip(names, parts, strict=True)]


class _Noted(NamedTuple):
    at: float
    kind: EventType.ValueType
    name: str


def _reached(way: Sequence[Milestone], noted: Sequence[_Noted], began: float) -> Iterator[float]:
    """The times of milestones, until one was not reached."""
    left, before = list(noted), began
    for milestone in way:
        found = [
            place
            for place, one in enumerate(left)
            if one.kind == milestone.kind and milestone.name in ("", one.name)
        ]
        if found:
            place = found[-1 if milestone.last else 0]
            before, left = left[place].at, left[place + 1 :]
        elif not milestone.optional:
            return
        yield before


def _noted(run: Sequence[HistoryEvent]) -> Iterator[_Noted]:
    """What the events of one history say."""
    activities: dict[int, str] = {}
    for event in run:
        name = ""
        if event.event_type == SIGNALLED:
            name = event.workflow_execution_signaled_event_attributes.signal_name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            activities[event.event_id] = scheduled.activity_type.name
        elif event.event_type == DONE:
            name = activities[event.activity_task_completed_event_attributes.scheduled_event_id]
        yield _Noted(event.event_time.seconds + event.event_time.nanos / 1e9, event.event_type, name)


async def _runs(client: Client, workflow_id: str) -> list[Sequence[HistoryEvent]]:
    """The events of all histories of a workflow, oldest first."""
    runs: list[Sequence[HistoryEvent]] = []
    run_id = ""
    while True:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id or None).fetch_history()
        runs.insert(0, history.events)
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            return runs

"""`wait_for`: hold a GET of a pipeline back until the pipeline is what the caller waits for.

A word is a deployment status in snake case, `compiled` or `cleared`. `stopped` means that nothing runs and
nothing shall, so that a start which has only just been accepted is not taken for an end.
"""

import asyncio
import re
from datetime import timedelta
from typing import Any, NamedTuple, get_args

from api.due import Due
from api.lookouts import Lookout, Lookouts
from api.projection import Projection
from api.reading import Reader, workflow_id
from api.rpc import NoSuchWorkflow, Unanswered
from api.shapes import DeploymentStatus
from sluicegate import errors
from sluicegate.lifecycle.status import ProgramStatus, StorageStatus

COMPILED, CLEARED, STOPPED = "compiled", "cleared", "stopped"
DEFAULT = "30s"
ASK_AGAIN = 1.0
"""Seconds until a worker is asked again whether a wait is in vain, where none has answered."""
TOLD_WITHIN = 5.0
"""Seconds from the moment a schedule is due until the pipeline has been told."""


def _snake(status: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", status).lower()


WORDS = (*map(_snake, get_args(DeploymentStatus)), COMPILED, CLEARED)
_WORD = "(" + "|".join(WORDS) + ")"
WAIT_FOR = f"^{_WORD}(,{_WORD}){{0,{len(WORDS) - 1}}}$"
TIMEOUT = "^[0-9]{1,7}(ms|s|m)$"
_UNIT = {"ms": "milliseconds", "s": "seconds", "m": "minutes"}


class Wait(NamedTuple):
    """What somebody waits for."""

    tenant_id: str
    name: str
    words: tuple[str, ...]
    """Any of them will do; without one there is nothing to wait for."""
    within: timedelta

    @classmethod
    def of(cls, tenant_id: str, name: str, asked: tuple[str | None, str], longest: timedelta) -> "Wait":
        """Read `wait_for` and `timeout`, whose form has been checked."""
        wait_for, timeout = asked
        number, unit = re.fullmatch("([0-9]+)([a-z]+)", timeout).groups()  # type: ignore[union-attr]
        within = min(timedelta(**{_UNIT[unit]: int(number)}), longest)
        return cls(tenant_id, name, tuple(wait_for.split(",")) if wait_for else (), within)


def is_there(shown: Projection, word: str) -> bool:
    """Whether a pipeline is what the word says."""
    status = shown.status
    if word == COMPILED:
        return bool(status["program_status"] == ProgramStatus.SUCCESS)
    if word == CLEARED:
        return bool(status["storage_status"] == StorageStatus.CLEARED)
    if word == STOPPED:
        stopped = status["deployment_status"] == status["deployment_desired_status"] == "Stopped"
        return stopped and not shown.restarting
    return _snake(status["deployment_status"]) == word


def is_out_of_reach(shown: Projection, word: str) -> bool:
    """Whether a pipeline that is not what the word says will not become it unless it is told something."""
    if word == COMPILED:
        return ProgramStatus(shown.status["program_status"]).failed
    return shown.at_rest


class Waiting:
    """Waits for every route."""

    def __init__(self, reader: Reader, lookouts: Lookouts, due: Due) -> None:
        """Wait on the lookouts."""
        self._reader = reader
        self._lookouts = lookouts
        self._due = due

    async def reached(self, wait: Wait) -> Projection:
        """Wait until a pipeline is one of the words.

        Raises UnknownPipelineName (also when it is deleted meanwhile), WaitTimedOut, WaitInVain,
        TooManyWatchers, ShuttingDown.
        """
        clock = asyncio.get_running_loop().time
        deadline, hopeful_until = clock() + wait.within.total_seconds(), clock()
        # Read after the call has come, so that what the caller has done before is seen.
        shown = await self._reader.projection(wait.tenant_id, wait.name)
        if _arrived(shown, wait):
            return shown
        async with self._lookouts.watching(wait.tenant_id, wait.name) as lookout:
            while not _arrived(shown, wait):
                if clock() >= hopeful_until and await self._in_vain(shown, wait, deadline):
                    hopeful_until = await self._hopeful_until(wait, deadline)
                    if hopeful_until <= clock():
                        raise _vain(shown, wait)
                left = deadline - clock()
                if left <= 0:
                    raise _timed_out(shown, wait)
                shown = await _next(lookout, shown, min(left, ASK_AGAIN))
        return shown

    async def _in_vain(self, shown: Projection, wait: Wait, deadline: float) -> bool:
        """Whether nothing that was acknowledged leads to what is waited for. Only a worker can say so: the
        memo knows nothing of a call that nobody has decided yet."""
        if not _out_of_reach(shown, wait):
            return False
        try:
            async with asyncio.timeout_at(deadline):
                asked = await self._reader.asked(workflow_id(wait.tenant_id, wait.name))
        except (Unanswered, errors.Refusal, NoSuchWorkflow, TimeoutError):
            return False  # whoever waits goes on waiting
        return _out_of_reach(asked, wait)

    async def _hopeful_until(self, wait: Wait, deadline: float) -> float:
        """Until when the start of a schedule may still lead to what is waited for; now where none will."""
        now = asyncio.get_running_loop().time()
        if set(wait.words) <= {COMPILED, CLEARED}:
            return now  # no start leads there
        try:
            due_in = await self._due.start_within(wait.tenant_id, wait.name, deadline - now)
        except (errors.NotAnsweredYet, errors.TemporalUnavailable):
            return now + ASK_AGAIN  # whoever waits goes on waiting
        return now if due_in is None else now + due_in + TOLD_WITHIN


def _arrived(shown: Projection, wait: Wait) -> bool:
    return any(is_there(shown, word) for word in wait.words)


def _out_of_reach(shown: Projection, wait: Wait) -> bool:
    return not _arrived(shown, wait) and all(is_out_of_reach(shown, word) for word in wait.words)


async def _next(lookout: Lookout, shown: Projection, within: float) -> Projection:
    """Wait for something newer than what was shown; gives the same again when there is none in time."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        moved = lookout.moved
        if lookout.failure:
            raise lookout.failure
        if lookout.closed:
            raise errors.ShuttingDown
        seen = lookout.shown
        if lookout.gone or (seen is not None and seen.id != shown.id):
            raise errors.UnknownPipelineName(pipeline_name=shown.name)
        if seen is not None and seen.revision > shown.revision:
            return seen
        try:
            async with asyncio.timeout_at(deadline):
                await moved.wait()
        except TimeoutError:
            return shown


def _about(shown: Projection, wait: Wait) -> dict[str, Any]:
    words = {"pipeline_name": wait.name, "wait_for": " or ".join(wait.words)}
    keys = ("deployment_status", "program_status", "storage_status")
    return words | {key: shown.status[key] for key in keys}


def _timed_out(shown: Projection, wait: Wait) -> errors.Refusal:
    desired = shown.status["deployment_desired_status"]
    milliseconds = round(wait.within.total_seconds() * 1000)
    about = _about(shown, wait)
    return errors.WaitTimedOut(**about, milliseconds=milliseconds, deployment_desired_status=desired)


def _vain(shown: Projection, wait: Wait) -> errors.Refusal:
    return errors.WaitInVain(**_about(shown, wait), deployment_error=shown.status["deployment_error"])

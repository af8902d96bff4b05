"""Does what the schedule says: kills, stops and lets go on, cuts, fills, slows, turns clocks, and mends."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sluicegate import faults
from tests.chaos import disk
from tests.chaos.plane import Plane
from tests.chaos.recording import Recording
from tests.chaos.sampler import Sampler
from tests.chaos.schedule import ENGINE, TEMPORAL, WORKERS, Fault, Kind

LOOK_EVERY = 0.05
LAST_CHANCE = 2.0
"""Seconds that the points which are armed last may still be hit."""
BEATS = 0.1
"""Seconds that Temporal is held and let go in turn while its disk is slow."""


@dataclass
class Nemesis:
    """Breaks a plane, and notes what it did to whom."""

    plane: Plane
    recording: Recording
    spared: Collection[str] = ()
    """Ids of pipelines whose processes are left alone."""
    _lasting: list[asyncio.Future[None]] = field(default_factory=list)
    _armed: dict[str, Fault] = field(default_factory=dict)
    _stopped: set[int] = field(default_factory=set)

    async def run(self, planned: Sequence[Fault]) -> None:
        """Do all of it in time; what lasts goes on beside the next."""
        began = time.monotonic()
        looking = asyncio.create_task(self._look_for_hits())
        try:
            for fault in planned:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                if fault.kind not in self.plane.skipped:
                    self._begin(_DEEDS[fault.kind](self, fault))
            await asyncio.sleep(LAST_CHANCE)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def heal(self) -> None:
        """Let everything go on and be as it was."""
        for armed in (self.plane.points / "armed").iterdir():
            armed.unlink(missing_ok=True)
        self._note_hits()
        await asyncio.gather(*self._lasting)
        for pid in list(self._stopped):
            self._continue(pid)
        for control in self.plane.controls.values():
            control.clock(0)
            control.disk(0)
        if Kind.FULL_DISK not in self.plane.skipped:
            disk.free(self.plane.home.parent)

    def _begin(self, deed: Awaitable[None]) -> None:
        self._lasting.append(asyncio.ensure_future(deed))

    def _note(self, fault: Fault, pid: int | None = None, pipeline: str | None = None) -> None:
        self.recording.note("faults", begun=time.monotonic(), pid=pid, pipeline=pipeline, **fault.encoded())

    # Points

    async def _arm(self, fault: Fault) -> None:
        self._armed[fault.target] = fault
        aside = self.plane.points / f"{fault.target}.new"
        aside.write_text(fault.how)
        aside.rename(self.plane.points / "armed" / fault.target)
        self._note(fault)
        if fault.target == faults.READOPTING:  # which only a worker that begins comes by
            await self._strike(Fault(fault.at, Kind.PROCESS, random.Random(fault.at).choice(WORKERS), "kill"))
        if fault.target == faults.after("watch"):  # which is over when the process is
            await self._strike(Fault(fault.at, Kind.PROCESS, ENGINE, "kill"))

    async def _look_for_hits(self) -> None:
        while True:
            self._note_hits()
            await asyncio.sleep(LOOK_EVERY)

    def _note_hits(self) -> None:
        seen = self.plane.points / "hit"
        for hit in list(seen.iterdir()):
            point, _, number = hit.name.rpartition(".")[0].rpartition(".")
            how = hit.read_text()
            hit.unlink()
            self.recording.note("hits", at=time.monotonic(), point=point, pid=int(number), how=how)
            if how == "stop":
                self._begin(self._let_go(int(number), self._armed[point].lasting))

    # Processes

    async def _strike(self, fault: Fault) -> None:
        pipeline = None
        if fault.target == ENGINE:
            live = [
                (name, one[0][0])
                for name, one in sorted(Sampler(self.plane.home).look().items())
                if name not in self.spared
            ]
            if not live:
                return
            pipeline, pid = live[int(fault.amount * len(live))]
        else:
            found = self.plane.pid(fault.target)
            if found is None:
                return
            pid = found
        self._note(fault, pid, pipeline)
        if fault.how == "kill":
            _signal(pid, signal.SIGKILL)
            return
        _signal(pid, signal.SIGSTOP)
        await self._let_go(pid, fault.lasting)

    async def _let_go(self, pid: int, after: float) -> None:
        self._stopped.add(pid)
        await asyncio.sleep(after)
        self._continue(pid)

    def _continue(self, pid: int) -> None:
        self._stopped.discard(pid)
        _signal(pid, signal.SIGCONT)

    # Surroundings

    async def _cut(self, fault: Fault) -> None:
        self._note(fault)
        self.plane.proxies[fault.target].cut_after(int(fault.amount))

    async def _turn_clock(self, fault: Fault) -> None:
        self._note(fault)
        control = self.plane.controls[fault.target]
        control.clock(fault.amount)
        await asyncio.sleep(fault.lasting)
        control.clock(0)

    async def _slow_disk(self, fault: Fault) -> None:
        self._note(fault)
        for control in self.plane.controls.values():
            control.disk(fault.amount)
        until = time.monotonic() + fault.lasting
        while time.monotonic() < until:
            if pid := self.plane.pid(TEMPORAL):
                _signal(pid, signal.SIGSTOP)
                await self._let_go(pid, BEATS)
            await asyncio.sleep(BEATS)
        for control in self.plane.controls.values():
            control.disk(0)

    async def _fill_disk(self, fault: Fault) -> None:
        self._note(fault)
        await asyncio.to_thread(disk.fill, self.plane.home.parent)
        await asyncio.sleep(fault.lasting)
        disk.free(self.plane.home.parent)


_DEEDS: dict[Kind, Callable[[Nemesis, Fault], Awaitable[None]]] = {
    Kind.POINT: Nemesis._arm,
    Kind.PROCESS: Nemesis._strike,
    Kind.CUT: Nemesis._cut,
    Kind.CLOCK: Nemesis._turn_clock,
    Kind.SLOW_DISK: Nemesis._slow_disk,
    Kind.FULL_DISK: Nemesis._fill_disk,
}


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)

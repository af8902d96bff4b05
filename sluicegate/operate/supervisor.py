"""Keeps child processes running: starts, probes, starts again, and ends them.

*Never came up* and *died* are two answers. A part that ends before it was ever ready stops everything with
the tail of its log, since starting it again would only fail again. A part that was ready and dies is started
again after a pause that doubles from 0.2 s to 5 s, and is forgotten once the part has lived for ten.

Each child leads a process group of its own, so that Ctrl-C in the terminal reaches the supervisor alone, and
is killed by the kernel if the supervisor vanishes. What a child has detached into a session of its own, as
the pipelines are, is touched by neither.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
SOUND_AFTER = 10.0
"""A part that lived so long has earned a fresh start."""
PROBE_EVERY = 0.1
UP_WITHIN = 60.0
"""Ten times what the slowest part takes on two cores."""
TAIL = 20
KEPT_LOGS = 3

_PR_SET_PDEATHSIG = 1

Ready = Callable[[int], Awaitable[bool]]
"""Whether a part's process, given by its id, does its job; raises nothing."""


class NeverCameUp(Exception):
    """A part ended, or stayed silent, before it was ever ready."""

    def __init__(self, name: str, how: str, log: Path | None) -> None:
        super().__init__(f"{name} {how}")
        self.log = log
        self.tail = tail(log) if log else []


@dataclass(frozen=True)
class Part:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    ready: Ready
    """Asked ten times a second until it says yes."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path | None = None
    log: Path | None = None
    """File that its output is appended to; None leaves it on ours."""
    grace: float = 10.0
    """Seconds between the request to end and the end by force."""


class Child:
    """One part, its present process, and what happened to it."""

    def __init__(self, part: Part, tell: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.part = part
        self._tell = tell
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def up(self) -> None:
        """Start the part and wait until it is ready; raises NeverCameUp."""
        process = await self._spawn()
        if not await self._came_up(process, UP_WITHIN):
            code = process.returncode
            how = f"did not answer within {UP_WITHIN:.0f} s" if code is None else ended(code)
            raise NeverCameUp(self.part.name, how, self.part.log)

    async def keep(self) -> None:
        """Start the part again whenever it dies, until it is told to end."""
        pause, since = FIRST_PAUSE, time.monotonic()
        while self._process is not None:
            code = await self._process.wait()
            if self._ending:
                return
            _kill_group(self._process.pid)
            self._changed()
            pause = FIRST_PAUSE if time.monotonic() - since > SOUND_AFTER else pause
            self._tell(f"{self.part.name} {ended(code)}; starting it again")
            await asyncio.sleep(pause)
            pause, since = min(pause * 2, LONGEST_PAUSE), time.monotonic()
            process = await self._spawn()
            if await self._came_up(process, UP_WITHIN):
                self._tell(f"{self.part.name} is back")

    async def end(self) -> None:
        """Ask the part to end, and make it end after its grace."""
        self._ending = True
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self.part.grace):
                await process.wait()
        except TimeoutError:
            self._tell(f"{self.part.name} did not end within {self.part.grace:.0f} s and is killed")
        _kill_group(process.pid)
        await process.wait()

    def kill(self) -> None:
        """End the part at once."""
        self._ending = True
        if self.pid is not None:
            _kill_group(self.pid)

    async def _spawn(self) -> asyncio.subprocess.Process:
        part = self.part
        output = part.log.open("ab") if part.log else None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT if output else None,
                env=dict(part.environment),
                cwd=part.folder,
                process_group=0,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            raise NeverCameUp(part.name, f"cannot be started: {error}", None) from error
        finally:
            if output:
                output.close()
        self._changed()
        return self._process

    async def _came_up(self, process: asyncio.subprocess.Process, within: float) -> bool:
        deadline = time.monotonic() + within
        while process.returncode is None and time.monotonic() < deadline:
            if await self.part.ready(process.pid) and process.returncode is None:
                return True
            await asyncio.sleep(PROBE_EVERY)
        return False


class Supervisor:
    """Keeps parts running that depend on each other in the order given: one group after the other."""

    def __init__(
        self,
        groups: Sequence[Sequence[Part]],
        *,
        tell: Callable[[str], None] = lambda text: None,
        changed: Callable[[Mapping[str, int]], None] = lambda pids: None,
    ) -> None:
        self._changed = changed
        self._groups = [[Child(part, tell, self._report) for part in group] for group in groups]
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int]:
        """The present processes by name."""
        return {child.part.name: child.pid for child in self._children() if child.pid is not None}

    async def run(self, stop: asyncio.Event, then: Callable[[], Awaitable[None]]) -> None:
        """Bring every part up, do `then`, and return; at the latest when `stop` is set.

        Raises NeverCameUp. The parts are left as they are; `end` has to be awaited in any case.
        """
        working = asyncio.create_task(self._work(then))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    async def _work(self, then: Callable[[], Awaitable[None]]) -> None:
        await self.up()
        await then()

    async def up(self) -> None:
        """Start every part and wait until all are ready; raises NeverCameUp, which leaves some running."""
        for group in self._groups:
            starting = [asyncio.create_task(child.up()) for child in group]
            try:
                await asyncio.gather(*starting)
            finally:
                for task in starting:
                    task.cancel()
                await asyncio.gather(*starting, return_exceptions=True)
            self._keeping += [asyncio.create_task(child.keep()) for child in group]

    async def keep(self) -> None:
        """Return only when keeping a part has failed."""
        await asyncio.gather(*self._keeping)

    async def end(self) -> None:
        """End every part, the last group first."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for group in reversed(self._groups):
            await asyncio.gather(*(child.end() for child in group))

    def kill(self) -> None:
        """End every part at once; `end` still has to be awaited."""
        for child in self._children():
            child.kill()

    def _children(self) -> list[Child]:
        return [child for group in self._groups for child in group]

    def _report(self) -> None:
        self._changed(self.pids)


def ended(code: int) -> str:
    """Say how a process ended, from the exit status that the standard library gives."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def tail(log: Path, lines: int = TAIL) -> list[str]:
    """Read the last lines of a log."""
    with suppress(FileNotFoundError), log.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    return []


def rotate(log: Path, kept: int = KEPT_LOGS) -> None:
    """Move a log out of the way: `x.log` becomes `x.log.1`, and so on; the oldest is forgotten."""
    for number in range(kept, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        with suppress(FileNotFoundError):
            newer.replace(older)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _die_with(parent: int) -> Callable[[], None] | None:
    """Give what a child does between fork and exec so that the kernel kills it with its parent."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel

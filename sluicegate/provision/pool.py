"""The warm pool: processes of this host that have imported the engine and wait to become a pipeline.

`warm` is the other end: what a member does, and the words that it and this module exchange. Here is how many
there are. A member is started after a start has used one up, one at a time, once nothing has been started for
a while, and only while the host has memory to spare; where that becomes short, all of them go. A member
becomes one pipeline or ends. Nothing is kept on disk: members live on a connection to this process, and end
with it.
"""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

from sluicegate import faults
from sluicegate.provision import inplace, memory, processes, spec, warm
from sluicegate.provision.attempts import SHIM, Attempt, empty_environment, main_of

_log = structlog.get_logger(__name__)

_ENGINE = ("-m", "sluicegate.engine", "run")
_PRELOAD = ("sluicegate.engine.preload",)

_READY_WITHIN = 60.0
"""Seconds to import, which takes a third of one on an idle host; it is done at low priority."""
_CLAIMED_WITHIN = 1.0
"""Seconds for a member to answer, which takes a millisecond; a start does not wait for one that hangs."""
_LOOK_EVERY = 2.0
"""Seconds between looks at the members and at the memory."""
_LONGEST_PAUSE = 300.0
"""Seconds at most before it is tried again to start a member where the last one came to nothing."""

SPARE_BYTES = 500_000_000
"""What the host must have available for members to be kept: pipelines come first."""
MEMBER_BYTES = 100_000_000
"""What must be available beyond that for one more, which takes less."""


@dataclass(frozen=True)
class PoolSettings:
    """How many members a pool has, and what they are."""

    command: Sequence[str]
    """The program that they become: a command line of our own Python."""
    preload: Sequence[str] = ()
    """Modules that they import."""
    size: int = 2
    quiet: float = 1.0
    """Seconds since the last start before a member is started: those that start come first."""
    patience: float = 10.0
    """Seconds since a member was made after which the next one is, however many starts come."""


class Lost(Exception):
    """A member is gone or does not answer; it has not started anything and never will."""


class Member:
    """A process that waits to become a pipeline."""

    def __init__(self, control: socket.socket, told: bytes) -> None:
        """Know it by the connection to it and by what it told first."""
        self._control = control
        self.pid, self._started = map(int, told.split())

    @property
    def lives(self) -> bool:
        """Whether it has said nothing, as it should while it waits."""
        try:
            self._control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def data_bytes(self) -> int:
        """What it has of the memory that a pipeline's limit counts."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        return int(status.split("VmData:")[1].split()[0]) * 1024 if "VmData:" in status else 0

    async def ready(self) -> str:
        """Wait until it is ready; return what is wrong with it, if anything is."""
        said = await self._hear(_READY_WITHIN)
        return "" if said == warm.READY else said.decode(errors="replace")

    async def take_on(self, attempt: Attempt) -> None:
        """Let it carry out an attempt, as a launcher does; raise Lost where it has not begun."""
        try:
            _hand_over(self._control, attempt)
            if await self._hear(_CLAIMED_WITHIN) != warm.CLAIMED:
                raise Lost("it speaks out of turn")
            faults.reach(faults.POOL_ASKED)
            self._control.send(warm.GO)
        except OSError as error:
            raise Lost(str(error)) from error
        self._control.close()
        faults.reach(faults.POOL_TOLD)

    def end(self) -> None:
        """End it; it is not a pipeline and will not become one."""
        self._control.close()
        processes.end(self.pid, self._started, signal.SIGKILL)

    async def _hear(self, within: float) -> bytes:
        return await _hear(self._control, within)


async def _hear(control: socket.socket, within: float) -> bytes:
    """Wait for the next message; raise Lost where none comes."""
    try:
        async with asyncio.timeout(within):
            said = await asyncio.get_running_loop().sock_recv(control, warm.LONGEST)
    except TimeoutError:
        raise Lost("it does not answer") from None
    except OSError as error:
        raise Lost(str(error)) from error
    if not said:
        raise Lost("it has ended")
    return said


class Pool:
    """The members of one worker."""

    def __init__(self, settings: PoolSettings, available: Callable[[], int] = memory.available_bytes) -> None:
        """Keep nothing yet; `available` says how much memory the host has to spare."""
        self._settings = settings
        self._available = available
        self._members: list[Member] = []
        self._starting = 0
        self._changed = asyncio.Event()
        self._quiet_since = self._not_before = self._overdue = -math.inf
        self._pause = _LOOK_EVERY
        self.served = 0
        """How many attempts members have taken on."""

    @property
    def ready(self) -> int:
        """How many members wait."""
        return len(self._members)

    @property
    def pids(self) -> list[int]:
        """The process numbers of those."""
        return [member.pid for member in self._members]

    @contextlib.contextmanager
    def start_in_progress(self) -> Iterator[None]:
        """Start no member for as long as the block runs, and a while after."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self._quiet_since = monotonic()
            self._changed.set()

    async def take_on(self, attempt: Attempt) -> bool:
        """Let a member carry out an attempt; False where none can, Lost where the one that could is gone."""
        member = self._suitable(attempt)
        if member is None:
            return False
        try:
            await member.take_on(attempt)
        except BaseException:
            member.end()
            raise
        self.served += 1
        return True

    async def keep(self) -> None:
        """Have the members that there should be, until this is cancelled; then none."""
        try:
            while True:
                self._changed.clear()
                self._release()
                if self._wanting():
                    await self._add()
                    continue
                # Not `wait_for`, which in Python 3.11 loses a cancellation that comes with the change.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._until_next_look()):
                        await self._changed.wait()
        finally:
            self._end(self._members)

    def _suitable(self, attempt: Attempt) -> Member | None:
        """Take a live member that can become what the attempt wants, if there is one."""
        self._release()
        limit = attempt.told["limits"]["data_bytes"] or math.inf
        if not spec.starts_as_usual(attempt.told):
            return None
        for member in self._members:
            if member.data_bytes < limit:
                self._members.remove(member)
                return member
        return None

    def _release(self) -> None:
        """Let those go that are gone, and all where memory is short."""
        short = self._available() < SPARE_BYTES
        self._end([member for member in self._members if short or not member.lives])

    def _end(self, members: Sequence[Member]) -> None:
        for member in tuple(members):
            self._members.remove(member)
            member.end()

    def _wanting(self) -> bool:
        """Say whether a member is to be started now."""
        return (
            self.ready < self._settings.size
            and monotonic() >= max(self._next_turn(), self._not_before)
            and self._available() >= SPARE_BYTES + MEMBER_BYTES
        )

    def _next_turn(self) -> float:
        """When starts have left room, or have been let go first for long enough."""
        quiet = math.inf if self._starting else self._quiet_since + self._settings.quiet
        return min(quiet, self._overdue)

    def _until_next_look(self) -> float:
        until_turn = self._next_turn() - monotonic()
        return (
            until_turn if self.ready < self._settings.size and 0 < until_turn < _LOOK_EVERY else _LOOK_EVERY
        )

    async def _add(self) -> None:
        """Start a member and wait until it is ready."""
        with contextlib.ExitStack() as undone:
            try:
                control = await _started(self._settings)
                undone.callback(control.close)
                member = Member(control, await _hear(control, _READY_WITHIN))
                undone.callback(member.end)
                if problem := await member.ready():
                    raise Lost(problem)
            except (Lost, OSError, RuntimeError, subprocess.SubprocessError) as error:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                self._not_before = monotonic() + self._pause
                _log.warning("no warm engine", reason=str(error), again_in_seconds=self._pause)
                return
            undone.pop_all()
            self._pause = _LOOK_EVERY
            self._overdue = monotonic() + self._settings.patience
            self._members.append(member)


async def _started(settings: PoolSettings) -> socket.socket:
    """Start a member in a thread; where nobody waits for it any more, its connection is closed."""
    starting = asyncio.get_running_loop().run_in_executor(None, _start, settings)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_close)
        raise


def _close(started: "asyncio.Future[socket.socket]") -> None:
    if not started.cancelled() and started.exception() is None:
        started.result().close()


def of(command: Sequence[str], size: int) -> Pool | None:
    """Make the pool for a program; None where it is not the built-in engine, or nothing shall be ready."""
    if not size or tuple(command[:4]) != (sys.executable, *_ENGINE):
        return None
    return Pool(PoolSettings(command, _PRELOAD, size))


def _start(settings: PoolSettings) -> socket.socket:
    """Start a member behind its shim, with an environment of which nothing is any pipeline's."""
    code = [settings.command[0], "-c", main_of("warm"), *settings.preload, inplace.ROOM]
    with contextlib.ExitStack() as ends:
        told, tells = os.pipe()
        for end in (told, tells):
            ends.callback(os.close, end)
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends.enter_context(theirs)
        with contextlib.ExitStack() as undone:
            undone.enter_context(control)
            control.setblocking(False)
            subprocess.run(
                ["/bin/sh", str(SHIM), "", "", warm.PLACEHOLDER, "", *code],
                stdin=theirs.fileno(),
                stdout=tells,
                stderr=told,
                cwd="/",
                env=empty_environment(settings.command),
                start_new_session=True,
                check=True,
            )
            undone.pop_all()
        return control


def _hand_over(control: socket.socket, attempt: Attempt) -> None:
    """Say what to become; the values of secrets go through memory that has no name."""
    order = {
        "folder": str(attempt.folder.root),
        "attempt": attempt.name,
        "labels": attempt.labels,
        "cookie": attempt.cookie,
        "carried": dict(attempt.carried),
    }
    log = attempt.folder.log.open(attempt.labels)
    told = os.memfd_create("order")
    try:
        os.pwrite(told, json.dumps(order).encode(), 0)
        socket.send_fds(control, [b"become"], [log, told])
    finally:
        os.close(log)
        os.close(told)

"""Ending a pipeline's processes: ask, then kill, then make sure. The caller has written the fence before."""

import asyncio
import signal
from collections.abc import Callable
from time import monotonic

from sluicegate.provision import ProvisionError, processes
from sluicegate.provision.folder import Control, Folder
from sluicegate.provision.launcher import boot_id

_POLL = 0.002

_KILL_BOUND = 10.0
"""Seconds for killed processes to be gone; the kernel needs longer only for one that hangs in a device."""

_EXIT_BOUND = 1.0
"""Seconds for a shim to write down what it has seen, and to end."""


async def end(folder: Folder, generation: int, *, grace: float) -> bool:
    """End every process up to a generation; say whether there can have been any."""
    control = folder.control
    recorded = control if control and control.generation <= generation else None
    if not (recorded and recorded.alive) and not folder.attempted(generation):
        return False
    if recorded:
        await _ask(recorded, grace)
    await _make_sure(folder, generation, recorded)
    if recorded:
        await _until(lambda: not recorded.watched, within=_EXIT_BOUND)
    return True


async def exit_recorded(folder: Folder, control: Control) -> None:
    """Wait for the shim to write down the end it sees, unless the shim itself is gone."""
    await _until(
        lambda: folder.exit_status(control.attempt) is not None or not control.watched, within=_EXIT_BOUND
    )


async def _ask(control: Control, grace: float) -> None:
    """Send TERM to the program and its group, and wait as long as the grace allows."""
    if control.alive:
        processes.end_group(control.pid, control.started, signal.SIGTERM)
        await _until(lambda: not control.alive, within=grace)


async def _make_sure(folder: Folder, generation: int, recorded: Control | None) -> None:
    """Kill whatever is left until nothing is found and nobody holds the lock."""
    deadline = monotonic() + _KILL_BOUND
    while True:
        left = await asyncio.to_thread(_find, folder, generation, recorded)
        for pid, started in left:
            processes.end(pid, started, signal.SIGKILL)
        current = folder.control
        newer = current is not None and current.generation > generation
        if not left and (newer or folder.lock_is_free()):
            return
        if monotonic() > deadline:
            numbers = sorted(pid for pid, _ in left)
            raise ProvisionError(f"a process of the pipeline does not end: {numbers or 'it holds the lock'}")
        await asyncio.sleep(_POLL)


def _find(folder: Folder, generation: int, recorded: Control | None) -> set[tuple[int, int]]:
    """Find every process that is to end, as (number, start)."""
    found = set(processes.belonging(folder.pipeline_id, generation))
    if recorded and recorded.boot_id == boot_id():
        found.update(processes.left_in_session(recorded.pid, folder.root))
    return found


async def _until(condition: Callable[[], bool], *, within: float) -> None:
    """Wait for a condition, or for so many seconds; what follows finds out which it was."""
    deadline = monotonic() + within
    while not condition() and monotonic() < deadline:
        await asyncio.sleep(_POLL)

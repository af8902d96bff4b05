"""Finding and ending processes on this host, by what a recycled process number cannot imitate.

A process is named by number, start time and boot, never by number alone. Those that a deployment has left
behind are found by the cookie in their environment, or by being in the session of its process while they
hold a file of the pipeline's folder.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from sluicegate.provision.launcher import COOKIE, started_ticks


def end(pid: int, started: int, signum: int) -> None:
    """Signal exactly the process that began then; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if started_ticks(pid) == started:
                signal.pidfd_send_signal(descriptor, signum)
        finally:
            os.close(descriptor)


def end_group(pid: int, started: int, signum: int) -> None:
    """Signal the group that this process leads, while it is alive (its number cannot be another's then)."""
    if started_ticks(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signum)


def belonging(pipeline_id: str, generation: int) -> Iterator[tuple[int, int]]:
    """Find the processes of a pipeline's deployments up to this generation, as (number, start)."""
    prefix = f"{COOKIE}={pipeline_id}/".encode()
    for pid in _numbers():
        found = _cookie_generation(pid, prefix)
        if found is not None and found <= generation:
            started = started_ticks(pid)
            if started is not None:
                yield pid, started


def left_in_session(session: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Find processes of a session that have a file of this folder open or work in it."""
    for pid in _numbers():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session and _touches(pid, f"{folder}/"):
                started = started_ticks(pid)
                if started is not None:
                    yield pid, started


def _numbers() -> Iterator[int]:
    own = os.getpid()
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own)


def _cookie_generation(pid: int, prefix: bytes) -> int | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's, and then not ours
        return None
    for variable in environment.split(b"\0") if prefix in environment else ():
        value = variable.removeprefix(prefix)
        if value != variable and value.isdigit():
            return int(value)
    return None


def _touches(pid: int, prefix: str) -> bool:
    root = f"/proc/{pid}"
    links = [f"{root}/cwd", *(f"{root}/fd/{name}" for name in os.listdir(f"{root}/fd"))]
    for link in links:
        with contextlib.suppress(OSError):
            if f"{os.readlink(link)}/".startswith(prefix):
                return True
    return False

"""Becoming a Python program in the process at hand, where a launcher would replace itself by it.

That saves an interpreter's start, a sixth of what a user waits for; and what has imported the program before
(`warm`) saves nearly all. The program finds what it would find after `exec`: this module makes up for what
`exec` and a new interpreter do, down to what the kernel shows of the process. What only counts from the start
of a process on cannot be made up for: who needs another of that is started by `exec`
(`spec.starts_as_usual`).

Imported by name like the launcher, with nothing of our package.
"""

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from sluicegate.provision import launcher
else:
    import launcher

ROOM = " " * 2048
"""Last argument of the process: room for the command line of the program."""

_PR_SET_DUMPABLE = 4
_AREAS = {"arguments": 45, "environment": 47}
"""Where `/proc/self/stat` says where they begin, counted from the state."""


def main(arguments: Sequence[str]) -> int:
    """Launch the attempt that the shim names; return the exit status of what did not become a program."""
    become_it = partial(become, carried=_carried())
    status = launcher.carry_out(Path(arguments[0]), arguments[1], become_it)
    if not status:
        run()
    return status


def _carried() -> dict[str, str]:
    """Take what was carried past the disk out of the environment, and out of what the kernel shows of it."""
    found = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(launcher.CARRIER)}
    at = 0
    for variable in Path("/proc/self/environ").read_bytes().split(b"\0"):
        if variable.startswith(launcher.CARRIER.encode()):
            overwrite("environment", b"\0" * len(variable), at)
        at += len(variable) + 1
    return found


def become(prepared: launcher.Prepared, carried: Mapping[str, str]) -> None:
    """Turn this very process into what a launcher would have replaced itself by."""
    spec = prepared.spec
    launcher.enter(prepared)
    # As an interpreter sets them at its start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(launcher.environment(spec, carried))
    # A change of user has made this process one that not even its own user may look into.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    overwrite("arguments", "\0".join(spec["argv"]).encode())
    sys.argv = spec["argv"][1:]


def run() -> None:
    """Run a Python command line as its interpreter would, in place."""
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def overwrite(area: str, text: bytes, at: int | None = None) -> None:
    """Change what the kernel shows of this process, at a place or from the beginning with nothing behind."""
    numbers = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = (int(number) for number in numbers[_AREAS[area] :][:2])
    if at is None:
        at, text = 0, text[: end - start - 1].ljust(end - start, b"\0")
    ctypes.memmove(start + at, text, len(text))

"""A member of the warm pool: imports what a program needs, waits, and becomes one deployment's process.

It is started by `pool` behind a shim of its own, and knows nothing of any pipeline until a worker tells it:

    member                                              worker
      │ "<pid> <started>", then "ready" or what is wrong ──►│   (imports in between, at low priority)
      │◄── what to become, with the log's descriptor        │
      │ tells its shim, takes the cookie ── "claimed" ─────►│
      │◄──────────────────────────────────────────── "go"   │
      └ judges, takes the lock, records itself, serves      ┘

The end of the connection before "go" ends the member, so nothing outlives a worker that has not become a
pipeline; and a member that is late or hangs can be killed, since without "go" it never serves. After "go" it
is a launcher like any other: found by its cookie, fenced by the lock and what it reads behind it (I2).

Like the launcher it is imported by name into a bare interpreter, with nothing of our package but the program.
"""

import contextlib
import importlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from sluicegate.provision import inplace, launcher
else:
    import inplace
    import launcher

CONTROL, CLAIM = 3, 4
"""Descriptors that the shim hands on: the connection to the worker, and the pipe that tells the shim."""

READY, CLAIMED, GO = b"ready", b"claimed", b"go"
PLACEHOLDER = "." * 60
"""Room for a cookie in the environment that the member is started with: an id, a slash and 20 digits."""
LONGEST = 4096
"""Bytes of a message."""

_CAP_SYS_NICE = 1 << 23
_LOW = 10
"""A tenth of what any other process gets: starts do not notice it, and a busy host still has members soon."""


def main(arguments: Sequence[str]) -> int:
    """Get ready, become what the worker says; return the exit status of what did not become a program."""
    control = socket.socket(fileno=CONTROL)
    control.send(f"{os.getpid()} {launcher.started_ticks(os.getpid())}".encode())
    control.send((_warm_up(arguments[:-1]) or READY.decode()).encode()[:LONGEST])
    order = _receive(control)
    if order is None:
        return 0
    _claim(order)
    if not _let_go(control):
        return launcher.FENCED
    control.close()
    for stream in (1, 2):
        os.dup2(order["log"], stream)
    launcher.reach("POOL_CLAIMED")
    become = partial(_become, carried=order["carried"])
    status = launcher.carry_out(Path(order["folder"]), order["attempt"], become)
    if not status:
        inplace.run()
    return status


def _warm_up(modules: Sequence[str]) -> str:
    """Import; say what keeps this process from becoming a program, if anything does."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with _yielding(usual):
        try:
            for module in modules:
                importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker logs it
            return f"{type(error).__name__}: {error}"
    inplace.overwrite("arguments", b"sluicegate warm engine")
    # No new privileges and the choice of processors count for one thread, and its heirs.
    if len(os.listdir("/proc/self/task")) > 1:
        return "the modules start threads"
    # Whoever opened a descriptor would go on to use its number, which is another's after the change.
    if any(os.path.exists(f"/proc/self/fd/{number}") for number in range(CLAIM + 1, 256)):
        return "the modules open files"
    return ""


@contextlib.contextmanager
def _yielding(usual: int) -> Iterator[None]:
    """Let everybody else go first, where this process may take its own priority back afterwards."""
    granted = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    may = int(granted, 16) & _CAP_SYS_NICE
    try:
        if may:
            os.setpriority(os.PRIO_PROCESS, 0, _LOW)
        launcher.let_session(_LOW)
        yield
    finally:
        if may:
            os.setpriority(os.PRIO_PROCESS, 0, usual)
        launcher.let_session(0)


def _receive(control: socket.socket) -> dict[str, Any] | None:
    """Wait for what to become, with the descriptor of its `log`; None where the worker has gone."""
    try:
        word, descriptors, _, _ = socket.recv_fds(control, LONGEST, 2)
    except OSError:
        return None
    if not word:
        return None
    log, told = descriptors
    order: dict[str, Any] = json.loads(os.pread(told, os.fstat(told).st_size, 0))
    os.close(told)
    return order | {"log": log}


def _let_go(control: socket.socket) -> bool:
    """Say that this is what it is to be now; return whether the worker wants it to go on."""
    try:
        control.send(CLAIMED)
        return control.recv(LONGEST) == GO
    except OSError:  # the worker has gone, and left something unread
        return False


def _claim(order: dict[str, Any]) -> None:
    """Tell the shim what this is to be, and be found by whoever looks for the deployment's processes."""
    os.write(CLAIM, "".join(f"{order[line]}\n" for line in ("folder", "attempt", "labels")).encode())
    os.close(CLAIM)
    name = f"{launcher.COOKIE}=".encode()
    at = Path("/proc/self/environ").read_bytes().index(name + PLACEHOLDER.encode()) + len(name)
    cookie = order["cookie"].encode().ljust(len(PLACEHOLDER), b"\0")
    # The first letter last: whoever reads meanwhile finds all of the cookie or none.
    inplace.overwrite("environment", cookie[1:], at + 1)
    inplace.overwrite("environment", cookie[:1], at)


def _become(prepared: launcher.Prepared, carried: Mapping[str, str]) -> None:
    launcher.reach("POOL_RECORDED")
    inplace.become(prepared, carried)

"""The last step before a pipeline's program: take the lock, read the fence once more, only then become it.

The shim runs `main` in a bare interpreter without our package (`python -I -S`), so this file needs the
standard library alone, and little of it. The provisioner imports the readers and writers of the folder from
here, which keeps one definition of what lies on the disk.

Why nothing else may start a program (I2): a worker can be frozen after any check that it made. Here every
check happens while the lock is held, the lock passes through `exec` to the program, and the record of the
process is on the disk before the program's first instruction:

    flock(lock) -> pipeline not removed, generation not fenced, not started -> control.json -> exec

A member of the warm pool (`warm`) comes by the same way; where this process is replaced by the program, that
one runs it in place.

A stop writes its fence first and looks for the lock's holder afterwards. So whichever of the two comes
second sees the other: a launcher that gets the lock late refuses, one that got it early is found and ended.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BUSY, FENCED, STARTED, CANNOT = 75, 76, 77, 73
"""Exit statuses of a launcher that refused; they mean this only while control.json names another attempt."""

COOKIE = "SLUICEGATE_DEPLOYMENT"
"""Environment variable `<pipeline id>/<generation>` by which every process of a deployment is found."""

CARRIER = "SLUICEGATE_CARRIED_"
"""Variables of ours that carry secret values from the worker, so that no file ever holds them."""

LOCK_PATIENCE = 2.0
"""Seconds to wait for the lock: who only looks holds it for microseconds, a dying process for longer."""

NICENESS = 10
"""By how much a pipeline gives way to the control plane, which needs little of the processors but must be at
hand when pipelines need all there is."""

_LOCK_POLL = 0.005
_PR_SET_NO_NEW_PRIVS = 38
_WHOLE = 0o600
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What trying again does not mend."""


class Refused(Exception):
    """This attempt must not or cannot start the program."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status


class Prepared(NamedTuple):
    """What may become a program: everything is judged, made and recorded."""

    spec: dict[str, Any]
    working: Path
    lock: int


def boot_id() -> str:
    """Name the current run of this machine's kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_ticks(pid: int) -> int | None:
    """Say when a process began, in clock ticks since boot; None where it is gone or waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else int(fields[18])


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file so that a reader has all of it or none; if it is durable, a machine without power too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _WHOLE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:  # a full disk, which what remains would help to fill
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is no file, or none that can be read as one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def fenced_generation(folder: Path) -> int:
    """Return the highest generation that a stop has fenced, 0 where none has.

    Each stop leaves a file named by its generation, so two stops at once cannot lower the fence.
    """
    try:
        return max((int(name) for name in os.listdir(folder / "fence") if name.isdigit()), default=0)
    except FileNotFoundError:
        return 0


def removal_marker(folder: Path) -> Path:
    """Return the file that says that the pipeline of this folder was deleted; it outlives the folder."""
    return folder.parent.parent / "removed" / folder.name


def still_lives(control: dict[str, Any]) -> bool:
    """Say whether the process that a control file names is alive."""
    same: bool = control["boot_id"] == boot_id() and started_ticks(control["pid"]) == control["started"]
    return same


def _judge(folder: Path, generation: int) -> None:
    """Raise Refused if this generation may not start a process (any more)."""
    control = read_object(folder / "control.json")
    recorded = control["generation"] if control else 0
    if removal_marker(folder).exists() or fenced_generation(folder) >= generation or recorded > generation:
        raise Refused(FENCED)
    if recorded == generation:
        raise Refused(STARTED)


def _take_lock(folder: Path, generation: int) -> int:
    """Return a descriptor that holds the pipeline's lock and will be inherited."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        raise Refused(FENCED) from None
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _judge(folder, generation)
            if time.monotonic() > deadline:
                raise Refused(BUSY) from None
            time.sleep(_LOCK_POLL)
            continue
        os.set_inheritable(descriptor, True)
        return descriptor


def _judge_locked(folder: Path, generation: int, lock: int) -> None:
    """Judge again with the lock in hand, where the answer can no longer change to our disadvantage."""
    _judge(folder, generation)
    held, named = os.fstat(lock), (folder / "lock").stat()
    if (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino):
        raise Refused(FENCED)  # the folder was removed and made again while we waited
    control = read_object(folder / "control.json")
    if control and still_lives(control):
        raise Refused(BUSY)  # an earlier program that closed its descriptor of the lock


def _own(path: Path, uid: int | None) -> None:
    """Give a tree to the pipeline's user, unless its top says that this was done before."""
    if uid is None or path.stat().st_uid == uid:
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), uid, uid, follow_symlinks=False)
    os.chown(path, uid, uid)


def _furnish(folder: Path, attempt: str, spec: dict[str, Any]) -> Path:
    """Make the working directory of this generation, and the storage where the pipeline has one."""
    runs = folder / "run"
    if runs.exists():
        import shutil

        shutil.rmtree(runs, ignore_errors=True)
    working = runs / str(spec["control"]["generation"])
    runs.mkdir(mode=spec["passage"], exist_ok=True)
    working.mkdir(mode=0o700)
    (folder / "attempts" / f"{attempt}.config").replace(working / "config.json")
    _own(working, spec["uid"])
    if spec["storage"]:
        storage = folder / "storage"
        storage.mkdir(mode=0o700, exist_ok=True)
        _own(storage, spec["uid"])
    return working


def _record(folder: Path, attempt: str, spec: dict[str, Any]) -> None:
    """Put on the disk which process this generation is, before it is that process."""
    shim = os.getppid()
    mine = {
        "attempt": attempt,
        "pid": os.getpid(),
        "started": started_ticks(os.getpid()),
        "boot_id": boot_id(),
        "shim_pid": shim,
        "shim_started": started_ticks(shim),
    }
    write_whole(folder / "control.json", json.dumps(spec["control"] | mine))


def _limit(kind: int, value: int, unit: str) -> None:
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (bound, bound))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"a limit of {bound} {unit} cannot be set: {error}") from error


def _restrain(limits: dict[str, Any]) -> None:
    """Apply the limits, all of which last through exec and cannot be taken back by an ordinary user."""
    _limit(resource.RLIMIT_CORE, 0, "bytes of a core file")
    _limit(resource.RLIMIT_NOFILE, limits["open_files"], "open files")
    if limits["data_bytes"]:
        _limit(resource.RLIMIT_DATA, limits["data_bytes"], "bytes of memory")
    if limits["cpus"]:
        os.sched_setaffinity(0, limits["cpus"])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no new privileges")


def let_session(niceness: int) -> None:
    """Set the niceness of this session, which is what counts where the kernel groups processes by it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def enter(prepared: Prepared) -> None:
    """Put on what else a program finds around it: its own user and directory, no descriptor but the lock."""
    uid = prepared.spec["uid"]
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # numbers that the C library keeps for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.closerange(3, prepared.lock)
    os.closerange(prepared.lock + 1, os.sysconf("SC_OPEN_MAX"))
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.chdir(prepared.working)


def environment(spec: dict[str, Any], carried: Mapping[str, str]) -> dict[str, str]:
    """Make the whole environment of the program, with the values that were carried past the disk."""
    whole: dict[str, str] = spec["environment"]
    return whole | {name: carried[carrier] for name, carrier in spec["carried"].items()}


def launch(folder: Path, attempt: str, become: Callable[[Prepared], None]) -> None:
    """Start the program of an attempt in this process, or raise Refused."""
    spec = read_object(folder / "attempts" / f"{attempt}.json")
    if spec is None:
        raise Refused(FENCED)  # swept away by a stop
    generation: int = spec["control"]["generation"]
    lock = _take_lock(folder, generation)
    _judge_locked(folder, generation, lock)
    reach("LOCK_TAKEN")
    try:
        working = _furnish(folder, attempt, spec)
        _restrain(spec["limits"])
        os.setsid()
        os.nice(NICENESS)
        let_session(NICENESS)
        _record(folder, attempt, spec)
        reach("RECORDED")
    except (ValueError, OverflowError) as error:  # what the configuration asks for is not possible here
        raise Refused(CANNOT, str(error)) from error
    except OSError as error:
        raise Refused(CANNOT if error.errno in HOPELESS else BUSY, str(error)) from error
    become(Prepared(spec, working, lock))


def carry_out(folder: Path, attempt: str, become: Callable[[Prepared], None]) -> int:
    """Launch, and say by the exit status (and a file with the reason) why not; 0 where it became."""
    try:
        launch(folder, attempt, become)
    except Refused as refusal:
        if str(refusal):
            with contextlib.suppress(OSError):
                (folder / "attempts" / f"{attempt}.reason").write_text(str(refusal))
        return refusal.status
    except (OSError, ValueError, OverflowError) as error:
        # Only to become is left to fail, and the control file says that we are the process.
        sys.stderr.write(f"the program could not be started: {error}\n")
        return 127
    return 0


def reach(point: str) -> None:
    """Reach a named point; our package is looked up only where a test wants that."""
    if "SLUICEGATE_FAULTS" in os.environ:
        sys.path.append(str(Path(__file__).parents[2]))
        from sluicegate import faults

        faults.reach(getattr(faults, point))


def _replace(prepared: Prepared) -> None:
    """Turn into the program; only an exception comes back."""
    spec = prepared.spec
    enter(prepared)
    os.execvpe(spec["argv"][0], spec["argv"], environment(spec, os.environ))


def main(arguments: Sequence[str]) -> int:
    """Launch the attempt that the shim names."""
    return carry_out(Path(arguments[0]), arguments[1], _replace)

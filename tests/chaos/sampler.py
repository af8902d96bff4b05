"""Sees which processes of pipelines live, over and over: the truth that statuses are held against.

    python -m tests.chaos.sampler HOME FILE

Runs as a process of its own, so that nothing that the harness does holds it up. It only reads /proc: a
process of a deployment is found by its cookie and counts if it leads its session, as the program does and
its children do not. A dying process has lost its environment before its lock, and so is not counted. Whether
the pipeline's lock is held is read from /proc/locks, which keeps nobody from taking it.

A line is written when something has changed, and each second: `at`, and by pipeline id a list of
`[pid, start in ticks, generation, whether the pipeline's lock is held]`.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from sluicegate.provision.launcher import COOKIE, started_ticks

EVERY = 0.04
AT_LEAST_EVERY = 1.0
STRANGE_AFTER = 60.0
"""Seconds after which what is no program is not looked at any more; a frozen launcher becomes one late."""

Live = dict[str, list[tuple[int, int, int, bool]]]


class Sampler:
    """Looks at the processes of one data folder."""

    def __init__(self, home: Path) -> None:
        """Know which."""
        self._pipelines = home / "pipelines"
        self._known: dict[int, tuple[int, str, int]] = {}
        self._strangers: dict[int, float] = {}

    def look(self) -> Live:
        """All that live now."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        for pid in self._leaders():
            started, pipeline, generation = self._known[pid]
            found.setdefault(pipeline, []).append((pid, started, generation))
        held = _held()
        return {
            pipeline: [(*one, self._lock(pipeline) in held) for one in sorted(live)]
            for pipeline, live in found.items()
        }

    def _leaders(self) -> list[int]:
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers = {pid: since for pid, since in self._strangers.items() if pid in numbers}
        found = [pid for pid in numbers if not self._is_strange(pid) and self._is_program(pid)]
        self._known = {pid: self._known[pid] for pid in found}
        return found

    def _is_strange(self, pid: int) -> bool:
        """Whether it has been something else for so long that it will not become a program any more."""
        return time.monotonic() - self._strangers.setdefault(pid, time.monotonic()) > STRANGE_AFTER

    def _is_program(self, pid: int) -> bool:
        """Whether it is the program of one of our pipelines, dying ones left out."""
        with suppress(OSError):
            cookie, started = _cookie(pid), started_ticks(pid)
            if cookie is None or started is None or os.getsid(pid) != pid:
                return False
            pipeline, _, generation = cookie.partition("/")
            if not generation.isdigit():  # a warm engine, which may become a program whenever it is asked
                self._strangers[pid] = time.monotonic()
                return False
            program = (started, pipeline, int(generation))
            if self._known.get(pid) == program or (self._pipelines / pipeline).is_dir():
                self._known[pid] = program
                self._strangers[pid] = time.monotonic()
                return True
        return False

    def _lock(self, pipeline: str) -> int | None:
        try:
            return (self._pipelines / pipeline / "lock").stat().st_ino
        except OSError:
            return None


def _cookie(pid: int) -> str | None:
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    for variable in environment.split(b"\0") if COOKIE.encode() in environment else ():
        name, _, value = variable.decode(errors="replace").partition("=")
        if name == COOKIE:
            return value
    return None


def _held() -> set[int]:
    """The files on which there is a lock."""
    found = set()
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "FLOCK" in words and "->" not in words:
            found.add(int(words[5].rsplit(":", 1)[1]))
    return found


def main(home: str, out: str) -> None:
    """Look until told to end."""
    over = False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    sampler, before, told = Sampler(Path(home)), None, 0.0
    with Path(out).open("a") as file:
        while not over:
            now = sampler.look()
            at = time.monotonic()
            if now != before or at - told > AT_LEAST_EVERY:
                file.write(json.dumps({"at": at, "live": now}) + "\n")
                file.flush()
                before, told = now, at
            time.sleep(EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The supervisor, with small real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import psutil
import pytest

from sluicegate.operate import supervisor
from sluicegate.operate.supervisor import NeverCameUp, Part, Supervisor

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
    "time.sleep(600)"
)


async def always(_: int) -> bool:
    return True


async def never(_: int) -> bool:
    return False


def part(code: str, *, log: Path | None = None, ready: supervisor.Ready = always, grace: float = 5.0) -> Part:
    return Part("part", [sys.executable, "-c", code], ready, log=log, grace=grace)


def has_written(log: Path) -> supervisor.Ready:
    async def ready(_: int) -> bool:
        return bool(log.exists() and log.read_text())

    return ready


async def soon(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_part_that_dies_is_started_again() -> None:
    told: list[str] = []
    reports: list[Mapping[str, int]] = []
    kept = Supervisor([[part(SLEEP)]], tell=told.append, changed=reports.append)
    await kept.up()
    first = kept.pids["part"]
    os.kill(first, signal.SIGKILL)
    await soon(lambda: kept.pids.get("part", first) != first)
    await soon(lambda: told == ["part was ended by SIGKILL; starting it again", "part is back"])
    second = kept.pids["part"]
    await kept.end()
    assert reports == [{"part": first}, {}, {"part": second}]
    assert kept.pids == {}
    assert not alive(second)


async def test_a_part_that_never_came_up_stops_it_all(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    broken = part("print('the reason'); raise SystemExit(3)", log=log, ready=never)
    kept = Supervisor([[broken]])
    with pytest.raises(NeverCameUp, match="part ended with exit code 3") as caught:
        await kept.run(asyncio.Event(), kept.keep)
    await kept.end()
    assert caught.value.tail == ["the reason"]


async def test_silence_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "UP_WITHIN", 0.2)
    kept = Supervisor([[part(SLEEP, ready=never)]])
    with pytest.raises(NeverCameUp, match="did not answer"):
        await kept.up()
    await kept.end()
    assert kept.pids == {}


async def test_a_program_that_does_not_exist_never_comes_up() -> None:
    kept = Supervisor([[Part("part", ["/nowhere/part"], always)]])
    with pytest.raises(NeverCameUp, match="cannot be started"):
        await kept.up()
    await kept.end()


async def test_a_part_that_does_not_end_is_killed(tmp_path: Path) -> None:
    log, told = tmp_path / "part.log", list[str]()
    stubborn = part(STUBBORN, log=log, ready=has_written(log), grace=0.2)
    kept = Supervisor([[stubborn]], tell=told.append)
    await kept.up()
    pid = kept.pids["part"]
    await kept.end()
    assert not alive(pid)
    assert told == ["part did not end within 0 s and is killed"]


async def test_groups_come_up_in_order_and_end_in_reverse() -> None:
    seen: list[str] = []

    def noted(name: str) -> Part:
        async def ready(_: int) -> bool:
            seen.append(name)
            return True

        return Part(name, [sys.executable, "-c", SLEEP], ready)

    reports: list[list[str]] = []
    kept = Supervisor(
        [[noted("first")], [noted("second")]], changed=lambda pids: reports.append(sorted(pids))
    )
    stop = asyncio.Event()

    async def then() -> None:
        stop.set()
        await kept.keep()

    await kept.run(stop, then)
    await kept.end()
    assert seen == ["first", "second"]
    assert reports == [["first"], ["first", "second"]]


async def test_a_second_request_ends_at_once(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    kept = Supervisor([[part(STUBBORN, log=log, ready=has_written(log), grace=60.0)]])
    await kept.up()
    ending: Awaitable[None] = asyncio.create_task(kept.end())
    await asyncio.sleep(0)
    kept.kill()
    async with asyncio.timeout(5):
        await ending


SUPERVISED = """
    import asyncio, sys
    from sluicegate.operate.supervisor import Part, Supervisor

    DETACHING = '''
    import subprocess, sys, time
    live = [sys.executable, "-c", "import time; time.sleep(600)"]
    print(subprocess.Popen(live, start_new_session=True).pid, flush=True)
    time.sleep(600)
    '''

    async def ready(pid):
        return True

    async def main():
        kept = Supervisor([[Part("part", [sys.executable, "-c", DETACHING.replace("    ", "")], ready)]])
        await kept.up()
        print(kept.pids["part"], flush=True)
        await kept.keep()

    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_children_die_with_the_supervisor_and_what_they_detached_lives() -> None:
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child, detached = sorted(int(process.stdout.readline()) for _ in range(2))
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            assert not alive(child)
            assert alive(detached)
        finally:
            os.kill(detached, signal.SIGKILL)


def test_logs_are_moved_out_of_the_way_and_forgotten_in_the_end(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for number in range(supervisor.KEPT_LOGS + 2):
        log.write_text(f"{number}")
        supervisor.rotate(log)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log.1", "x.log.2", "x.log.3"]
    assert (tmp_path / "x.log.1").read_text() == "4"
    assert supervisor.tail(tmp_path / "absent.log") == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL"), (-99, "was ended by signal 99")],
)
def test_how_a_process_ended_is_told(code: int, words: str) -> None:
    assert supervisor.ended(code) == words

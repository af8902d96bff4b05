"""A log's positions, bounds and followers, through rotations that are complete, interrupted or both."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.provision import LogPlace, logfile
from sluicegate.provision.folder import Folder
from sluicegate.provision.following import follow, follow_from, place
from sluicegate.provision.logfile import LogFile
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings

BOUND = 10_000


@pytest.fixture(params=["collapse", "truncate"])
def cutting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Both ways to cut the beginning off."""
    way: str = request.param
    if way == "truncate":
        monkeypatch.setattr(logfile, "_collapse", lambda descriptor, length: False)
    elif not _collapses(tmp_path):
        pytest.skip("this file system cannot collapse a range")
    return way


def _collapses(folder: Path) -> bool:
    with (folder / "trial").open("w+b") as file:
        file.write(b"x" * 100_000)
        file.flush()
        return logfile._collapse(file.fileno(), os.fstatvfs(file.fileno()).f_bsize)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A pipeline's folder with nothing in it but what a log needs."""
    found = Folder(tmp_path, str(uuid4()))
    found.furnish(0o700)
    return found


@pytest.fixture
def descriptor(folder: Folder) -> Iterator[int]:
    """What a process holds of its log for its whole life."""
    opened = folder.log.open("")
    yield opened
    os.close(opened)


def _lines(first: int, count: int) -> bytes:
    return b"".join(f"line {number:08d}\n".encode() for number in range(first, first + count))


def _everything(log: LogFile, position: int = 0) -> bytes:
    text = b""
    while True:
        position, data = log.read(position)
        if not data:
            return text
        text += data
        position += len(data)


@pytest.mark.usefixtures("cutting")
def test_positions_survive_rotations(folder: Folder, descriptor: int) -> None:
    log, written = folder.log, folder.log.path.read_bytes()
    for burst in range(8):
        position = log.end()
        assert position == len(written)
        data = _lines(burst * 1000, 1000)
        os.write(descriptor, data)
        written += data
        assert log.rotate(BOUND)
        assert log.end() == len(written)
        begin, read = log.read(position, 1_000)
        assert written[begin:].startswith(read)
    kept = _everything(log)
    assert written.endswith(kept)
    assert len(kept) >= BOUND
    assert sum(path.stat().st_size for path in folder.root.glob("pipeline.log*")) <= 3 * BOUND
    assert len(list(folder.root.glob("pipeline.log.*-*"))) == 1


def test_a_small_log_is_left_alone(folder: Folder, descriptor: int) -> None:
    os.write(descriptor, b"x\n")
    assert not folder.log.rotate(BOUND)


@pytest.mark.parametrize("cut", [False, True])
def test_a_rotation_that_was_killed_is_finished_or_undone(folder: Folder, descriptor: int, cut: bool) -> None:
    data = _lines(0, 500)
    before = folder.log.path.read_bytes()
    os.write(descriptor, data)
    content = before + data
    (folder.root / f"pipeline.log.0-{len(content)}.next").write_bytes(content)
    if cut:
        os.ftruncate(descriptor, 0)
    os.write(descriptor, b"after\n")
    assert folder.log.read(0) == (0, b"")  # nobody can know, for a moment
    folder.log.rotate(1_000_000)
    assert _everything(folder.log) == content + b"after\n"


def test_history_is_bounded_and_begins_with_a_whole_line(folder: Folder, descriptor: int) -> None:
    os.write(descriptor, _lines(0, 1000))
    begin, text = folder.log.history(limit=1_005)
    assert text.startswith(b"line ")
    assert text.endswith(b"line 00000999\n")
    assert begin + len(text) == folder.log.end()
    assert 990 <= len(text) <= 1_005
    assert folder.log.history(lines=3)[1] == _lines(997, 3)


@pytest.mark.usefixtures("cutting")
def test_lines_keep_their_numbers(folder: Folder, descriptor: int) -> None:
    """The first line is the one that says that the log is fresh."""
    log = folder.log
    for burst in range(8):
        os.write(descriptor, _lines(burst * 1000 + 1, 1000))
        assert log.rotate(BOUND)
        first = log.line(0)
        assert (first.number > 0) == (first.position > 0)
        for number in (max(1, first.number), (burst + 1) * 1000):
            found = log.line(number)
            assert found.number == number
            assert log.read(found.position)[1].startswith(_lines(number, 1))
        end = log.line(10**18)
        assert end == ((burst + 1) * 1000 + 1, log.end())
    os.write(descriptor, b"half a line")
    assert log.line(10**18) == end


@pytest.mark.parametrize("cut", [False, True])
def test_numbers_survive_a_rotation_that_was_killed(
    folder: Folder, descriptor: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(descriptor, _lines(1, 1000))
    folder.log.rotate(BOUND)
    os.write(descriptor, _lines(1001, 1000))
    target, name = (LogFile, "_settle") if cut else (logfile, "_collapse")
    monkeypatch.setattr(target, name, None)
    with pytest.raises(TypeError):
        folder.log.rotate(BOUND)
    monkeypatch.undo()
    for number in (max(1, folder.log.line(0).number), 1500, 2000):
        found = folder.log.line(number)
        assert found.number == number
        assert folder.log.read(found.position)[1].startswith(_lines(number, 1))


def test_the_lines_of_a_log_without_numbers_are_counted_from_where_it_is_kept(
    folder: Folder, descriptor: int
) -> None:
    os.write(descriptor, _lines(1, 1000))
    folder.log.rotate(BOUND)
    os.write(descriptor, _lines(1001, 1000))
    folder.log.rotate(BOUND)
    (folder.root / "pipeline.log.lines").unlink()
    first = folder.log.line(0)
    assert first.number == 1
    os.write(descriptor, _lines(2001, 1000))
    folder.log.rotate(BOUND)
    assert folder.log.line(10**18).position == folder.log.end()


async def _counted(folder: Folder, cursor: str) -> tuple[LogPlace, bytes]:
    found = await asyncio.to_thread(place, folder, "host", cursor)
    return found, b"".join([chunk async for chunk in follow_from(folder, found.start, forever=False)])


async def test_a_reader_goes_on_where_it_was(folder: Folder, descriptor: int) -> None:
    os.write(descriptor, _lines(1, 5))
    begin, text = await _counted(folder, "")
    assert (begin.seq, begin.gap) == (0, 0)
    assert text.endswith(_lines(1, 5))
    os.write(descriptor, _lines(6, 2) + b"unfinished")
    resumed, more = await _counted(folder, f"{begin.epoch}:6")
    assert (resumed.epoch, resumed.seq, resumed.gap) == (begin.epoch, 6, 0)
    assert more == _lines(6, 2)
    beyond, nothing = await _counted(folder, f"{begin.epoch}:{10**19}")
    assert (beyond.seq, beyond.gap, nothing) == (8, 0, b"")
    other, again = await _counted(folder, f"{uuid4()}:6")
    assert (other.epoch, other.seq, other.gap) == (begin.epoch, 0, 0)
    assert again == text + more


async def test_a_reader_is_told_what_it_has_missed(folder: Folder, descriptor: int) -> None:
    epoch = place(folder, "host", "").epoch
    for burst in range(4):
        os.write(descriptor, _lines(burst * 1000 + 1, 1000))
        folder.log.rotate(BOUND)
    found, text = await _counted(folder, f"{epoch}:100")
    assert found.gap == found.seq - 100 > 0
    assert text.startswith(_lines(found.seq, 1))
    assert text.endswith(_lines(4000, 1))


async def test_a_counted_stream_ends_where_lines_are_missing(folder: Folder, descriptor: int) -> None:
    os.write(descriptor, _lines(1, 10))
    begin = await asyncio.to_thread(place, folder, "host", "")
    chunks = follow_from(folder, begin.start, forever=True)
    assert (await anext(chunks)).endswith(_lines(10, 1))
    for burst in range(4):
        os.write(descriptor, _lines(burst * 1000 + 11, 1000))
        folder.log.rotate(BOUND)
    assert [chunk async for chunk in chunks] == []


async def test_a_reader_that_comes_before_the_log(tmp_path: Path) -> None:
    folder = Folder(tmp_path, str(uuid4()))
    begin = await asyncio.to_thread(place, folder, "host", "")
    assert (begin.start, begin.seq, begin.gap) == (0, 0, 0)
    chunks = follow_from(folder, begin.start, forever=True)
    reading = asyncio.create_task(anext(chunks))
    folder.furnish(0o700)
    folder.log.say("hello", "")
    text = await reading
    await chunks.aclose()
    again, lines = await _counted(folder, f"{begin.epoch}:1")
    assert (again.epoch, again.seq, again.gap) == (begin.epoch, 1, 0)
    assert lines.count(b"\n") == 1
    assert text.startswith(b"[manager]")


async def _collect(folder: Folder, last: bytes) -> bytes:
    text = b""
    async for chunk in follow(folder, forever=True):
        text += chunk
        if last in text:
            break
    return text


async def test_a_follower_loses_nothing_while_the_log_is_rotated(
    folder: Folder, descriptor: int, cutting: str
) -> None:
    count = 20_000
    following = asyncio.create_task(_collect(folder, b"the end\n"))

    def write() -> None:
        for first in range(0, count, 100):
            os.write(descriptor, _lines(first, 100))
            if cutting == "truncate":  # this way may lose what is written just then, so it must not be
                folder.log.rotate(20_000)

    writer = asyncio.create_task(asyncio.to_thread(write))
    while not writer.done():
        folder.log.rotate(200_000)
        await asyncio.sleep(0)
    os.write(descriptor, b"the end\n")
    text = await following
    if b"rotated away" not in text:
        assert [line for line in text.splitlines() if line.startswith(b"line")] == _lines(
            0, count
        ).splitlines()
    assert cutting == "truncate" or b"rotated away" not in text


async def test_a_writer_that_never_pauses_loses_no_line(
    folder: Folder, descriptor: int, cutting: str
) -> None:
    if cutting == "truncate":
        pytest.skip("copying and truncating can lose a line that is written in between")
    bound, stop, written, kept = 100_000, threading.Event(), 0, b""
    position = folder.log.end()

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            if (
                written * len(_lines(0, 1)) - len(kept) < bound * 3 // 2
            ):  # more would not be kept for the reader
                os.write(descriptor, _lines(written, 1))
                written += 1

    writer = asyncio.create_task(asyncio.to_thread(write))
    for _ in range(30):
        while not folder.log.rotate(bound):
            await asyncio.sleep(0)
        kept += _everything(folder.log, position + len(kept))
    stop.set()
    await writer
    kept += _everything(folder.log, position + len(kept))
    assert kept == _lines(0, written)


async def test_following_ends_when_the_pipeline_is_removed(folder: Folder, descriptor: int) -> None:
    os.write(descriptor, b"whole\npart")
    chunks = follow(folder, forever=True)
    text = await anext(chunks)
    assert text.endswith(b"whole\n")
    folder.mark_removed()
    text = b"".join([chunk async for chunk in chunks])
    assert text.startswith(b"part\n[manager]")
    assert b"deleted" in text


async def test_a_log_that_begins_later_is_announced_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, str(uuid4()))
    chunks = follow(folder, forever=True)
    assert b"fresh start" in await anext(chunks)
    folder.furnish(0o700)
    folder.log.say("hello", "")
    text = await anext(chunks)
    assert text.count(b"\n") == 1
    assert b"hello" in text
    await chunks.aclose()


async def test_the_provisioner_bounds_the_logs_of_live_processes(
    home: Path, deployment_of: Any, process: ProcessProvisioner
) -> None:
    deployment = deployment_of(mode="count")
    await process.provision(deployment, "token")
    log = Folder(home, deployment.pipeline_id).log
    text = b""

    async def read() -> None:
        nonlocal text
        async for chunk in process.logs(deployment.pipeline_id):
            text += chunk
            if b"line 00019999" in chunk:
                return

    reading = asyncio.create_task(read())
    small = ProcessProvisioner(home, "host-1", ["true"], ProcessSettings(log_bytes=600_000))
    while not reading.done():
        await small.rotate_logs()
        await asyncio.sleep(0)
    await reading
    await small.rotate_logs()
    assert log.path.stat().st_size <= 600_000
    numbers = [int(line.split()[1]) for line in text.splitlines() if line.startswith(b"line")]
    # The stub may write more than is kept before anybody reads; what is read later has no gap and no double.
    if b"rotated away" not in text and _collapses(home):
        assert numbers == list(range(numbers[0], 20_000))

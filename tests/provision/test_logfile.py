"""A log's positions, bounds and followers, through rotations that are complete, interrupted or both."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sluicegate.provision import logfile
from sluicegate.provision.folder import Folder
from sluicegate.provision.following import follow
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

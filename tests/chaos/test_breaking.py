"""What the harness breaks things with does what it says, and what it sees with sees."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from sluicegate.provision.launcher import COOKIE
from tests.chaos import disk, ending, shim
from tests.chaos.proxy import Proxy
from tests.chaos.sampler import Sampler
from tests.conftest import eventually

ANSWER = b"x" * 10_000


@asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """A server that answers everybody with the same and hangs up; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def asked(port: int) -> bytes:
    """Ask once, and read all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"?\n")
        return await reader.read(-1)
    finally:
        writer.close()


async def test_a_relay_passes_everything_on() -> None:
    async with answering() as port, Proxy(port) as proxy:
        assert [await asked(proxy.port) for _ in range(3)] == [ANSWER] * 3
        assert proxy.cuts == 0


async def test_a_relay_cuts_in_the_middle_of_an_answer_and_then_goes_on() -> None:
    async with answering() as port, Proxy(port) as proxy:
        proxy.cut_after(100)
        with suppress(ConnectionResetError):  # what had arrived may have gone with the connection
            assert len(await asked(proxy.port)) <= 100
        assert proxy.cuts == 2
        assert await asked(proxy.port) == ANSWER


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The library that is loaded before all others."""
    built = shim.built(tmp_path)
    if built is None:
        pytest.skip("there is no C compiler")
    return built


LOOKING = """
import os, sys, time
for line in sys.stdin:
    before = time.monotonic()
    os.fsync(os.open(sys.argv[1], os.O_RDONLY))
    print(time.time(), time.monotonic() - before, flush=True)
"""


def test_a_process_has_the_clock_and_the_disk_that_we_give_it(tmp_path: Path, library: Path) -> None:
    control = shim.Control(tmp_path / "control")
    with subprocess.Popen(
        [sys.executable, "-c", LOOKING, str(tmp_path)],
        env={**os.environ, **control.environment(library)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def look() -> tuple[float, float]:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            at, took = process.stdout.readline().split()  # type: ignore[union-attr]
            return float(at), float(took)

        before, _ = look()
        control.clock(3_600)
        assert look()[0] >= before + 3_600
        control.clock(-3_600)
        assert look()[0] < before
        control.clock(0)
        assert look()[0] >= before
        control.disk(0.2)
        assert look()[1] >= 0.2


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "small"
    if reason := disk.mounted(folder, 1 << 20):
        pytest.skip(reason)
    yield folder
    disk.unmounted(folder)


def test_a_disk_is_full_until_it_is_freed(small: Path) -> None:
    disk.fill(small)
    with pytest.raises(OSError, match="No space") as refused:
        (small / "more").write_bytes(bytes(4_096))
    assert refused.value.errno == errno.ENOSPC
    disk.free(small)
    (small / "more").write_bytes(bytes(4_096))


LOCKING = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
time.sleep(600)
"""
IDLING = "import time; time.sleep(600)"


@contextmanager
def program(home: Path, pipeline: str, generation: int, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like that of a deployment."""
    folder = home / "pipelines" / pipeline
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, COOKIE: f"{pipeline}/{generation}"}
    command = [sys.executable, "-c", code, str(folder / "lock")]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_the_sampler_sees_programs_and_their_locks(tmp_path: Path) -> None:
    pipeline, other = str(uuid4()), str(uuid4())
    sampler = Sampler(tmp_path)

    async def seen(expected: dict[str, list[tuple[int, int, bool]]]) -> bool:
        live = sampler.look().items()
        return {name: [(pid, n, held) for pid, _, n, held in found] for name, found in live} == expected

    with program(tmp_path, pipeline, 7, LOCKING) as first, program(tmp_path, other, 1, IDLING) as second:
        unlocked = {other: [(second.pid, 1, False)]}
        await eventually(lambda: seen({pipeline: [(first.pid, 7, True)], **unlocked}))
        with program(tmp_path, pipeline, 8, IDLING) as third:
            two = sorted([(first.pid, 7, True), (third.pid, 8, True)])
            await eventually(lambda: seen({pipeline: two, **unlocked}))
        first.kill()
        await eventually(lambda: seen(unlocked))
    assert sampler.look() == {}


async def test_what_is_left_of_a_deleted_pipeline_is_found(tmp_path: Path) -> None:
    gone, left = str(uuid4()), str(uuid4())
    (tmp_path / "trash").mkdir()
    (tmp_path / "trash" / f"{left}.1").mkdir()
    with program(tmp_path, left, 1, IDLING) as process:

        async def found() -> bool:
            labels = [f"schedule/{left}/yearly", "schedule/another/yearly"]
            there = ending.remains(tmp_path, [gone, left], labels)
            return there == {
                left: [
                    f"process {process.pid}",
                    str(tmp_path / "pipelines" / left),
                    str(tmp_path / "trash" / f"{left}.1"),
                    f"schedule/{left}/yearly",
                ]
            }

        await eventually(found)

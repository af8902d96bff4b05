"""Reading blocks with their digests: some threads read and hash ahead of who takes the blocks, in order.

To hash is what a checkpoint costs beyond a copy. Python lets other threads run while it reads and hashes.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_128_digest

from sluicegate.engine.checkpoints.manifest import BLOCK, digest_of

TOGETHER = 16
"""Blocks that one thread reads at once: 4 MiB."""
THREADS = 2
"""Steps go on meanwhile, and have processors of their own where there are more."""
AHEAD = 2 * THREADS
"""Runs that are read before they are taken."""


class Short(Exception):
    """A file has fewer blocks than it should."""


@dataclass(frozen=True)
class Run:
    """Blocks that lie one after the other in a file."""

    file: Path
    offset: int
    count: int


Block = tuple[str, memoryview]
"""A digest, and what it is of."""

Digest = Callable[[int, memoryview], str]
"""Gives the digest of the block at an offset."""


def anew(_: int, block: memoryview) -> str:
    """Hash the block, whatever was read there before."""
    return digest_of(block)


class Unchanged:
    """Digests of a file that is read again and again, taken anew only of blocks that have changed.

    That is told by a fingerprint, which costs a tenth of a digest. It has 128 bits, and nobody outside of
    this process knows its seed, so that no data can be made to look like what was there before.
    """

    def __init__(self) -> None:
        """Know no block yet."""
        self._seed = secrets.randbits(64)
        self._known: dict[int, tuple[bytes, str]] = {}

    def digest(self, offset: int, block: memoryview) -> str:
        """Give the digest of a block; several threads may ask."""
        fingerprint = xxh3_128_digest(block, self._seed)
        known = self._known.get(offset)
        if known is None or known[0] != fingerprint:
            known = self._known[offset] = fingerprint, digest_of(block)
        return known[1]


def blocks(runs: Iterable[Run], digest: Digest = anew) -> Generator[list[Block]]:
    """Give the blocks of each run; raises Short or OSError where one cannot be read."""
    coming: deque[Future[list[Block]]] = deque()
    with ThreadPoolExecutor(THREADS, "checkpoint") as pool:
        try:
            for run in runs:  # not all at once: what is read ahead is held in memory
                coming.append(pool.submit(_read, run, digest))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _read(run: Run, digest: Digest) -> list[Block]:
    wanted = run.count * BLOCK
    with run.file.open("rb", buffering=0) as file:
        data = os.pread(file.fileno(), wanted, run.offset)
    if len(data) < wanted:
        raise Short(f"{run.file} ends before the blocks that it should have")
    view = memoryview(data)
    pieces = [(at, view[at : at + BLOCK]) for at in range(0, wanted, BLOCK)]
    return [(digest(run.offset + at, piece), piece) for at, piece in pieces]

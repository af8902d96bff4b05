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

DigestFunction = Callable[[int, memoryview], str]
"""Gives the digest of the block at an offset."""


def uncached(_: int, block: memoryview) -> str:
    """Hash the block, whatever was read there before."""
    return digest_of(block)


class DigestCache:
    """Digests of a file that is read again and again, taken anew only of blocks that have changed.

    That is told by a Poly1305 tag, at a fraction of what a digest costs. Key and tags never leave this
    process, so not even data that is made for it can look like what was there before, but with a chance of
    one in 2^88.
    """

    def __init__(self) -> None:
        """Know no block yet."""
        self._key = secrets.token_bytes(32)
        self._known: dict[int, tuple[bytes, str]] = {}

    def digest(self, offset: int, block: memoryview) -> str:
        """Give the digest of a block; several threads may ask."""
        # Not imported by an engine that starts, which it would hold up.
        from cryptography.hazmat.primitives.poly1305 import Poly1305

        tag = Poly1305.generate_tag(self._key, block)
        known = self._known.get(offset)
        if known is None or known[0] != tag:
            known = self._known[offset] = tag, digest_of(block)
        return known[1]


def blocks(runs: Iterable[Run], digest: DigestFunction = uncached) -> Generator[list[Block]]:
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


def _read(run: Run, digest: DigestFunction) -> list[Block]:
    wanted = run.count * BLOCK
    with run.file.open("rb", buffering=0) as file:
        data = os.pread(file.fileno(), wanted, run.offset)
    if len(data) < wanted:
        raise Short(f"{run.file} ends before the blocks that it should have")
    view = memoryview(data)
    pieces = [(at, view[at : at + BLOCK]) for at in range(0, wanted, BLOCK)]
    return [(digest(run.offset + at, piece), piece) for at, piece in pieces]

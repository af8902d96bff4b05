"""Reading blocks with their digests: some threads read and hash ahead of who takes the blocks, in order.

To hash is what a checkpoint costs beyond a copy. Python lets other threads run while it reads and hashes.
"""

import os
from collections import deque
from collections.abc import Generator, Iterable
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


def blocks(runs: Iterable[Run]) -> Generator[list[Block]]:
    """Give the blocks of each run; raises Short or OSError where one cannot be read."""
    coming: deque[Future[list[Block]]] = deque()
    with ThreadPoolExecutor(THREADS, "checkpoint") as pool:
        try:
            for run in runs:  # not all at once: what is read ahead is held in memory
                coming.append(pool.submit(_read, run))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _read(run: Run) -> list[Block]:
    wanted = run.count * BLOCK
    with run.file.open("rb", buffering=0) as file:
        data = os.pread(file.fileno(), wanted, run.offset)
    if len(data) < wanted:
        raise Short(f"{run.file} ends before the blocks that it should have")
    view = memoryview(data)
    pieces = [view[at : at + BLOCK] for at in range(0, wanted, BLOCK)]
    return [(digest_of(piece), piece) for piece in pieces]

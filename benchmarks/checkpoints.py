"""Checkpoints: a first one and later ones of a large table, beside a copy of the same bytes."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from benchmarks.measure import Figure, Times
from benchmarks.starting import Bare, engine_running
from benchmarks.stepping import PIECE, Engine

ROWS = 24_000_000
"""Of some forty bytes each, most of which do not compress."""
ROUNDS = 5
PROGRAM = "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, x DOUBLE, name VARCHAR);"
COPIED = 1 << 20
"""Bytes that the floor copies at once."""
LOOK_EVERY = 0.02
"""Seconds between looks: the engine that is asked is the one that is measured."""


class Measured:
    """An engine, its folder, and the numbers of its rows."""

    def __init__(self, bare: Bare) -> None:
        """Begin with no row."""
        self._engine = Engine(bare)
        self._checkpoints = bare.storage / "checkpoints"
        self.live = next((bare.storage / "live").glob("*.duckdb"))
        self._rows = 0

    def grow(self, count: int) -> None:
        """Insert so many rows more."""
        end = self._rows + count
        for at in range(self._rows, end, PIECE):
            values = f"SELECT n, random(), md5(n::varchar) FROM range({at}, {min(at + PIECE, end)}) AS r(n)"
            self._engine.ask("GET", f"/query?sql={quote(f'INSERT INTO t {values}')}")
        self._rows = end

    def replace(self) -> None:
        """Replace one row in a hundred, all over the table."""
        values = f"SELECT n * 100, random(), 'another' FROM range({self._rows // 100}) AS r(n)"
        self._engine.ask("GET", f"/query?sql={quote(f'INSERT INTO t {values}')}")

    def checkpoint(self) -> float:
        """Make one; returns the milliseconds from the request until it is said to be there."""
        began = time.perf_counter()
        number = json.loads(self._engine.ask("POST", "/checkpoint"))["checkpoint_sequence_number"]
        while json.loads(said := self._engine.ask("GET", "/checkpoint_status"))["success"] != number:
            if json.loads(said)["failure"] is not None:
                raise RuntimeError(said.decode())
            time.sleep(LOOK_EVERY)
        return (time.perf_counter() - began) * 1e3

    def fold(self) -> float:
        """Have DuckDB fold its log, which a checkpoint begins with; returns how long it took."""
        return _timed(lambda: self._engine.ask("POST", "/start_compaction"))

    def forget(self) -> None:
        """Have no checkpoint, so that the next one is the first."""
        for file in (*self._checkpoints.glob("*.json"), *(self._checkpoints / "segments").iterdir()):
            file.unlink()

    def stored(self) -> int:
        """Return the bytes of all blocks that are kept for checkpoints."""
        return sum(file.stat().st_size for file in (self._checkpoints / "segments").iterdir())


def measure(_: None) -> list[Figure]:
    """Measure on an engine without a control plane; a copy of the same bytes is made in turn."""
    first, written, copied = [], [], []
    more, spread = _Later(), _Later()
    with engine_running(PROGRAM) as bare:
        engine = Measured(bare)
        engine.grow(ROWS)
        engine.checkpoint()
        for _round in range(ROUNDS):
            engine.forget()
            first.append(engine.checkpoint())
            written.append(engine.stored() / 1e6)
            copied.append(_timed(lambda: _copy(engine.live, bare.storage / "copy")))
            more.measure(engine, lambda: engine.grow(ROWS // 100))
            spread.measure(engine, engine.replace)
        size = engine.live.stat().st_size
    whole = f"a first checkpoint of {size / 1e6:.0f} MB"
    return [
        Figure(whole, first, "copying the same bytes", copied, [Times(1.5)]),
        *more.figures("a checkpoint after 1 % more rows", first, written),
        *spread.figures("a checkpoint after 1 % of the rows all over", first, written),
    ]


class _Later:
    """Checkpoints after something has changed."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.folding: list[float] = []
        self.megabytes: list[float] = []

    def measure(self, engine: Measured, change: Callable[[], None]) -> None:
        """Change something, then make a checkpoint."""
        change()
        before = engine.stored()
        self.folding.append(engine.fold())
        self.took.append(self.folding[-1] + engine.checkpoint())
        self.megabytes.append((engine.stored() - before) / 1e6)

    def figures(self, what: str, first: list[float], written: list[float]) -> list[Figure]:
        """Return how long they took and how much they wrote, beside the first."""
        return [
            Figure(what, self.took, "the first", first, [Times(0.25)]),
            Figure(f"{what}, of it: DuckDB folds its log", self.folding),
            Figure(f"{what}: written", self.megabytes, "by the first", written, [Times(0.25)], unit="MB"),
        ]


def _copy(source: Path, target: Path) -> None:
    """Copy a file down to the disk."""
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(COPIED):
            writer.write(piece)
        writer.flush()
        os.fsync(writer.fileno())
    target.unlink()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3

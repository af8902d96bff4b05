"""Steps: what a batch costs the views as their table grows, and what a row does, on an engine of its own."""

import json
import statistics
import time
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import quote

from benchmarks.measure import Figure, Times
from benchmarks.starting import TOLERANT, Bare, engine_running

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
BATCH = 100
GROUPS = 1000
ROUNDS = 30
SINGLE = 300
PIECE = 1_000_000
"""Rows that one INSERT makes, since they pass through the memory of the engine."""
PROGRAM = """
CREATE TABLE t (id BIGINT NOT NULL, k BIGINT NOT NULL, x BIGINT NOT NULL) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW linear AS SELECT id, x + 1 AS y FROM t WHERE k < 500;
CREATE MATERIALIZED VIEW sums AS SELECT k, COUNT(*) AS c, SUM(x) AS s FROM t GROUP BY k;
"""
KEYED = """
CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, k BIGINT NOT NULL, x BIGINT NOT NULL);
CREATE MATERIALIZED VIEW sums AS SELECT k, COUNT(*) AS c, SUM(x) AS s FROM t GROUP BY k;
"""


class Cost(NamedTuple):
    """Medians in milliseconds of one batch, with so many rows in the table."""

    rows: int
    linear_ms: float
    sums_ms: float
    step_ms: float


class Costs(NamedTuple):
    """Figures, and what they grow by."""

    figures: list[Figure]
    points: list[Cost]


class Engine:
    """An engine that is asked over one connection."""

    def __init__(self, bare: Bare) -> None:
        """Connect at the first request."""
        self._connection = HTTPConnection(bare.address, timeout=600)
        self._headers = {"Authorization": f"Bearer {bare.token}"}

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Ask, and return the body. Raises RuntimeError where the answer is no success."""
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:200]!r}")
        return said

    def grow(self, begin: int, end: int) -> None:
        """Insert the rows with these numbers."""
        for at in range(begin, end, PIECE):
            rows = f"range({at}, {min(at + PIECE, end)}) AS r(n)"
            self.ask("GET", f"/query?sql={quote(f'INSERT INTO t SELECT n, n % {GROUPS}, n FROM {rows}')}")

    def push(self, first: int, count: int) -> float:
        """Insert rows with a request; returns how long it took, in milliseconds."""
        rows = (
            json.dumps({"insert": {"id": n, "k": n % GROUPS, "x": n}}) for n in range(first, first + count)
        )
        body = "\n".join(rows).encode()
        began = time.perf_counter()
        self.ask("POST", "/ingress/t?format=json", body)
        return (time.perf_counter() - began) * 1e3

    def spent(self) -> dict[str, float]:
        """Return the milliseconds that all steps have spent so far: on each view, and as a whole."""
        metrics = {one["key"]: one["values"] for one in json.loads(self.ask("GET", "/metrics?format=json"))}
        found = {"step": _sum(metrics["step_latency_seconds"])}
        for view in ("linear", "sums"):
            found[view] = _sum(
                [one for one in metrics["engine_view_seconds"] if one["labels"]["view"] == view]
            )
        return found


def measure(_: None) -> Costs:
    """Measure batches over ever larger tables, then single rows."""
    taken: dict[int, dict[str, list[float]]] = {}
    with engine_running(PROGRAM, TOLERANT) as bare:
        engine = Engine(bare)
        engine.push(0, BATCH)  # what is imported with the first input
        before = 0
        for size in SIZES:
            engine.grow(before, size)
            taken[size] = _batches(engine, size)
            before = size
    figures = [_against_the_smallest(view, taken) for view in ("linear", "sums")]
    medians = {
        size: {key: statistics.median(samples[key]) for key in samples} for size, samples in taken.items()
    }
    points = [Cost(size, found["linear"], found["sums"], found["step"]) for size, found in medians.items()]
    with engine_running(KEYED, TOLERANT) as bare:
        engine = Engine(bare)
        samples = [engine.push(number % 50, 1) for number in range(SINGLE)]
    figures.append(Figure("a request with one row, by key, under sums by group", samples[10:]))
    return Costs(figures, points)


def _batches(engine: Engine, size: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {"linear": [], "sums": [], "step": []}
    for number in range(ROUNDS + 1):
        before = engine.spent()
        engine.push(size + number * BATCH, BATCH)
        after = engine.spent()
        if number:
            for key, found in samples.items():
                found.append(after[key] - before[key])
    return samples


def _against_the_smallest(view: str, taken: dict[int, dict[str, list[float]]]) -> Figure:
    words = {"linear": "a filter with an expression", "sums": "sums by group"}[view]
    most, least = max(taken), min(taken)
    measured, floor = taken[most][view], taken[least][view]
    name = f"{words}: {BATCH} rows more, over {most:.0e} rows"
    return Figure(name, measured, f"the same over {least:.0e} rows", floor, [Times(1.5)])


def _sum(values: list[dict[str, Any]]) -> float:
    return sum(float(one["value"]) * 1e3 for one in values if one["labels"]["part"] == "sum")

"""Ingest: rows of a batch per second over HTTP, beside bare DuckDB that reads the same bytes from a file."""

import csv
import io
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb

from benchmarks.measure import Aim, AtMost, Figure, Share
from benchmarks.starting import TOLERANT, Bare, engine_running

ROWS = 10_000
BATCHES = 20
"""Sent in a row, since the next is read while the ones before it are written."""
ROUNDS = 9
SINGLE = 300
COLUMNS = {
    "id": "BIGINT",
    "name": "VARCHAR",
    "price": "DOUBLE",
    "quantity": "INTEGER",
    "day": "DATE",
    "moment": "TIMESTAMP",
    "paid": "BOOLEAN",
    "exact": "DECIMAL(10,2)",
}
TYPED = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
PROGRAM = f"CREATE TABLE sales ({TYPED});"
LOOK_EVERY = 0.001
"""Seconds."""
BULK, WHOLE = 0.5, 0.7
"""What share of bare DuckDB's rate text and Parquet should reach."""


class Case(NamedTuple):
    """Bytes, how they are sent, and the query that has DuckDB read them from the file."""

    measure: str
    body: bytes
    parameters: str
    query: str
    aim: float


def measure(_: None) -> list[Figure]:
    """Measure bulk in every format, and requests of a single row, on engines without a control plane."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        cases = list(_cases(home))
        with engine_running(PROGRAM) as engine:
            sender = _Sender(engine)
            figures = [_bulk(case, home, sender) for case in cases]
            figures.append(_single(home, sender, "a request with one row", [AtMost(5)]))
        with engine_running(PROGRAM, TOLERANT) as engine:
            sender = _Sender(engine)
            figures.append(_single(home, sender, "a request with one row, answered after its commit", []))
            figures += [_one_by_one(case, home, sender) for case in cases]
        return figures


def _single(home: Path, sender: "_Sender", name: str, aims: Sequence[Aim]) -> Figure:
    """Send one row, in turn with what bare DuckDB takes for it and for a count of steps in a transaction."""
    row = _row(0)
    body = json.dumps({"insert": row}).encode()
    values = ", ".join(f"'{value}'" for value in row.values())
    with _bare(home) as bare:
        bare.execute("CREATE TABLE steps AS SELECT 0 AS number")

        def transaction() -> None:
            for statement in (
                "BEGIN",
                f"INSERT INTO sales VALUES ({values})",
                "UPDATE steps SET number = number + 1",
                "COMMIT",
            ):
                bare.execute(statement)

        sent, bare_took = [], []
        for _ in range(SINGLE):
            began = time.perf_counter()
            token = sender.send("format=json", body)
            sent.append((time.perf_counter() - began) * 1e3)
            sender.until_processed(token)
            bare_took.append(_timed(transaction) * 1e3)
    return Figure(name, sent[10:], "bare DuckDB's transaction of it", bare_took[10:], aims)


def _bulk(case: Case, home: Path, sender: "_Sender") -> Figure:
    """Send some batches in a row, until all are processed, and have DuckDB read as many, in turn."""

    def send() -> None:
        tokens = [sender.send(case.parameters, case.body) for _ in range(BATCHES)]
        sender.until_processed(tokens[-1])

    return _rates(case, home, send, BATCHES, [Share(case.aim)])


def _one_by_one(case: Case, home: Path, sender: "_Sender") -> Figure:
    """The same with each batch sent once the one before it is committed."""
    slow = case._replace(measure=f"{case.measure}, each batch answered after its commit")
    return _rates(slow, home, lambda: sender.send(case.parameters, case.body), 1, [])


def _rates(case: Case, home: Path, send: Callable[[], object], batches: int, aims: Sequence[Aim]) -> Figure:
    file = home / "batch"
    file.write_bytes(case.body)
    with _bare(home) as bare:

        def read() -> None:
            for _ in range(batches):
                bare.execute(case.query.format(file=file))

        sent, bare_read = [], []
        for _ in range(ROUNDS + 1):
            sent.append(batches * ROWS / _timed(send))
            bare_read.append(batches * ROWS / _timed(read))
    floor = "bare DuckDB reading the same bytes"
    return Figure(case.measure, sent[1:], floor, bare_read[1:], aims, unit="rows/s")


def _bare(home: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(home / f"{time.monotonic_ns()}.db"), config={"threads": 2})
    connection.execute(f"CREATE TABLE sales ({TYPED})")
    return connection


class _Sender:
    """One client over one connection."""

    def __init__(self, engine: Bare) -> None:
        self._connection = HTTPConnection(engine.address)
        self._headers = {"Authorization": f"Bearer {engine.token}"}

    def send(self, parameters: str, body: bytes) -> str:
        """Send a batch; returns its completion token."""
        return str(self._ask("POST", f"/ingress/sales?{parameters}", body)["token"])

    def until_processed(self, token: str) -> None:
        """Wait until all of a batch is in the table."""
        while self._ask("GET", f"/completion_status?token={token}")["status"] != "complete":
            time.sleep(LOOK_EVERY)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {said[:200]!r}")
        return dict(json.loads(said))


def _cases(folder: Path) -> Iterator[Case]:
    rows = [_row(number) for number in range(ROWS)]
    shape = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items()) + "}"
    events = "\n".join(json.dumps({"insert": row}) for row in rows).encode()
    query = f"read_json('{{file}}', format = 'nd', columns = {{{{insert: 'STRUCT({TYPED})'}}}})"
    yield Case(
        "rows of JSON, insert_delete",
        events,
        "format=json",
        f'INSERT INTO sales SELECT unnest("insert") FROM {query}',
        BULK,
    )
    listed = json.dumps(rows).encode()
    query = f"read_json('{{file}}', format = 'array', columns = {{{shape}}})"
    raw = "format=json&update_format=raw&array=true"
    yield Case("rows of JSON, a list of raw rows", listed, raw, f"INSERT INTO sales FROM {query}", BULK)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [str(value).lower() if isinstance(value, bool) else value for value in row.values()] for row in rows
    )
    query = f"read_csv('{{file}}', header = false, auto_detect = false, columns = {{{shape}}})"
    yield Case("rows of CSV", text.getvalue().encode(), "format=csv", f"INSERT INTO sales FROM {query}", BULK)
    file = folder / "sales.parquet"
    (folder / "sales.json").write_bytes(listed)
    source = f"read_json('{folder / 'sales.json'}', format = 'array', columns = {shape})"
    duckdb.execute(f"COPY (FROM {source}) TO '{file}'")
    query = "INSERT INTO sales FROM read_parquet('{file}')"
    yield Case("rows of Parquet", file.read_bytes(), "format=parquet", query, WHOLE)


def _row(number: int) -> dict[str, Any]:
    chance = random.Random(number)
    return {
        "id": number,
        "name": f"name {number}",
        "price": chance.random() * 1000,
        "quantity": chance.randrange(10**9),
        "day": f"2024-02-{number % 28 + 1:02}",
        "moment": f"2024-02-{number % 28 + 1:02} 12:13:14.123",
        "paid": number % 2 == 0,
        "exact": f"{number}.25",
    }


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

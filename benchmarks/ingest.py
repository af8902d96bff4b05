"""Ingest: rows of a batch per second over HTTP, beside bare DuckDB that reads the same bytes from a file."""

import csv
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb

from benchmarks.measure import AtMost, Figure, Share
from benchmarks.starting import Bare, engine_running

ROWS = 10_000
ROUNDS = 15
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
    """Measure bulk in every format, and requests of a single row, on an engine without a control plane."""
    with TemporaryDirectory() as folder, engine_running(PROGRAM) as engine:
        send = _sender(engine)
        figures = [_bulk(case, Path(folder), send) for case in _cases(Path(folder))]
        return [*figures, _single(Path(folder), send)]


def _single(folder: Path, send: Callable[[str, bytes], None]) -> Figure:
    """Send one row, in turn with what bare DuckDB takes for it and for a count of steps in a transaction."""
    row = _row(0)
    body = json.dumps({"insert": row}).encode()
    values = ", ".join(f"'{value}'" for value in row.values())
    with duckdb.connect(str(folder / "single.db"), config={"threads": 2}) as bare:
        bare.execute(f"CREATE TABLE sales ({TYPED})")
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
            sent.append(_timed(lambda: send("format=json", body)) * 1e3)
            bare_took.append(_timed(transaction) * 1e3)
    floor = "bare DuckDB's transaction of it"
    return Figure("a request with one row", sent[10:], floor, bare_took[10:], [AtMost(5)])


def _bulk(case: Case, folder: Path, send: Callable[[str, bytes], None]) -> Figure:
    """Send a batch and have DuckDB read it, in turn."""
    file = folder / "batch"
    file.write_bytes(case.body)
    with duckdb.connect(str(folder / f"{time.monotonic_ns()}.db"), config={"threads": 2}) as bare:
        bare.execute(f"CREATE TABLE sales ({TYPED})")
        sent, read = [], []
        for _ in range(ROUNDS + 1):
            sent.append(ROWS / _timed(lambda: send(case.parameters, case.body)))
            read.append(ROWS / _timed(lambda: bare.execute(case.query.format(file=file))))
    floor = "bare DuckDB reading the same bytes"
    return Figure(case.measure, sent[1:], floor, read[1:], [Share(case.aim)], unit="rows/s")


def _sender(engine: Bare) -> Callable[[str, bytes], None]:
    connection = HTTPConnection(engine.address)
    headers = {"Authorization": f"Bearer {engine.token}"}

    def send(parameters: str, body: bytes) -> None:
        connection.request("POST", f"/ingress/sales?{parameters}", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {said[:200]!r}")

    return send


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

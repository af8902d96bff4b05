"""Answers the question of the demo with DuckDB alone, for comparison; `sluicegate demo` runs it as a process.

It reads the same file with DuckDB's own CSV reader and prints the rows as JSON.
"""

import json
import sys
import tempfile
import zipfile

import duckdb

from sluicegate.cli.flights import COLUMNS, DELAYS, MISSING, TABLE, archive


def answers() -> list[dict[str, object]]:
    """Run the question on the whole file."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive()) as files:
        path = files.extract(files.namelist()[0], folder)
        database = duckdb.connect()
        flights = database.read_csv(path, header=True, columns=dict(COLUMNS), na_values=MISSING)
        flights.create(TABLE)
        result = database.sql(f"SELECT * FROM ({DELAYS}) ORDER BY carrier")
        return [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]


if __name__ == "__main__":
    json.dump(answers(), sys.stdout)

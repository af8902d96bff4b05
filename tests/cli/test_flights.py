"""The demo's data and its judgement."""

import copy
import io
import json

import pytest
from rich.console import Console

from sluicegate.cli import demo, flights
from sluicegate.operate import flights_reference


@pytest.fixture(scope="module")
def reference() -> list[dict[str, object]]:
    return flights_reference.answers()


def test_rows_are_typed_and_missing_cells_are_null() -> None:
    batch = next(flights.batches(1_000))
    rows = [item["insert"] for item in json.loads(batch.body)]
    assert batch.rows == len(rows) == 1_000
    assert rows[0]["time_hour"] == "2013-01-01 10:00:00"
    assert (rows[0]["arr_delay"], rows[0]["carrier"]) == (11, "UA")
    assert any(row["arr_delay"] is None for row in rows)


def test_the_reference_reads_every_flight(reference: list[dict[str, object]]) -> None:
    total = sum(row["flights"] for row in reference if isinstance(row["flights"], int))
    assert total == flights.ROWS


def test_the_demo_believes_only_equal_answers(reference: list[dict[str, object]]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=200)
    assert demo.check(copy.deepcopy(reference), console) == 0
    wrong = copy.deepcopy(reference)
    wrong[3]["longest"] = 0
    assert demo.check(wrong[:-1], console) == 1
    assert "pipeline None" in out.getvalue()
    assert "'longest': 0" in out.getvalue()

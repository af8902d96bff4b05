"""Bulk: many records at once become what they become one by one, or are told in the same words."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.engine.batch import Batch
from sluicegate.engine.formats import config, csvbulk, jsonbulk
from sluicegate.engine.formats.collecting import Collector
from tests.engine.formats.conftest import Tables

PROGRAM = """
CREATE TABLE t (
    id INT NOT NULL, tiny TINYINT, big BIGINT, flag BOOLEAN, ratio DOUBLE, half REAL,
    exact DECIMAL(12, 3), wide DECIMAL(38, 10), text VARCHAR, required VARCHAR NOT NULL DEFAULT 'none',
    day DATE, clock TIME, moment TIMESTAMP, mark UUID, "Odd" INT DEFAULT 7
);
"""
NUMBERS = st.sampled_from(
    (
        "0 -0 1 -1 127 128 -128 -129 2147483647 2147483648 9223372036854775807 9223372036854775808 1e2 1.0 "
        + "1.5 -1.5e-3 123456789.123456 0.1 1e400 1e-400 5e-324 1.7976931348623157e308 16777217 "
        + "0.30000001192092896 12345678901234567890123456789 999999999.9995 0.0005 00 +1 .5 5. 0x10 nan "
        + "Infinity 1_000 \u0661"
    ).split()
)
TEXTS = st.one_of(
    NUMBERS,
    st.text(max_size=5),
    st.sampled_from(
        [
            *("", " ", "NULL", "null", "true", "TRUE", "tRue", "yes", "1", " 1 ", 'a"b', "a,b", "},{", "\n"),
            *(
                "2024-02-29",
                "2023-02-29",
                "2024-2-9",
                "0001-01-01",
                "0000-01-01",
                "9999-12-31",
                "10000-01-01",
                "epoch",
            ),
            *("infinity", "2024-02-29 01:02:03", "2024-02-29T01:02:03Z", "2024-02-29 01:02:03.1234567"),
            *(
                "2024-02-29T01:02:03+02:00",
                "2024-02-29 01",
                "2024-02-29 01:02",
                "01:02:03",
                "1:2:3",
                "25:00:00",
            ),
            *(
                "0190a0c2-0000-7000-8000-000000000000",
                "0190A0C20000700080000000000000AA",
                "0190",
                "\u0000",
                "\\",
            ),
            *(" 2024-02-29", "2024-02-29 ", "2024/02/29", "20240229", "24:00:00", "01:02", "1.5.1", "--1"),
        ]
    ),
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    # What is usual in each column, so that most bodies are regular.
    "id": st.integers(0, 99),
    "tiny": st.integers(-128, 127),
    "big": st.integers(-(1 << 63), (1 << 63) - 1),
    "flag": st.booleans(),
    "ratio": st.floats(allow_nan=False, allow_infinity=False),
    "half": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "exact": st.decimals(-999999, 999999, places=3).map(str),
    "wide": st.decimals(-999999, 999999, places=10).map(str),
    "text": st.text(max_size=8),
    "required": st.text(min_size=1, max_size=3),
    "day": st.dates().map(str),
    "clock": st.times().map(str),
    "moment": st.datetimes().map(str),
    "mark": st.uuids().map(str),
    "Odd": st.integers(-9, 9),
}
NAMES = list(KINDS)
COPIES = 40
"""How often the rows are repeated, so that a body is large enough for the bulk way."""


@pytest.fixture(scope="module")
def one() -> Iterator[Tables]:
    """Make the table once."""
    made = Tables(PROGRAM)
    yield made
    made.database.close()


class Raw(str):
    """A token of JSON as it is."""


def token(value: Any) -> str:
    """Return a value as JSON."""
    return str(value) if isinstance(value, Raw) else json.dumps(value)


def cells(name: str) -> st.SearchStrategy[Any]:
    """Return what a column may be given: mostly what is usual, now and then anything."""
    odd = st.none() | TEXTS | NUMBERS.map(Raw) | st.booleans() | st.just(Raw('"\\ud800"'))
    return st.one_of(*[KINDS[name]] * 6, odd)


KEYS = st.sampled_from([NAMES, NAMES[::-1], ["ID", *NAMES[1:]], [*NAMES, "more"], NAMES[:4], ["id", "odd"]])
USUAL = st.fixed_dictionaries(KINDS)
ANY = st.fixed_dictionaries({name: cells(name) for name in NAMES})


@st.composite
def records(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]]]:
    """Draw the keys of some records, and the records."""
    rows = draw(st.lists(USUAL, min_size=1, max_size=3)) + draw(st.lists(ANY, max_size=1))
    return draw(KEYS), rows


def told(batch: Batch) -> list[tuple[str, Any]]:
    """Return what is wrong, without where."""
    return [(error["description"].rpartition(" (event")[0], error["field"]) for error in batch.errors.kept]


def rows_of(*batches: Batch) -> list[tuple[Any, ...]]:
    """Return the rows of batches."""
    tables = [run.rows for batch in batches for run in batch.runs if run.rows is not None]
    return [tuple(row[f"c{i}"] for i in range(len(NAMES))) for table in tables for row in table.to_pylist()]


def same(one: Tables, whole: bytes, singles: list[bytes], written_as: str, **settings: Any) -> Batch:
    """Read a body, and its records one by one; hold the outcomes equal."""
    batch = one.read("t", whole, written_as, **settings)
    alone = [one.read("t", single, written_as, **settings) for single in singles]
    assert repr(rows_of(batch)) == repr(rows_of(*alone) * COPIES)
    assert batch.errors.count == sum(part.errors.count for part in alone) * COPIES
    assert told(batch)[: sum(part.errors.count for part in alone)] == [
        e for part in alone for e in told(part)
    ]
    return batch


@settings(deadline=None, max_examples=40)
@given(records(), st.sampled_from(["raw", "insert_delete"]))
def test_lines_of_json(
    one: Tables, drawn: tuple[list[str], list[dict[str, Any]]], update_format: str
) -> None:
    keys, rows = drawn
    lines = [_json(keys, row, update_format) for row in rows]
    same(one, b"\n".join(lines * COPIES), lines, "json", update_format=update_format)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=4), st.sampled_from(["pandas", "datagen"])
)
def test_moments_as_numbers(one: Tables, values: list[int], flavor: str) -> None:
    rows = [{"id": 1, "day": value, "moment": value} for value in values]
    lines = [_json(list(row), row, "raw") for row in rows]
    whole = b"\n".join(lines * 20 * COPIES)
    batch = one.read("t", whole, "json", update_format="raw", json_flavor=flavor)
    alone = [one.read("t", line, "json", update_format="raw", json_flavor=flavor) for line in lines]
    assert rows_of(batch) == rows_of(*alone) * 20 * COPIES


@settings(deadline=None, max_examples=40)
@given(st.lists(USUAL, min_size=1, max_size=3), st.lists(ANY, max_size=1), st.sampled_from([15, 9]))
def test_rows_of_csv(one: Tables, rows: list[dict[str, Any]], odd: list[dict[str, Any]], width: int) -> None:
    lines = [_csv(list(row.values())[:width]) for row in [*rows, *odd]]
    same(one, b"".join(lines * COPIES), lines, "csv")


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("update_format", ["raw", "insert_delete"])
def test_what_is_regular_is_read_in_bulk(one: Tables, update_format: str, array: bool) -> None:
    row = {
        "id": 1,
        "ratio": 1.5,
        "text": 'a"\\\u00e4',
        "moment": "2024-02-29 01:02:03",
        "exact": "1.5",
        "more": 1,
    }
    found = [_json(list(row), row, update_format).decode()] * 500
    body = (f"[{', '.join(found)}]" if array else "\n".join(found)).encode()
    collected = _collected(
        one,
        lambda table, collector: jsonbulk.read(
            body, table, config.Json(update_format, array=array), collector
        ),
    )
    assert collected.records == 500
    assert rows_of(collected) == rows_of(one.read("t", found[0], update_format=update_format)) * 500


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("update_format", ["raw", "insert_delete"])
@pytest.mark.parametrize("segment", [1, 300, 1 << 20])
def test_lists_that_are_read_at_once_keep_the_order_of_the_body(
    one: Tables, monkeypatch: pytest.MonkeyPatch, segment: int, update_format: str, array: bool
) -> None:
    monkeypatch.setattr(jsonbulk, "SEGMENT", segment)
    rows = [{"id": i, "text": f"text {i}", "day": f"2024-02-{i % 29 + 1:02}"} for i in range(500)]
    found = [_json(list(row), row, update_format).decode() for row in rows]
    body = (f"[{', '.join(found)}]" if array else "\n".join(found)).encode()
    reading = config.Json(update_format, array=array)
    collected = _collected(one, lambda table, collector: jsonbulk.read(body, table, reading, collector))
    assert [first for first, *_ in rows_of(collected)] == list(range(500))
    singles = [one.read("t", single, update_format=update_format) for single in found]
    assert rows_of(collected) == rows_of(*singles)


@pytest.mark.parametrize("body", ["1,1,1,true\n", "1,1,1,true,1.5,1.5,1.500,1,a\n", '1,"NULL",,TRUE\n'])
def test_regular_csv_is_read_in_bulk(one: Tables, body: str) -> None:
    padded = body.strip() + "," * (14 - body.count(",")) + "\n"
    padded = ",".join(["x" if i == 9 else cell for i, cell in enumerate(padded.strip().split(","))]) + "\n"
    collected = _collected(
        one, lambda table, collector: csvbulk.read(padded.encode() * 500, table, config.Csv(), collector)
    )
    assert collected.records == 500
    assert rows_of(collected) == rows_of(one.read("t", padded, "csv")) * 500


@pytest.mark.parametrize(
    "line", [b"null", b"[1]", b'{"insert":null}', b"[" * 100_000, b'{"a":' * 100_000, b"\xff"]
)
def test_a_line_of_another_kind_is_told(one: Tables, line: bytes) -> None:
    good = b'{"insert":{"id":1}}\n'
    batch = one.read("t", good * 1000 + line)
    assert batch.errors.count in (0, 1, 2)
    assert batch.records == 1000


def _json(keys: list[str], row: dict[str, Any], update_format: str) -> bytes:
    by_name = {key.lower(): value for key, value in row.items()}
    text = "{" + ", ".join(f'"{key}": {token(by_name.get(key.lower(), 1))}' for key in keys) + "}"
    return (text if update_format == "raw" else f'{{"insert": {text}}}').encode()


def _csv(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _collected(one: Tables, read: Callable[[Any, Any], bool]) -> Batch:
    collector = Collector(one.table("t"), "default", one.database.cursor())
    assert read(one.table("t"), collector)
    return collector.finish()

"""Rows to bytes, held against a slow reference that writes cell by cell."""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats import binaries, config, writing
from sluicegate.engine.formats.config import JsonOutput
from sluicegate.engine.formats.writing import Message, TooHeavy, Writer

TYPES = {
    "whole": "BIGINT",
    "ratio": "DOUBLE",
    "exact": "DECIMAL(10,2)",
    "text, quoted": "VARCHAR",
    "bytes": "BLOB",
    "day": "DATE",
    "clock": "TIME",
    "moment": "TIMESTAMP",
    "list": "INTEGER[]",
    "row": "STRUCT(a VARCHAR, b DECIMAL(4,1)[])",
    "dict": "MAP(VARCHAR, BIGINT)",
}
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-(1 << 63), (1 << 63) - 1),
    "ratio": st.floats(),
    "exact": st.decimals(-99999999, 99999999, places=2),
    "text, quoted": st.text(),
    "bytes": st.binary(),
    "day": st.dates(),
    "clock": st.times(),
    "moment": st.datetimes(),
    "list": st.lists(st.none() | st.integers(-(1 << 31), (1 << 31) - 1)),
    "row": st.fixed_dictionaries(
        {
            "a": st.none() | st.text(),
            "b": st.none() | st.lists(st.decimals(-999, 999, places=1)),
        }
    ),
    "dict": st.dictionaries(st.text(), st.none() | st.integers(-9, 9)),
}
ARROW = pa.schema(
    {
        "whole": pa.int64(),
        "ratio": pa.float64(),
        "exact": pa.decimal128(10, 2),
        "text, quoted": pa.string(),
        "bytes": pa.binary(),
        "day": pa.date32(),
        "clock": pa.time64("us"),
        "moment": pa.timestamp("us"),
        "list": pa.list_(pa.int32()),
        "row": pa.struct({"a": pa.string(), "b": pa.list_(pa.decimal128(4, 1))}),
        "dict": pa.map_(pa.string(), pa.int64()),
        writing.WEIGHT: pa.int64(),
    }
)
ROW = st.fixed_dictionaries({name: st.none() | values for name, values in OF_TYPE.items()})
WEIGHTED = st.tuples(ROW, st.integers(-2, 2).filter(bool))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open one database for all tests."""
    with duckdb.connect() as connection:
        yield connection


def write(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, int]], written_as: str, **given: Any
) -> list[Message]:
    """Write rows, given with their weights."""
    table = pa.Table.from_pylist([{**row, writing.WEIGHT: weight} for row, weight in rows], ARROW)
    writer = Writer(config.writing("sink", written_as, given, tuple(TYPES)), TYPES)
    return list(writer.write(table, connection.cursor()))


def plain(value: Any, kind: str = "") -> Any:
    """Return the JSON that a value should be."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, int | str) else shown(value)


def shown(value: Any) -> str:
    """Return the text of a decimal, a date or a time: no zeros at the end of a second."""
    text = str(value)
    return text.rstrip("0") if "." in text and ":" in text else text


def expanded(rows: list[tuple[Any, int]]) -> list[tuple[Any, str]]:
    """Return each row as often as it should be written, with what happens to it."""
    gone = [(row, "delete") for row, weight in rows for _ in range(-weight)]
    return gone + [(row, "insert") for row, weight in rows for _ in range(weight)]


@settings(deadline=None, max_examples=50)
@given(st.lists(WEIGHTED, max_size=5))
def test_json_is_what_cell_by_cell_would_be(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, int]]
) -> None:
    messages = write(connection, rows, "json", buffer_size_records=2, array=True)
    found = [element for message in messages for element in json.loads(message.value or b"")]
    assert found == [{what: plain(row)} for row, what in expanded(rows)]
    assert sum(message.records for message in messages) == len(found)
    assert all(message.records <= 2 for message in messages)


@settings(deadline=None, max_examples=50)
@given(st.lists(WEIGHTED, max_size=5))
def test_csv_is_what_cell_by_cell_would_be(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, int]]
) -> None:
    names = ("whole", "exact", "text, quoted", "day", "clock", "moment")
    messages = write(connection, rows, "csv", buffer_size_records=3)
    text = b"".join(message.value or b"" for message in messages).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    places = [list(TYPES).index(name) for name in names]
    expected = expanded(rows)
    assert [[row[place] for place in places] for row in found] == [
        ["" if row[name] is None else shown(row[name]) for name in names] for row, _ in expected
    ]
    assert [row[-1] for row in found] == ["1" if what == "insert" else "-1" for _, what in expected]


def test_lines_follow_one_another(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [({"whole": 1}, 1), ({"whole": 2}, -1)]
    (message,) = write(connection, rows, "json")
    lines = [json.loads(line) for line in (message.value or b"").splitlines()]
    assert [list(line) for line in lines] == [["delete"], ["insert"]]
    assert lines[0]["delete"]["whole"] == 2


def test_debezium_has_a_key_and_one_record_a_message(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [({"whole": 1, "day": None}, 1), ({"whole": 2}, -1)]
    gone, come = write(connection, rows, "json", update_format="debezium", key_fields=["WHOLE"])
    assert gone.key is not None
    assert come.value is not None
    assert json.loads(gone.key) == {"payload": {"whole": 2}}
    payload = json.loads(come.value)["payload"]
    assert (payload["op"], payload["after"]["whole"]) == ("c", 1)
    assert set(json.loads(gone.value or b"")["payload"]) == {"op", "before"}


def test_snowflake_counts_on(connection: duckdb.DuckDBPyConnection) -> None:
    writer = Writer(
        config.writing("sink", "json", {"update_format": "snowflake"}, ("whole",)), {"whole": "BIGINT"}
    )
    rows = pa.table({"whole": [1, 2], writing.WEIGHT: [1, -1]})
    found = [
        json.loads(message.value or b"")
        for _ in range(2)
        for message in writer.write(rows, connection.cursor())
    ]
    assert [row["__seq_number"] for row in found] == [0, 1, 2, 3]
    assert [row["__action"] for row in found] == ["delete", "insert"] * 2
    assert len({row["__stream_id"] for row in found}) == 1


def test_redis_has_a_plain_key_and_deletes_by_it(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [({"whole": 1, "text, quoted": "a b"}, 1), ({"whole": 2, "text, quoted": "c"}, -1)]
    fields = ["whole", "text, quoted"]
    gone, come = write(connection, rows, "json", update_format="redis", key_fields=fields)
    assert (gone.key, gone.value, come.key) == (b"2:c", None, b"1:a b")


@pytest.mark.parametrize(
    ("flavor", "expected"),
    [
        ("default", {"bytes": [1, 255], "day": "2024-02-29", "moment": "2024-02-29 01:02:03"}),
        ("c_hex", {"bytes": "0x01ff"}),
        ("postgres", {"bytes": "\\x01ff"}),
        ("blockchain", {"bytes": "9p"}),
        ("pandas", {"day": "2024-02-29", "moment": 1709168523000}),
        ("debezium_postgres", {"day": 19782, "clock": 1_500_000, "moment": 1709168523000}),
        ("debezium_mysql", {"day": 19782, "clock": 1_500_000, "moment": "2024-02-29T01:02:03Z"}),
        ("kafka_connect_json_converter", {"day": 19782, "clock": 1500, "moment": 1709168523000}),
        ("snowflake", {"day": "2024-02-29", "moment": "2024-02-29T01:02:03+00:00"}),
    ],
)
def test_flavors_differ(connection: duckdb.DuckDBPyConnection, flavor: str, expected: dict[str, Any]) -> None:
    day, clock, moment = connection.execute(
        "SELECT DATE '2024-02-29', TIME '00:00:01.5', TIMESTAMP '2024-02-29 01:02:03'"
    ).fetchall()[0]
    row = {"bytes": b"\x01\xff", "day": day, "clock": clock, "moment": moment}
    (message,) = write(connection, [(row, 1)], "json", json_flavor=flavor)
    found = json.loads(message.value or b"")["insert"]
    assert {name: found[name] for name in expected} == expected


@given(st.binary(max_size=40))
def test_base58_goes_both_ways(raw: bytes) -> None:
    assert binaries.from_base58(binaries.to_base58(raw)) == raw


def test_parquet_is_cut_into_files(connection: duckdb.DuckDBPyConnection) -> None:
    messages = write(connection, [({"whole": 1}, 2), ({"whole": 2}, 1)], "parquet", buffer_size_records=2)
    files = [pq.read_table(io.BytesIO(message.value or b"")) for message in messages]
    assert [file.column("whole").to_pylist() for file in files] == [[1, 1], [2]]


def test_rows_that_occur_often_are_not_held_all_at_once(connection: duckdb.DuckDBPyConnection) -> None:
    heavy = [{"whole": n, writing.WEIGHT: sign * writing.HEAVIEST} for n, sign in ((1, 1), (2, -1), (3, 1))]
    table = pa.Table.from_pylist(heavy, ARROW)
    writer = Writer(config.writing("sink", "json", {}, tuple(TYPES)), TYPES)
    with closing(writer.write(table, connection.cursor())) as messages:
        before = pa.total_allocated_bytes()
        assert next(messages).records == JsonOutput.records
        assert pa.total_allocated_bytes() - before < 8 * 3 * writing.HEAVIEST  # not even a number of each


@pytest.mark.parametrize("records", [1, 3, 100_000])
def test_messages_are_as_full_as_they_may_be(connection: duckdb.DuckDBPyConnection, records: int) -> None:
    rows = [({"whole": 1}, 20_000), ({"whole": 2}, -2), ({"whole": 3}, 1)]
    messages = write(connection, rows, "csv", buffer_size_records=records)
    full, rest = divmod(20_003, records)
    assert [message.records for message in messages] == [records] * full + ([rest] if rest else [])
    lines = b"".join(message.value or b"" for message in messages).splitlines()
    assert [line.split(b",")[0] for line in lines] == [b"2"] * 2 + [b"1"] * 20_000 + [b"3"]


def test_a_row_that_occurs_too_often_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(TooHeavy, match="DISTINCT"):
        write(connection, [({"whole": 1}, writing.HEAVIEST + 1)], "json")


def test_nothing_is_no_message(connection: duckdb.DuckDBPyConnection) -> None:
    assert write(connection, [], "json") == []


@pytest.mark.parametrize(
    ("written_as", "settings", "code"),
    [
        pytest.param("json", {"update_format": "raw"}, "OutputFormatNotSupported", id="raw"),
        pytest.param("json", {"update_format": "weighted"}, "OutputFormatNotSupported", id="weighted"),
        pytest.param("raw", {}, "OutputFormatNotSupported", id="input only"),
        pytest.param("avro", {}, "UnknownOutputFormat", id="unknown"),
        pytest.param("json", {"json_flavor": "x"}, "EncoderConfigParseError", id="flavor"),
        pytest.param("json", {"buffer_size_records": "x"}, "EncoderConfigParseError", id="size"),
        pytest.param("json", {"key_fields": ["whole"]}, "InvalidEncoderConfiguration", id="no key"),
        pytest.param(
            "json", {"update_format": "debezium", "key_fields": []}, "InvalidEncoderConfiguration", id="empty"
        ),
        pytest.param(
            "json",
            {"update_format": "redis", "key_fields": ["x"]},
            "InvalidEncoderConfiguration",
            id="column",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(written_as: str, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(EngineError) as refused:
        config.writing("sink", written_as, settings, ("whole",))
    assert refused.value.code == f"ConfigError.{code}"

"""Parquet from strangers: what its values are is told row by row, and nothing of it fails in a step."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluicegate.engine.formats.parquetfiles import BATCH, LARGEST
from tests.engine.formats.conftest import Tables

PROGRAM = """
CREATE TABLE t (
    n INT, text VARCHAR, day DATE, clock TIME, moment TIMESTAMP, zoned TIMESTAMP WITH TIME ZONE,
    exact DECIMAL(4, 2), texts VARCHAR ARRAY, ints INT ARRAY, home ROW(street VARCHAR, number INT),
    counts MAP<VARCHAR, INT>, ratio DOUBLE
);
"""


@pytest.fixture(scope="module")
def module() -> Iterator[Tables]:
    """Make the table once."""
    made = Tables(PROGRAM)
    yield made
    made.database.close()


def parquet(**columns: Any) -> bytes:
    """Write a file of columns."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def texts(*values: bytes) -> pa.Array:
    """Return bytes as what Arrow takes for text."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def numbers(kind: pa.DataType, *values: int) -> pa.Array:
    """Return numbers as moments of a type."""
    return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


def decimals(*values: int) -> pa.Array:
    """Return hundredths as DECIMAL(4, 2), whether they fit or not."""
    raw = pa.py_buffer(b"".join(value.to_bytes(16, "little", signed=True) for value in values))
    return pa.Array.from_buffers(pa.decimal128(4, 2), len(values), [None, raw])


BAD_TEXT = texts(b"a", b"\xff", b"b")
LISTS = pa.array([0, 1, 2, 3], pa.int32())
UNSOUND = {
    # column: three values each, of which the one in the middle is none
    "text": [
        BAD_TEXT,
        BAD_TEXT.cast(pa.large_binary()).view(pa.large_string()),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), BAD_TEXT),
    ],
    "texts": [pa.ListArray.from_arrays(LISTS, BAD_TEXT)],
    "day": [
        numbers(pa.date32(), 0, 4_000_000, 1),
        numbers(pa.date32(), 2_932_896, -719_163, -719_162),
        numbers(pa.int32(), 0, 4_000_000, 1),
        numbers(pa.int64(), 0, 1 << 40, 1),
        numbers(pa.date64(), 0, 4_000_000 * 86_400_000, 86_400_000),
    ],
    "clock": [
        numbers(pa.time64("us"), 0, 86_400_000_000, 1),
        numbers(pa.time64("us"), 0, 90_000_000_000, 1),
        numbers(pa.time32("ms"), 0, -1, 86_399_999),
        numbers(pa.int64(), 0, -1, 1),
    ],
    "moment": [
        numbers(pa.timestamp("us"), 0, (1 << 63) - 1, 1),
        numbers(pa.timestamp("us"), 0, 345_600_000_000_000_000, 253_402_300_799_999_999),
        numbers(pa.timestamp("ms"), 0, 1 << 62, -62_135_596_800_000),
        numbers(pa.date32(), 0, 4_000_000, 1),
    ],
    "zoned": [numbers(pa.timestamp("us", "UTC"), 0, 345_600_000_000_000_000, 1)],
    "exact": [decimals(9_999, 10_000, -9_999)],
}
CASES = [
    pytest.param(name, column, copies, id=f"{name} of {column.type}, {copies} times")
    for name, columns in UNSOUND.items()
    for column in columns
    for copies in (1, 400)
]


@pytest.mark.parametrize(("name", "column", "copies"), CASES)
def test_a_value_that_is_none_of_its_type_is_told(
    module: Tables, name: str, column: pa.Array, copies: int
) -> None:
    module.database.cursor().execute("DELETE FROM t")
    kept = range(3 * copies)
    body = parquet(n=kept, **{name: pa.concat_arrays([column] * copies)})
    batch = module.push("t", body, "parquet")
    assert (batch.records, batch.errors.count) == (2 * copies, copies)
    told = batch.errors.in_order()
    assert [error["event_number"] for error in told] == list(range(2, 3 * copies, 3))
    assert {error["field"] for error in told} == {name}
    json.dumps(told).encode()
    assert module.rows("t", f'n, CAST("{name}" AS VARCHAR) IS NULL') == [
        (n, False) for n in kept if n % 3 != 1
    ]


def test_a_row_with_several_bad_values_is_one_error(module: Tables) -> None:
    body = parquet(text=BAD_TEXT, day=numbers(pa.date32(), 0, 4_000_000, 1))
    batch = module.read("t", body, "parquet")
    assert (batch.records, batch.errors.count) == (2, 1)


def test_a_null_is_sound_whatever_lies_beneath_it(module: Tables) -> None:
    hidden = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), *BAD_TEXT.buffers()[1:]])
    assert hidden.null_count == 1
    assert module.read("t", parquet(text=hidden), "parquet").records == 3


NESTED: dict[str, list[Any]] = {
    # column: two values each, of which the second does not fit
    "ints": [[["1"], ["x"]], [[1], [1 << 40]], [[1, None], [None, 1 << 40]]],
    "home": [[{"street": "a", "number": "1"}, {"street": "b", "number": "x"}]],
    "texts": [pa.array([[0], [1 << 62]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("ms")))],
}


@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name, columns in NESTED.items() for column in columns]
)
def test_a_nested_value_that_does_not_fit_is_told(module: Tables, name: str, column: Any) -> None:
    batch = module.read("t", parquet(**{name: column}), "parquet")
    assert (batch.records, batch.errors.count) == (1, 1), batch.errors
    assert (batch.errors.kept[0]["event_number"], batch.errors.kept[0]["field"]) == (2, name)
    json.dumps(batch.errors.kept).encode()


MAPS = pa.map_(pa.string(), pa.int32())


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("home", pa.array([{"foo": 1}]), id="no field of the row"),
        pytest.param("home", pa.array([[1]]), id="a list for a row"),
        pytest.param("ints", pa.array([{"a": 1}]), id="a row for a list"),
        pytest.param("counts", pa.array([[("a", 1), ("a", 2)]], MAPS), id="a key twice"),
        pytest.param("ratio", pa.array([1.5], pa.float16()), id="a type that DuckDB lacks"),
        pytest.param("exact", pa.array([1], pa.decimal256(50, 2)), id="a DECIMAL that DuckDB lacks"),
    ],
)
def test_a_column_that_cannot_be_read_is_told(module: Tables, name: str, column: pa.Array) -> None:
    batch = module.read("t", parquet(n=[1], **{name: column}), "parquet")
    assert (batch.records, batch.errors.count) == (0, 1), batch.errors
    assert batch.errors.kept[0]["field"] == name
    assert f"'{name}'" in batch.errors.kept[0]["description"]


def test_nested_values_of_other_types_are_cast(module: Tables) -> None:
    columns = {
        "ints": pa.array([["1", None], None]),
        "home": pa.array([{"number": 2, "more": 1}, None]),
        "counts": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    }
    batch = module.read("t", parquet(**columns), "parquet")
    assert (batch.records, batch.errors.count) == (2, 0), batch.errors
    assert batch.runs[0].rows is not None
    first = batch.runs[0].rows.select(["c8", "c9", "c10"]).to_pylist()[0]
    assert first == {"c8": [1, None], "c9": {"street": None, "number": 2}, "c10": [("a", 1)]}


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    """Count what Arrow takes of memory."""
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    yield counting
    pa.set_memory_pool(usual)


WIDE = "x" * 100_000
FOR_ALL = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), [WIDE])


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(FOR_ALL.cast(pa.large_string()), id="text"),
        pytest.param(FOR_ALL, id="dictionary"),
        pytest.param(pa.StructArray.from_arrays([FOR_ALL], ["street"]), id="inside a row"),
    ],
)
def test_a_small_file_that_stands_for_much_takes_little_memory(
    module: Tables, pool: pa.MemoryPool, column: pa.Array
) -> None:
    name = "home" if pa.types.is_struct(column.type) else "text"
    body = parquet(**{name: column})
    del column
    assert len(body) < len(WIDE)
    before = pool.max_memory()
    batch = module.read("t", body, "parquet")
    assert (batch.records, batch.errors.count) == (0, 1)
    assert "larger than" in batch.errors.kept[0]["description"]
    assert pool.max_memory() - before < LARGEST + 2 * BATCH


def test_wide_values_are_read_a_few_rows_at_once(module: Tables) -> None:
    body = parquet(n=range(1_000), text=FOR_ALL.slice(0, 1_000))
    batch = module.read("t", body, "parquet")
    assert (batch.records, batch.errors.count) == (1_000, 0)
    read = [row for run in batch.runs if run.rows is not None for row in run.rows.column("c0").to_pylist()]
    assert read == list(range(1_000))

"""Datagen: each strategy on each type, and that a row depends on the seed and its index only."""

from typing import Any

import pyarrow
import pytest

from sluicegate.engine.compiler import compile_program
from sluicegate.engine.plan import Plan
from sluicegate.engine.transports.datagen.source import DatagenSource
from sluicegate.engine.transports.datagen.words import STRATEGIES
from sluicegate.engine.transports.protocol import BadConfig, Gate, Surroundings
from sluicegate.protocol import CompileRequest

MILLION = 1_000_000


def source(columns: str, config: Any, types: str = "") -> DatagenSource:
    """Make the source of a table."""
    compiled = compile_program(CompileRequest(f"{types} CREATE TABLE t ({columns});"))
    assert compiled.plan is not None, compiled.sql_compilation
    return DatagenSource(config, Surroundings(Plan.from_json(compiled.plan).tables[0]))


async def generated(made: DatagenSource, offset: Any = None) -> list[dict[str, Any]]:
    """Return all rows that a source makes after an offset."""
    rows: list[dict[str, Any]] = []
    async for chunk in made.chunks(offset, Gate()):
        rows.extend(chunk.data.to_pylist())
    return rows


async def values(kind: str, field: Any, limit: int = 8, **more: Any) -> list[Any]:
    """Return the values of one column."""
    config = {"seed": 7, "plan": [{"limit": limit, "fields": {"a": field}, **more}]}
    return [row["a"] for row in await generated(source(f"a {kind}", config))]


def texts(found: list[Any]) -> list[str]:
    """Return values as texts."""
    return list(map(str, found))


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        pytest.param("INT", {}, ["0", "1", "2", "3"], id="integer"),
        pytest.param("INT", {"scale": -3}, ["0", "-3", "-6", "-9"], id="scale"),
        pytest.param("INT", {"range": [5, 8], "scale": 2}, ["5", "7", "6", "5"], id="integer in a range"),
        pytest.param("TINYINT", {"scale": 100}, ["0", "100", "73", "46"], id="wraps at the type's maximum"),
        pytest.param("INT", {"values": [9, 7]}, ["9", "7", "9", "7"], id="values"),
        pytest.param("DOUBLE", {"range": [0.5, 2], "scale": 1}, ["0.5", "1.5", "1.0", "0.5"], id="double"),
        pytest.param("DECIMAL(6,2)", {}, ["0.00", "1.00", "2.00", "3.00"], id="decimal"),
        pytest.param("DECIMAL(6,2)", {"range": [-1, 1.5]}, ["-1.00", "0.00", "1.00", "-0.50"], id="decimals"),
        pytest.param("BOOLEAN", {}, ["False", "True", "False", "True"], id="boolean"),
        pytest.param("VARCHAR", {"scale": 5}, ["0", "5", "10", "15"], id="text"),
        pytest.param(
            "DATE", {"scale": 31}, ["1970-01-01", "1970-02-01", "1970-03-04", "1970-04-04"], id="date"
        ),
        pytest.param(
            "DATE",
            {"range": ["2024-02-28", "2024-03-01"]},
            ["2024-02-28", "2024-02-29", "2024-02-28", "2024-02-29"],
            id="dates",
        ),
        pytest.param(
            "TIME",
            {"range": ["01:00:00", "02:00:00"], "scale": 1800_000},
            ["01:00:00", "01:30:00"] * 2,
            id="t",
        ),
        pytest.param(
            "TIMESTAMP",
            {"range": ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"], "scale": 60000},
            [f"2024-01-01 00:0{minute}:00" for minute in range(4)],
            id="timestamp",
        ),
        pytest.param("UUID", {}, [f"00000000-0000-0000-0000-00000000000{n}" for n in range(4)], id="uuid"),
        pytest.param("INT ARRAY", {"range": [1, 3]}, ["[0]", "[0, 1]", "[0]", "[0, 1]"], id="array"),
        pytest.param("VARBINARY", {"range": [1, 3]}, [r"b'\x00'", r"b'\x00\x01'"] * 2, id="binary"),
        pytest.param("MAP<VARCHAR, INT>", {"value": {"scale": 3}}, ["[]"] * 4, id="map"),
        pytest.param("VARIANT", {}, ["None"] * 4, id="variant"),
    ],
)
async def test_increment(kind: str, field: dict[str, Any], expected: list[str]) -> None:
    assert texts(await values(kind, field, limit=4)) == expected


@pytest.mark.parametrize(
    ("kind", "field", "low", "high"),
    [
        pytest.param("BIGINT", {}, -(1 << 63), (1 << 63) - 1, id="whole type"),
        pytest.param("INT UNSIGNED", {"range": [3, 9]}, 3, 8, id="integer"),
        pytest.param("REAL", {"range": [-1, 1]}, -1, 1, id="real"),
        pytest.param("DOUBLE", {}, -1.8e308, 1.8e308, id="whole doubles"),
        pytest.param("DECIMAL(38, 0)", {}, -(10**38), 10**38, id="whole decimals"),
        pytest.param("DECIMAL(8, 2)", {"range": [1, 3], "scale": 2}, 1, 3, id="decimal"),
    ],
)
async def test_uniform_numbers(kind: str, field: dict[str, Any], low: Any, high: Any) -> None:
    found = await values(kind, {"strategy": "uniform", **field}, limit=300)
    assert all(low <= float(value) <= high for value in found)
    assert len(set(found)) > 3
    middle = (float(low) + float(high)) / 2 if abs(low) < 1e300 else 0
    assert 50 < sum(float(value) < middle for value in found) < 250


async def test_uniform_of_other_types() -> None:
    columns = "d DATE, t TIME, ts TIMESTAMP WITH TIME ZONE, u UUID, x VARCHAR, "
    columns += "l VARCHAR ARRAY, b VARBINARY, o BOOLEAN"
    field = {"strategy": "uniform"}
    fields: dict[str, Any] = dict.fromkeys(["d", "t", "ts", "u", "x", "o"], field)
    fields |= {"l": {**field, "value": {"strategy": "first_name"}}, "b": {**field, "value": field}}
    rows = await generated(source(columns, {"seed": 1, "plan": [{"limit": 200, "fields": fields}]}))
    for name in fields:
        assert len({str(row[name]) for row in rows}) > (1 if name == "o" else 20), name
    assert {len(row["x"]) for row in rows} == set(range(25))
    assert {len(row["l"]) for row in rows} == {len(row["b"]) for row in rows} == set(range(5))
    assert all(isinstance(name, str) and name for row in rows for name in row["l"])


@pytest.mark.parametrize("exponent", [0, 1, 2])
async def test_zipf_prefers_the_first(exponent: int) -> None:
    found = await values("INT", {"strategy": "zipf", "range": [10, 30], "e": exponent}, limit=4000)
    counts = [found.count(value) for value in range(10, 30)]
    assert sum(counts) == 4000
    share = sum(counts[:2]) / 4000
    assert {0: 0.05 < share < 0.15, 1: 0.35 < share < 0.55, 2: 0.7 < share < 0.9}[exponent]


async def test_texts() -> None:
    columns = ", ".join(f'"{strategy}" VARCHAR' for strategy in STRATEGIES)
    fields = {strategy: {"strategy": strategy} for strategy in STRATEGIES}
    made = source(columns, {"seed": 3, "plan": [{"limit": 4, "fields": fields}]})
    rows = await generated(made)
    assert len(STRATEGIES) == 69
    assert all(isinstance(text, str) and text for row in rows for text in row.values())
    assert len({tuple(row.values()) for row in rows}) == 4
    assert rows == await generated(made)


async def test_plural_texts_have_the_count_of_the_range() -> None:
    found = await values("VARCHAR", {"strategy": "words", "range": [5, 6]})
    assert {len(text.split()) for text in found} == {5}


async def test_a_row_depends_on_seed_and_index_only() -> None:
    fields = {"a": {"strategy": "uniform"}, "b": {"strategy": "name"}, "c": {"strategy": "uniform"}}
    config = {"seed": 99, "plan": [{"limit": 100, "fields": fields, "worker_chunk_size": 7}]}
    whole = await generated(source("a INT, b VARCHAR, c VARCHAR", config))
    config["plan"] = [{"limit": 60, "fields": fields}, {"limit": 40, "fields": fields}]
    assert await generated(source("a INT, b VARCHAR, c VARCHAR", config)) == whole
    assert (
        await generated(source("a INT, b VARCHAR, c VARCHAR", config), {"seed": 99, "rows": 55}) == whole[55:]
    )
    other = {**config, "seed": 100}
    assert await generated(source("a INT, b VARCHAR, c VARCHAR", other)) != whole
    # One row further with the seed before it: the same number is drawn.
    assert (await generated(source("a INT, b VARCHAR, c VARCHAR", other)))[:99] == whole[1:]


async def test_a_source_without_seed_keeps_the_one_that_it_chose() -> None:
    config = {"plan": [{"limit": 20, "fields": {"a": {"strategy": "uniform"}}, "worker_chunk_size": 10}]}
    first = [chunk async for chunk in source("a BIGINT", config).chunks(None, Gate())]
    second = [chunk async for chunk in source("a BIGINT", config).chunks(first[0].offset, Gate())]
    assert [chunk.data for chunk in second] == [first[1].data]
    assert first[0].offset["seed"] == second[0].offset["seed"]


async def test_null_percentage() -> None:
    found = await values("INT", {"null_percentage": 30}, limit=2000)
    assert 450 < found.count(None) < 750
    assert set(await values("INT", {"null_percentage": 100})) == {None}
    assert None not in await values("TIME", {"null_percentage": 100})


async def test_structs() -> None:
    made = source(
        "a p",
        {"plan": [{"limit": 2, "fields": {"A": {"fields": {"X": {"scale": 4}, "y": {"strategy": "word"}}}}}]},
        types="CREATE TYPE p AS (x INT, y VARCHAR);",
    )
    rows = await generated(made)
    assert [row["a"]["x"] for row in rows] == [0, 4]
    assert all(row["a"]["y"] for row in rows)


async def test_chunks_and_bytes() -> None:
    config: dict[str, Any] = {"plan": [{"limit": 5, "worker_chunk_size": 2}]}
    chunks = [chunk async for chunk in source("a INT", config).chunks(None, Gate())]
    assert [chunk.data.num_rows for chunk in chunks] == [2, 2, 1]
    assert sum(chunk.size for chunk in chunks) == 40
    assert all(isinstance(chunk.data, pyarrow.Table) for chunk in chunks)
    config = {"transaction_size": 4, **config}
    chunks = [chunk async for chunk in source("a INT", config).chunks(None, Gate())]
    assert [chunk.data.num_rows for chunk in chunks] == [4, 1]


async def test_a_limit_of_zero_makes_nothing_and_none_goes_on() -> None:
    assert await values("INT", {}, limit=0) == []
    endless = source("a INT", {"plan": [{"worker_chunk_size": 1000}]}).chunks(None, Gate())
    seen = [(await anext(endless)).offset["rows"] for _ in range(3)]
    await endless.aclose()  # type: ignore[attr-defined]
    assert seen == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("kind", "config", "part"),
    [
        pytest.param("INT", {"speed": 1}, "unknown key 'speed'", id="key of the config"),
        pytest.param("INT", {"plan": [{"x": 1}]}, "unknown key 'x'", id="key of a plan"),
        pytest.param("INT", {"plan": [{"rate": -1}]}, "'rate'", id="negative rate"),
        pytest.param("INT", {"plan": [{"fields": {"b": {}}}]}, "unknown field 'b'", id="field"),
        pytest.param("INT", {"plan": [{"fields": {"b": {}}}]}, "a INTEGER", id="field names the schema"),
    ],
)
def test_a_configuration_is_refused(kind: str, config: dict[str, Any], part: str) -> None:
    with pytest.raises(BadConfig, match=part):
        source(f"a {kind}", config)


@pytest.mark.parametrize(
    ("kind", "field", "part"),
    [
        pytest.param("INT", {"x": 1}, "unknown key 'x'", id="key"),
        pytest.param("INT", {"strategy": "no"}, "unknown strategy 'no'", id="strategy"),
        pytest.param("INT", {"strategy": "email"}, "invalid strategy", id="texts for a number"),
        pytest.param("INT", {"range": [3, 1]}, "after its end", id="integers"),
        pytest.param("TINYINT", {"range": [0, 1000]}, "does not fit", id="beyond the type"),
        pytest.param("INT", {"range": [1.5, 2]}, "not of integers", id="fractions"),
        pytest.param("INT", {"range": [1]}, "pair", id="one bound"),
        pytest.param("DOUBLE", {"range": [3, 1]}, "after its end", id="doubles"),
        pytest.param("DECIMAL(4,2)", {"range": ["x", 1]}, "decimal", id="decimal"),
        pytest.param("DECIMAL(38,2)", {"strategy": "zipf"}, "64 bits", id="ranks of a decimal"),
        pytest.param("DATE", {"range": ["2024-01-01", 5]}, "neither", id="mixed range"),
        pytest.param("DATE", {"range": ["2024-01-01", "2024-01-01"]}, "not before", id="dates"),
        pytest.param("DATE", {"range": ["2024-13-01", "2024-01-01"]}, "month", id="no date"),
        pytest.param("TIME", {"range": [-5, 5]}, "before midnight", id="negative time"),
        pytest.param("VARCHAR", {"range": [5, 5]}, "length", id="lengths"),
        pytest.param("INT ARRAY", {"range": [-1, 5]}, "length", id="negative length"),
        pytest.param("UUID", {"strategy": "zipf"}, "needs 'values'", id="zipf of UUIDs"),
        pytest.param("UUID", {"range": [1, 2]}, "UUIDs", id="UUIDs"),
        pytest.param("INT", {"values": ["a"]}, "numbers", id="text among integers"),
        pytest.param("DATE", {"values": [1]}, "strings", id="number among dates"),
        pytest.param("UUID", {"values": ["x"]}, "strings", id="no UUID"),
        pytest.param("BOOLEAN", {"values": ["x"]}, "cannot make a row", id="no Boolean"),
        pytest.param("INT", {"values": []}, "no values", id="no values"),
    ],
)
def test_a_field_is_refused(kind: str, field: dict[str, Any], part: str) -> None:
    with pytest.raises(BadConfig, match=part):
        source(f"a {kind}", {"plan": [{"fields": {"a": field}}]})


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        pytest.param("a INT NOT NULL", {"null_percentage": 50}, id="a share"),
        pytest.param("a INT PRIMARY KEY", {"null_percentage": 1}, id="a key"),
        pytest.param("a DOUBLE NOT NULL", {"values": [1.5, None]}, id="a value"),
        pytest.param("a VARIANT NOT NULL", {}, id="a type that nothing is made of"),
    ],
)
def test_a_column_that_is_not_null_gets_no_null(columns: str, field: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=r"'a'.* may be NULL.* NOT NULL"):
        source(columns, {"plan": [{"fields": {"a": field}}]})


async def test_what_cannot_be_null_suits_any_column() -> None:
    assert await values("TIME NOT NULL", {"null_percentage": 50, "values": ["01:02:03"]}, limit=1)
    assert await values("VARIANT NOT NULL", {"values": [1]}, limit=2) == ["1", "1"]


async def test_rate_spreads_the_rows() -> None:
    made = source("a INT", {"plan": [{"limit": 30, "rate": 100, "worker_chunk_size": 10}]})
    import time

    begin = time.monotonic()
    assert len(await generated(made)) == 30
    assert time.monotonic() - begin >= 0.28

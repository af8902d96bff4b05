"""Bytes to rows: what each format and each of its settings means, and what is told of what is wrong."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats import config
from tests.engine.formats.conftest import MakeTables, Tables

PROGRAM = """
CREATE TABLE keyed (id INT NOT NULL PRIMARY KEY, name VARCHAR DEFAULT 'none');
CREATE TABLE bag (a INT, b VARCHAR);
CREATE TABLE typed (
    exact DECIMAL(10, 2), bytes VARBINARY, day DATE, clock TIME, moment TIMESTAMP, anything VARIANT,
    list INT ARRAY
);
CREATE TABLE lines (line VARCHAR);
CREATE TABLE bytes (n INT, raw VARBINARY, "Text" VARCHAR);
"""


@pytest.fixture(scope="module")
def module() -> Iterator[Tables]:
    """Make the tables for tests that only read."""
    made = Tables(PROGRAM)
    yield made
    made.database.close()


def lines(*values: Any) -> str:
    """Return values as JSON, one a line."""
    return "\n".join(json.dumps(value) for value in values)


def read(
    tables: Tables, name: str, body: str | bytes, *written_as: str, **settings: Any
) -> list[dict[str, Any]]:
    """Return the rows to insert that a body holds, without what is NULL."""
    batch = tables.read(name, body, *written_as, **settings)
    assert batch.errors.count == 0, batch.errors
    names = [column.name for column in tables.table(name).columns]
    rows = [row for run in batch.runs for row in (run.rows.to_pylist() if run.rows is not None else [])]
    found = [{name: row.get(f"c{i}") for i, name in enumerate(names)} for row in rows]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


@pytest.mark.parametrize(
    ("update_format", "body", "left"),
    [
        pytest.param("raw", lines({"a": 1}, [2, "x"]), [(1, None), (2, "x")], id="raw"),
        pytest.param("weighted", lines({"weight": 2, "data": {"a": 1}}), [(1, None)] * 2, id="weight"),
        pytest.param(
            "weighted",
            lines({"weight": 2, "data": {"a": 1}}, {"weight": -1, "data": {"a": 1}}),
            [(1, None)],
            id="negative weight",
        ),
        pytest.param("weighted", lines({"weight": 0, "data": {"a": 1}}), [], id="no weight"),
        pytest.param(
            "debezium",
            lines(
                {"payload": {"op": "c", "after": {"a": 1}, "source": {}}, "schema": {}},
                {"payload": {"op": "u", "before": {"a": 1}, "after": {"a": 2}}},
                {"payload": {"op": "r", "before": None, "after": {"a": 3}}},
                {"payload": {"op": "d", "before": {"a": 3}, "after": None}},
            ),
            [(2, None)],
            id="debezium",
        ),
        pytest.param("insert_delete", lines({"insert": {"a": 1}, "delete": None}), [(1, None)], id="null"),
        pytest.param(
            "insert_delete", '{"insert":{"a":1}}{"insert"\n:{"a":2}}', [(1, None), (2, None)], id="run on"
        ),
        pytest.param("insert_delete", '\ufeff{"insert":{"a":1}}', [(1, None)], id="byte order mark"),
    ],
)
def test_update_formats(
    tables: MakeTables, update_format: str, body: str, left: list[tuple[Any, ...]]
) -> None:
    made = tables(PROGRAM)
    batch = made.push("bag", body, update_format=update_format)
    assert batch.errors.count == 0, batch.errors
    assert made.rows("bag") == left


@pytest.mark.parametrize(
    ("update_format", "element"),
    [
        pytest.param("insert_delete", {"insert": {}, "upsert": {}}, id="unknown key"),
        pytest.param("insert_delete", {"update": {"a": 1}}, id="update without key"),
        pytest.param("insert_delete", {}, id="empty"),
        pytest.param("raw", 1, id="no row"),
        pytest.param("raw", [1], id="short row"),
        pytest.param("weighted", {"weight": True, "data": {}}, id="weight that is none"),
        pytest.param("weighted", {"weight": 1}, id="no data"),
        pytest.param("weighted", {"weight": 10**9, "data": {}}, id="too heavy"),
        pytest.param("debezium", {"payload": {"op": "x"}}, id="operation"),
        pytest.param("debezium", {"op": "c"}, id="no payload"),
    ],
)
def test_an_element_of_the_wrong_shape_is_told(module: Tables, update_format: str, element: Any) -> None:
    batch = module.read("bag", lines(element), update_format=update_format)
    assert (batch.errors.count, batch.records) == (1, 0)


def test_changes_keep_their_order_across_kinds(tables: MakeTables) -> None:
    made = tables(PROGRAM)
    body = lines(
        {"insert": {"id": 1}},
        {"update": {"id": 1, "name": "b"}},
        {"delete": {"id": 1}},
        {"insert": {"id": 1}},
    )
    assert made.push("keyed", body).records == 4
    assert made.rows("keyed") == [(1, "none")]


def test_only_deletions_need_no_rows(tables: MakeTables) -> None:
    made = tables(PROGRAM)
    made.push("keyed", lines({"insert": {"id": 1}}, {"insert": {"id": 2}}))
    made.push("keyed", lines({"delete": {"id": 1}}))
    assert made.rows("keyed") == [(2, "none")]


@pytest.mark.parametrize(
    ("flavor", "row", "expected"),
    [
        (
            "pandas",
            {"day": 1709164800000, "moment": 1709168523250},
            ("2024-02-29", "2024-02-29 01:02:03.250000"),
        ),
        ("debezium_mysql", {"day": 19782, "clock": 1500000}, ("2024-02-29", "00:00:01.500000")),
        ("debezium_mysql", {"moment": "2024-02-29T01:02:03Z"}, ("2024-02-29 01:02:03",)),
        ("debezium_postgres", {"moment": 1709168523000}, ("2024-02-29 01:02:03",)),
        ("kafka_connect_json_converter", {"clock": 1500, "day": 0}, ("1970-01-01", "00:00:01.500000")),
        ("snowflake", {"moment": "2024-02-29T01:02:03.5+01:00"}, ("2024-02-29 00:02:03.500000",)),
        ("blockchain", {"bytes": "9p"}, (b"\x01\xff",)),
        ("c_hex", {"bytes": "0x01Ff"}, (b"\x01\xff",)),
        ("c_hex", {"bytes": "01ff"}, (b"\x01\xff",)),
        ("postgres", {"bytes": "\\x01ff"}, (b"\x01\xff",)),
        ("snowflake", {"anything": '{"a": 1}'}, ('{"a":1}',)),
        ("default", {"anything": '{"a": 1}'}, ('"{\\"a\\": 1}"',)),
        ("datagen", {"moment": "2024-02-29T01:02:03+00:00", "exact": 1.25}, ("1.25", "2024-02-29 01:02:03")),
    ],
)
def test_flavors(module: Tables, flavor: str, row: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (found,) = read(module, "typed", lines(row), update_format="raw", json_flavor=flavor)
    shown = (value if isinstance(value, bytes) else str(value) for value in found.values())
    if flavor in ("snowflake", "default") and "anything" in row:
        assert [json.loads(value) for value in shown] == [json.loads(value) for value in expected]
    else:
        assert tuple(shown) == expected


@pytest.mark.parametrize(
    ("flavor", "row"),
    [
        ("default", {"moment": 1}),
        ("default", {"bytes": "00"}),
        ("default", {"bytes": [True]}),
        ("pandas", {"moment": 10**30}),
        ("debezium_mysql", {"clock": 86_400_000_000}),
        ("kafka_connect_json_converter", {"clock": -1}),
        ("blockchain", {"bytes": "0OIl"}),
        ("c_hex", {"bytes": "0x0"}),
        ("c_hex", {"bytes": [1]}),
        ("snowflake", {"anything": "{"}),
        ("default", {"day": "infinity"}),
        ("default", {"moment": "10000-01-01 00:00:00"}),
    ],
)
def test_a_value_that_its_flavor_does_not_have_is_told(
    module: Tables, flavor: str, row: dict[str, Any]
) -> None:
    batch = module.read("typed", lines(row), update_format="raw", json_flavor=flavor)
    assert [error["field"] for error in batch.errors.kept] == list(row)


def test_single_lines_are_enforced(module: Tables) -> None:
    body = '{"a":\n1}\n{"a":2}\n'
    assert read(module, "bag", body, update_format="raw") == [{"a": 1}, {"a": 2}]
    batch = module.read("bag", body, update_format="raw", lines="single")
    assert (batch.records, batch.errors.count) == (1, 3)


@pytest.mark.parametrize(
    ("settings", "body", "rows"),
    [
        ({}, '1,"a ""b"""\n2,\n', [{"a": 1, "b": 'a "b"'}, {"a": 2}]),
        ({"delimiter": ";"}, "1;a,b\n", [{"a": 1, "b": "a,b"}]),
        ({"delimiter": "\u20ac"}, "1,a\n", [{"a": 1, "b": "a"}]),
        ({"headers": True}, "a,b\n1,x\n", [{"a": 1, "b": "x"}]),
        ({"quote": "'"}, "1,'a,b'\n", [{"a": 1, "b": "a,b"}]),
        ({"escape": "\\"}, '1,"a\\",b"\n', [{"a": 1, "b": 'a",b'}]),
        ({"quoting": False}, '1,"a\n', [{"a": 1, "b": '"a'}]),
        ({"comment": "#"}, '#x\n1,"a\n#b"\n#y', [{"a": 1, "b": "a\n#b"}]),
        ({"trim": "fields"}, "1 , a \n", [{"a": 1, "b": "a"}]),
        ({"trim": "none"}, "1 , a \n", [{"a": 1, "b": " a "}]),
        ({}, "1\n2,x,more\n\n", [{"a": 1}, {"a": 2, "b": "x"}]),
        ({}, "NULL,null\r\n", [{}]),
        ({}, "\ufeff1,a\n", [{"a": 1, "b": "a"}]),
    ],
)
def test_csv(module: Tables, settings: dict[str, Any], body: str, rows: list[dict[str, Any]]) -> None:
    assert read(module, "bag", body, "csv", **settings) == rows


def test_rows_of_unequal_width_are_refused_where_asked(module: Tables) -> None:
    batch = module.read("bag", "1,a\n2\n3,c\n", "csv", flexible=False)
    assert (batch.records, [error["event_number"] for error in batch.errors.kept]) == (2, [2])


def test_csv_of_every_kind(module: Tables) -> None:
    body = '1.25,"[1,255]",2024-02-29,01:02:03,2024-02-29 01:02:03,"{""a"": 1}","[1,null]"\n'
    (row,) = read(module, "typed", body, "csv")
    assert (row["bytes"], row["anything"], row["list"]) == (b"\x01\xff", '{"a":1}', [1, None])
    assert str(row["moment"]) == "2024-02-29 01:02:03"


@pytest.mark.parametrize("bad", ["x,,,,,,", ",x,,,,,", ",[256],,,,,", ",,x,,,,", ",,,,,{,", ",,,,,,[x]"])
def test_a_wrong_field_of_csv_is_told(module: Tables, bad: str) -> None:
    batch = module.read("typed", f"{bad}\n1.5\n", "csv")
    assert (batch.records, batch.errors.count) == (1, 1)
    assert batch.errors.kept[0]["event_number"] == 1


def test_raw_bytes_are_values(module: Tables) -> None:
    assert read(module, "lines", "a\nb\n", "raw") == [{"line": "a\nb\n"}]
    assert read(module, "lines", "a\nb\n", "raw", mode="lines") == [{"line": "a"}, {"line": "b"}]
    assert read(module, "bytes", b"\xff", "raw", column_name="RAW") == [{"raw": b"\xff"}]
    batch = module.read("lines", b"a\n\xff\n", "raw", mode="lines")
    assert (batch.records, batch.errors.count) == (1, 1)


@pytest.mark.parametrize("many", [1, 2000])
@pytest.mark.parametrize(
    ("written_as", "settings", "good", "bad"),
    [
        ("json", {"update_format": "raw"}, '{"a": 1, "b": "\u00e9"}\n', b'{"a": 2, "b": "\xe9"}\n'),
        ("json", {}, '{"insert": {"a": 1, "b": "\u00e9"}}\n', b'{"insert": {"\xe9": 2}}\n'),
        ("json", {"update_format": "raw"}, '{"a": 1, "b": "\u00e9"}\n', b'{"a": 2, "b": "\xc3'),
        ("csv", {}, "1,\u00e9\n", b"2,\xe9\n"),
        ("csv", {}, "1,\u00e9\n", b'2,"\xe9\nstill"\n'),
    ],
)
def test_bytes_that_are_not_utf8_cost_their_own_record(
    module: Tables, written_as: str, settings: dict[str, str], good: str, bad: bytes, many: int
) -> None:
    body = good.encode() * many + bad + good.encode() * many
    batch = module.read("bag", body, written_as, **settings)
    wrong, total = batch.errors.count, 2 * many + 1
    unfinished = not bad.endswith(b"\n")  # and then the record after it is in the same line
    assert (batch.records, wrong) == (total - 1 - unfinished, 1)
    [told] = batch.errors.kept
    assert told["event_number"] == many + 1
    assert "UTF-8" in told["description"] or unfinished
    told["description"].encode()


def test_one_value_of_an_array_that_is_not_utf8_costs_its_array(module: Tables) -> None:
    body = b'[{"a": 1}, {"b": "\xff"}, {"a": 2}]\n[{"a": 3}]\n'
    batch = module.read("bag", body, update_format="raw", array=True)
    assert (batch.records, batch.errors.count) == (1, 1)


def test_parquet_goes_by_name(module: Tables) -> None:
    table = pa.table({"B": ["x", None], "a": pa.array([1, 2], pa.int64()), "more": [0, 0]})
    assert read(module, "bag", _parquet(table), "parquet") == [{"a": 1, "b": "x"}, {"a": 2}]


def test_parquet_of_every_kind(module: Tables) -> None:
    table = pa.table(
        {
            "exact": pa.array(["1.25"], pa.string()).cast(pa.decimal128(10, 2)),
            "bytes": pa.array([b"\x01"], pa.binary()),
            "day": pa.array([19782], pa.int32()),
            "clock": pa.array([1_500_000_000], pa.uint64()),
            "moment": pa.array([1709168523000], pa.timestamp("ms")),
            "anything": pa.array(['{"a": 1}'], pa.large_string()),
            "list": pa.array([[1, None]], pa.large_list(pa.int64())),
        }
    )
    (row,) = read(module, "typed", _parquet(table), "parquet")
    assert [str(value) for value in row.values()] == [
        *("1.25", "b'\\x01'", "2024-02-29", "00:00:01.500000", "2024-02-29 01:02:03", '{"a":1}', "[1, None]")
    ]


@pytest.mark.parametrize(
    ("column", "records"),
    [
        pytest.param(pa.array([1, 1 << 40, 3]), 2, id="range"),
        pytest.param(pa.array(["1", "2", "3"]), 0, id="type"),
        pytest.param(pa.array([1.5, 2.5, 3.5]), 0, id="fractions"),
    ],
)
def test_wrong_parquet_is_told(module: Tables, column: pa.Array, records: int) -> None:
    batch = module.read("bag", _parquet(pa.table({"a": column})), "parquet")
    assert (batch.records, batch.errors.count) == (records, 1)
    assert batch.errors.kept[0]["field"] == "a"


def test_a_file_that_is_no_parquet_is_told(module: Tables) -> None:
    whole = _parquet(pa.table({"a": [1]}))
    for body in (b"", b"PAR1", whole[:-9], whole[9:]):
        batch = module.read("bag", body, "parquet")
        assert (batch.records, batch.errors.count) == (0, 1)


@pytest.mark.parametrize(
    ("written_as", "settings", "code"),
    [
        pytest.param("avro", {}, "UnknownInputFormat", id="format"),
        pytest.param("json", {"update_format": "snowflake"}, "InputFormatNotSupported", id="snowflake"),
        pytest.param("json", {"update_format": "redis"}, "InputFormatNotSupported", id="redis"),
        pytest.param("json", {"update_format": "x"}, "ParserConfigParseError", id="update format"),
        pytest.param("json", {"array": "yes"}, "ParserConfigParseError", id="array"),
        pytest.param("json", {"lines": "some"}, "ParserConfigParseError", id="lines"),
        pytest.param("json", [], "ParserConfigParseError", id="no object"),
        pytest.param("csv", {"quote": "ab"}, "ParserConfigParseError", id="quote"),
        pytest.param("csv", {"trim": "x"}, "ParserConfigParseError", id="trim"),
        pytest.param("csv", {"delimiter": '"'}, "InvalidParserConfiguration", id="delimiter is quote"),
        pytest.param("csv", {"delimiter": "\n"}, "InvalidParserConfiguration", id="delimiter is newline"),
        pytest.param("raw", {}, "InvalidParserConfiguration", id="several columns"),
        pytest.param("raw", {"column_name": "x"}, "InvalidParserConfiguration", id="unknown column"),
        pytest.param("raw", {"column_name": "a"}, "InvalidParserConfiguration", id="column of numbers"),
        pytest.param("raw", {"mode": "x"}, "ParserConfigParseError", id="mode"),
    ],
)
def test_a_wrong_configuration_is_refused(module: Tables, written_as: str, settings: Any, code: str) -> None:
    with pytest.raises(EngineError) as refused:
        config.reading("source", written_as, settings, module.table("bag"))
    assert (refused.value.status, refused.value.code) == (400, f"ConfigError.{code}")


def test_unknown_keys_are_ignored(module: Tables) -> None:
    assert config.reading("source", "json", {"more": 1}, module.table("bag")) == config.Json()
    assert config.reading("source", "csv", None, module.table("bag")) == config.Csv()


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def test_a_row_alone_is_stored_as_among_many(tables: MakeTables) -> None:
    columns = (
        "n BIGINT, d DECIMAL(20, 8), day DATE, clock TIME, moment TIMESTAMP, ok BOOLEAN, f REAL, s VARCHAR"
    )
    made = tables(f"CREATE TABLE few ({columns}); CREATE TABLE many ({columns});")
    rows = [
        {"n": -(2**63), "d": "0.00000001", "day": "0001-01-01", "clock": "23:59:59.999999", "ok": False},
        {"n": 2**63 - 1, "d": "-123456789012.5", "moment": "9999-12-31 23:59:59.999999", "f": 1e-30},
        {"d": "0", "clock": "00:00:00", "moment": "1969-12-31 23:59:59.000001", "s": "it's \\ a\nline"},
        {"f": 0.1, "day": "9999-12-31", "s": "NULL", "ok": True},
        {"s": ""},
        {},
    ]
    for row in rows:
        made.push("few", json.dumps({"insert": row}))
    made.push("many", lines(*({"insert": row} for row in rows)))
    assert made.rows("few") == made.rows("many")

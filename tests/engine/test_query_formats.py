"""Formats of ad-hoc queries: Arrow, Parquet, the hash, nested values, prepared statements, words for JSON."""

import io
import re
from decimal import Decimal

import httpx
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, amount DECIMAL(30, 10), doc VARIANT);
CREATE TABLE bag (a INT, b DOUBLE) WITH ('materialized' = 'true');
"""
ROWS = "SELECT range AS n, 'x' || range AS s FROM range({})"


READ = {
    "arrow_ipc": lambda body: pa.ipc.open_stream(body).read_all(),
    "parquet": lambda body: pa.parquet.ParquetFile(io.BytesIO(body)).read(),
}


def ask(engine: Engine, sql: str, form: str) -> httpx.Response:
    """Ask for a format."""
    answer = engine.http.get("/query", params={"sql": sql, "format": form})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Fill the engine that the tests share."""
    shared.rows("""INSERT INTO t VALUES (1, 'one', 1.5, PARSE_JSON('{"a": [1, {"b/c": "x"}], "n": null}'))""")
    return shared


def test_an_arrow_stream(engine: Engine) -> None:
    answer = ask(engine, ROWS.format(50_000), "arrow_ipc")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-disposition" not in answer.headers
    table = pa.ipc.open_stream(answer.content).read_all()
    assert (table.num_rows, table.column("n").to_pylist()[-1]) == (50_000, 49_999)


def test_a_parquet_file(engine: Engine) -> None:
    answer = ask(engine, ROWS.format(50_000), "parquet")
    assert answer.headers["content-type"] == "application/octet-stream"
    named = answer.headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="results_\d{8}_\d{6}\.parquet"', named)
    table = pa.parquet.read_table(io.BytesIO(answer.content))
    assert (table.num_rows, table.column("s").to_pylist()[-1]) == (50_000, "x49999")


@pytest.mark.parametrize("form", ["arrow_ipc", "parquet"])
def test_types_of_columns(engine: Engine, form: str) -> None:
    sql = "SELECT id, name, amount, doc, doc AS id, NULL AS nothing FROM t WHERE id = {}"
    for key, count in ((9, 0), (1, 1)):
        body = ask(engine, sql.format(key), form).content
        table = READ[form](body)
        assert table.column_names == ["id", "name", "amount", "doc", "id", "nothing"]
        assert table.num_rows == count
    row = [column.to_pylist() for column in READ[form](body).columns]
    document = '{"a":[1,{"b/c":"x"}],"n":null}'
    assert row == [[1], ["one"], [Decimal("1.5000000000")], [document], [document], [None]]


def test_an_interval_is_written_too(engine: Engine) -> None:
    table = pa.parquet.read_table(io.BytesIO(ask(engine, "SELECT INTERVAL '1' DAY AS i", "parquet").content))
    assert table.column("i").to_pylist() == ["1 day"]


def hashed(engine: Engine, sql: str) -> str:
    """Return the hash of a query's rows."""
    answer = ask(engine, sql, "hash")
    assert answer.headers["content-type"] == "text/plain"
    return answer.text


def test_the_hash_does_not_depend_on_the_order(engine: Engine) -> None:
    rows = "SELECT * FROM (VALUES (1, 'a'), (2, NULL), (2, NULL)) AS v(x, y)"
    first = hashed(engine, rows)
    assert re.fullmatch("[0-9A-F]{64}", first)
    assert hashed(engine, f"{rows} ORDER BY x DESC, y") == first
    others = [
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(x, y)",
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, NULL)) AS v(x, y)",
        "SELECT * FROM (VALUES (1, 'a'), (2, ''), (2, NULL)) AS v(x, y)",
        "SELECT x AS z, y FROM (VALUES (1, 'a'), (2, NULL), (2, NULL)) AS v(x, y)",
        "SELECT CAST(x AS BIGINT) AS x, y FROM (VALUES (1, 'a'), (2, NULL), (2, NULL)) AS v(x, y)",
    ]
    assert len({first, *(hashed(engine, other) for other in others)}) == len(others) + 1


def test_the_hash_stays_what_it_is(engine: Engine) -> None:
    """Whoever has kept a hash compares it with that of a later release."""
    sql = "SELECT 1 AS i, 'a' AS s, CAST(0.1 AS DOUBLE) AS d, CAST(NULL AS DATE) AS n, ARRAY[1, 2] AS l"
    assert hashed(engine, sql) == "96372BF97CDABACD5E100E156D4F6881512B307DC42C12A613FEE54359A53C47"
    assert (
        hashed(engine, f"SELECT * FROM ({sql}) AS q WHERE i = 2")
        == "82677ACE7C4466B10AE4F2FDFB308C160076725ABC232DC04743DC4EE2DAC50A"
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ARRAY[CAST('nan' AS DOUBLE), 1.5]", [None, 1.5]),
        ("ARRAY[x'00ff']", [[0, 255]]),
        ("ROW(TIMESTAMP '2024-02-29 10:00:00', 1)", ["2024-02-29T10:00:00", 1]),
        ("{'a': TIMESTAMP '2024-02-29 10:00:00', 'b': 1}", {"a": "2024-02-29T10:00:00", "b": 1}),
        ("MAP(['a'], [TIMESTAMP '2024-02-29 10:00:00'])", {"a": "2024-02-29T10:00:00"}),
        ("(SELECT doc FROM t WHERE id = 1)", '{"a":[1,{"b/c":"x"}],"n":null}'),
    ],
)
def test_nested_values_as_json(engine: Engine, expression: str, value: object) -> None:
    [row] = engine.rows(f"SELECT {expression} AS x")
    assert row["x"] == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("json_get_str(doc, 'a', 1, 'b/c')", "x"),
        ("json_get_str(doc, 'a', 0)", None),
        ("json_get_int(doc, 'a', 0)", 1),
        ("json_get_int(doc, 'a', id - 1)", 1),
        ("json_get_bool(doc, 'a')", None),
        ("json_get_bool('{\"y\": true}', 'y')", True),
        ("json_get_float('{\"y\": 1.5}', 'y')", 1.5),
        ("json_get(doc, 'a')", '[1,{"b/c":"x"}]'),
        ("json_get_int(json_get(doc, 'a'), 0)", 1),
        ("json_contains(doc, 'a', 1)", True),
        ("json_contains(doc, 'n')", True),
        ("json_contains(doc, 'a', 2)", False),
        ("json_get_str('no json', 'a')", None),
        ("doc -> 'a' ->> 0", "1"),
        ("doc ->> 'a'", '[1,{"b/c":"x"}]'),
        ("json_as_text(doc, 'a', 0)", "1"),
    ],
)
def test_words_for_json(engine: Engine, expression: str, value: object) -> None:
    assert engine.rows(f"SELECT {expression} AS x FROM t WHERE id = 1") == [{"x": value}]


def test_prepared_statements(engine: Engine) -> None:
    assert engine.rows("PREPARE p AS SELECT $2 || $1 AS x; EXECUTE p('a', 'b')") == [{"x": "ba"}]
    assert engine.rows("PREPARE p(INT, INT) AS SELECT ? - ? AS x; EXECUTE p('3', 1 + 1)") == [{"x": 1}]
    assert engine.rows("PREPARE p AS INSERT INTO t (id) VALUES ($1); EXECUTE p(70); EXECUTE p(71)") == [
        {"count": 1}
    ]
    assert engine.rows("SELECT COUNT(*) AS n FROM t WHERE id >= 70") == [{"n": 2}]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("EXECUTE p(1)", "no statement 'p' is prepared"),
        ("PREPARE p AS SELECT $1; EXECUTE p", "takes 1 parameters, 0 are given"),
        ("PREPARE p SELECT 1", "PREPARE has the form"),
        ("PREPARE p AS DROP TABLE t; EXECUTE p", "only SELECT"),
        ("PREPARE p AS SELECT 1", "the query is empty"),
        ('PREPARE p AS SELECT $1; EXECUTE p((SELECT MAX(steps) FROM "~steps"))', "not found"),
    ],
)
def test_a_prepared_statement_is_refused(engine: Engine, sql: str, reason: str) -> None:
    answer = engine.http.get("/query", params={"sql": sql, "format": "json"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "AdHocQueryError")
    assert reason in answer.json()["details"]["error"]


@pytest.mark.parametrize("form", ["arrow_ipc", "parquet", "hash", "text", "json"])
def test_an_error_before_the_first_byte(engine: Engine, form: str) -> None:
    answer = engine.http.get("/query", params={"sql": "SELECT 10 / (1 - id) FROM t", "format": form})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "AdHocQueryError")


def test_an_arrow_stream_that_breaks_off_is_not_whole(engine: Engine) -> None:
    sql = "SELECT repeat('x', 100) AS p, error(CASE WHEN range = 900000 THEN 'no' END) FROM range(1000000)"
    with pytest.raises(httpx.RemoteProtocolError):
        engine.http.get("/query", params={"sql": sql, "format": "arrow_ipc"})
    assert engine.rows("SELECT 1 AS x") == [{"x": 1}]


def test_large_results_need_no_memory(deploy: Deploy) -> None:
    """A result many times the memory limit goes through in every format that is not drawn as a table."""
    engine = deploy(PROGRAM)
    engine.runtime_config = {"workers": 2, "max_rss_mb": 100}
    engine.start()
    engine.rows("SELECT 1 AS x")
    sql = "SELECT range AS n, repeat('x', 200) || range AS s FROM range(1500000)"
    sizes = {}
    for form in ("json", "arrow_ipc", "parquet"):
        with engine.http.stream("GET", "/query", params={"sql": sql, "format": form}) as answer:
            sizes[form] = sum(map(len, answer.iter_raw()))
    assert min(sizes["json"], sizes["arrow_ipc"]) > 300_000_000
    assert engine.peak() < 250_000_000

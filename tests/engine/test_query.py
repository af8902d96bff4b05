"""Ad-hoc queries: what may be asked, and how it is answered."""

import json

import httpx
import pytest

from tests.engine.conftest import FAILS_IN_THE_MIDDLE, Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, amount DECIMAL(30, 10));
CREATE TABLE bag (a INT NOT NULL, b INT DEFAULT 7) WITH ('materialized' = 'true');
CREATE TABLE hidden (a INT);
CREATE TABLE "T" (a INT) WITH ('materialized' = 'true');
CREATE VIEW plain AS SELECT id FROM t;
CREATE LOCAL VIEW doubled AS SELECT id * 2 AS twice FROM t;
CREATE MATERIALIZED VIEW total AS SELECT SUM(twice) AS s FROM doubled;
"""


def ask(engine: Engine, sql: str, **parameters: str) -> httpx.Response:
    """Send a query."""
    return engine.http.get("/query", params={"sql": sql, **parameters})


def refusal(engine: Engine, sql: str, **parameters: str) -> str:
    """Return why a query is refused."""
    answer = ask(engine, sql, **parameters)
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (400, "AdHocQueryError"), answer.text
    assert body["details"].keys() == {"error"}
    return str(body["details"]["error"])


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Fill the engine that the tests share, the same for each."""
    ask(shared, "INSERT INTO t VALUES (1, 'one', 1.5), (2, NULL, 12345678901234567890.0000000001)")
    return shared


def test_text_is_a_table(engine: Engine) -> None:
    answer = ask(engine, "SELECT id, name FROM t ORDER BY id")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.text.splitlines() == [
        "+----+------+",
        "| id | name |",
        "+----+------+",
        "| 1  | one  |",
        "| 2  |      |",
        "+----+------+",
    ]


def test_text_of_no_rows_has_a_head(engine: Engine) -> None:
    lines = ask(engine, "SELECT id FROM t WHERE id > 5", format="text").text.splitlines()
    assert lines == ["+----+", "| id |", "+----+", "+----+"]


def test_long_cells_are_cut(engine: Engine) -> None:
    line = ask(engine, f"SELECT '{'x' * 65}' AS a").text.splitlines()[3]
    assert line == f"| {'x' * 64}... |"


def test_json_is_a_line_for_a_row(engine: Engine) -> None:
    answer = ask(engine, "SELECT * FROM t ORDER BY id", format="json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.text.splitlines()[1] == '{"id":2,"name":null,"amount":12345678901234567890.0000000001}'


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CAST(0.1 AS REAL)", 0.1),
        ("CAST('nan' AS DOUBLE)", None),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIME '10:00:00'", "10:00:00"),
        ("TIMESTAMP '2024-02-29 10:00:00'", "2024-02-29T10:00:00"),
        ("x'00ff'", [0, 255]),
        ("ARRAY[1, NULL]", [1, None]),
        ("7 / 2", 3),
        ("PARSE_JSON('{\"a\": 1}')", '{"a":1}'),
        ("CAST(2 AS DECIMAL(5, 2))", 2.0),
    ],
)
def test_a_value_keeps_its_meaning(engine: Engine, expression: str, value: object) -> None:
    assert engine.rows(f"SELECT {expression} AS x") == [{"x": value}]


def test_views_are_read(engine: Engine) -> None:
    assert engine.rows("SELECT s FROM total") == [{"s": 6}]


def test_names_keep_their_case(engine: Engine) -> None:
    ask(engine, 'INSERT INTO "T" VALUES (1)')
    assert engine.rows('SELECT "T".a, t.id FROM "T" JOIN T ON "T".a = t.id') == [{"a": 1, "id": 1}]


def test_a_query_may_use_common_tables(engine: Engine) -> None:
    assert engine.rows("WITH hidden AS (SELECT id FROM t) SELECT MAX(id) AS m FROM hidden") == [{"m": 2}]


@pytest.mark.parametrize("relation", ["hidden", "plain", "doubled"])
def test_what_is_not_materialized_is_not_read(engine: Engine, relation: str) -> None:
    assert f"non-materialized source '{relation}'" in refusal(engine, f"SELECT * FROM {relation}")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x (a INT)",
        "DROP TABLE t",
        "DELETE FROM t",
        "UPDATE t SET id = 3",
        "COPY t TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA version",
        "SET threads = 1",
        "INSTALL httpfs",
        "EXPLAIN SELECT 1",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.t",
        'SELECT * FROM "~steps"',
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM (DESCRIBE t)",
        "SELECT * FROM (SHOW ALL TABLES)",
        "WITH x AS (INSERT INTO t VALUES (9) RETURNING id) SELECT * FROM x",
        "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
        "INSERT INTO total VALUES (1)",
        "INSERT INTO t VALUES (9) RETURNING id",
        "SELECT",
        "SELECT 1 / 0 FROM t",
        "SELECT nothing FROM t",
        "'",
        "",
    ],
)
def test_a_query_is_refused(engine: Engine, sql: str) -> None:
    assert refusal(engine, sql, format="json")
    assert len(engine.rows("SELECT id FROM t")) == 2


def test_a_format_is_refused(engine: Engine) -> None:
    assert "text, json, parquet, arrow_ipc, hash" in refusal(engine, "SELECT 1", format="xml")


def test_a_query_must_be_given(engine: Engine) -> None:
    answer = engine.http.get("/query")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "MissingUrlEncodedParam")


def test_all_statements_run_and_the_last_answers(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    rows = engine.rows("INSERT INTO bag (a) SELECT 5; SELECT 1; SELECT a, b FROM bag;")
    assert rows == [{"a": 5, "b": 7}]
    assert engine.rows("SELECT 1 AS x; INSERT INTO bag SELECT 1, 2 FROM bag") == [{"count": 1}]
    assert "NOT NULL" in refusal(engine, "INSERT INTO bag (b) VALUES (1)")
    assert len(engine.rows("SELECT * FROM bag")) == 2
    assert engine.http.get("/stats").json()["global_metrics"]["total_processed_records"] == 2


def test_an_inserted_key_replaces_its_row(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.rows("INSERT INTO t VALUES (1, 'a', NULL), (1, 'b', NULL)") == [{"count": 2}]
    assert engine.rows("INSERT INTO t (name, id) VALUES ('c', 1)") == [{"count": 1}]
    assert engine.rows("SELECT id, name FROM t") == [{"id": 1, "name": "c"}]


def test_many_rows_stream(engine: Engine) -> None:
    with engine.http.stream(
        "GET", "/query", params={"sql": "SELECT * FROM range(100000)", "format": "json"}
    ) as a:
        assert sum(1 for _ in a.iter_lines()) == 100_000
    assert len(ask(engine, "SELECT * FROM range(2500)").text.splitlines()) == 2504


def test_an_error_in_the_middle_is_the_last_line(engine: Engine) -> None:
    lines = ask(engine, FAILS_IN_THE_MIDDLE, format="json").text.splitlines()
    assert len(lines) > 2
    assert "ivision" in json.loads(lines[-1])["error"]


def test_a_query_ends_with_its_client(engine: Engine) -> None:
    endless = {"sql": "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 3"}
    with pytest.raises(httpx.ReadTimeout):
        engine.http.get("/query", params=endless, timeout=0.3)
    assert engine.rows("SELECT 1 AS x") == [{"x": 1}]


def test_a_query_ends_with_its_time(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"adhoc_query_timeout_secs": 0.2}
    engine.start()
    endless = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 3"
    assert "longer than 0.2 seconds" in refusal(engine, endless)


def test_a_running_query_does_not_delay_the_end(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    sql = "SELECT a.range FROM range(10000000) a, range(10000000) b"
    with engine.http.stream("GET", "/query", params={"sql": sql, "format": "json"}) as answer:
        assert next(answer.iter_lines())
        assert engine.process is not None
        engine.process.terminate()
        assert engine.process.wait(30) == 0

"""SQL of strangers that wants what it may not have: none works, each is told why, and the engine goes on.

What reaches for files, settings or other queries is refused before it runs, in a query, as the source of an
INSERT and in a view. What wants all memory or all time ends by a limit.
"""

import json

import duckdb
import httpx
import pytest

from sluicegate.engine import adhoc, reach
from sluicegate.engine.allowed import FUNCTIONS, TABLE_FUNCTIONS
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.protocol import CompileRequest
from tests.engine.conftest import Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);
CREATE TABLE hidden (secret VARCHAR);
"""
SECONDS = 3
"""That a query of this engine may take."""
PATIENCE = 20
"""Seconds within which an answer must be there, however busy the machine is."""

EXPRESSIONS = [
    "getenv('HOME')",
    "current_setting('temp_directory')",
    "current_setting('memory_limit')",
    "getvariable('x')",
    "current_query()",
    "current_database()",
    "current_schemas(true)",
    "current_connection_id()",
    "txid_current()",
    "version()",
    "pg_get_viewdef(1)",
    "pg_sleep(10)",
    "sleep_ms(10000)",
    "inet_server_addr()",
    "write_log('x')",
    "parse_duckdb_log_message('x', 'y')",
    "json_serialize_plan('SELECT 1')",
    "json_serialize_sql('SELECT 1')",
    "json_deserialize_sql('{}')",
    "nextval('s')",
    "setseed(0.5)",
    "main.lower('a')",
    "system.main.lower('a')",
    "pg_catalog.pg_typeof(1)",
    "\"getenv\"('HOME')",
    "\"GETENV\"('HOME')",
    "getenv /* a comment */ ('HOME')",
    "levenshtein('a', 'b')",
    "'HOME'.getenv()",
    "list_transform(['HOME'], lambda x: getenv(x))",
    "list_transform(['HOME'], x -> getenv(x))",
    "list_aggregate([1], 'no_such_thing')",
    "stats(1)",
    "printf('%2000000000d', 1)",
    "format('{:2000000000d}', 1)",
    "bitstring('1', 2000000000)",
    "make_type('INTEGER')",
    "cast_to_type('1', NULL::INT)",
    '(SELECT COUNT(*) FROM "~steps")',
    "EXISTS (FROM sqlite_master)",
    "nothing_of_the_kind(1)",
    "row_number(1) OVER (ORDER BY getenv('HOME'))",
    "getenv('HOME') OVER ()",
]
SOURCES = [
    "read_csv('/etc/passwd')",
    "read_csv_auto('/etc/passwd')",
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_json('/etc/passwd')",
    "read_ndjson_objects('/etc/passwd')",
    "read_parquet('/etc/passwd')",
    "parquet_scan('/etc/passwd')",
    "parquet_metadata('/etc/passwd')",
    "sniff_csv('/etc/passwd')",
    "read_duckdb('/etc/passwd')",
    "glob('/*')",
    "'/etc/passwd'",
    '"/etc/passwd"',
    "'t.csv'",
    '"https://example.com/t.parquet"',
    "'s3://bucket/t.parquet'",
    '"~steps"',
    '"~in"',
    "temp.t",
    "main.t",
    "memory.main.t",
    "system.information_schema.tables",
    "information_schema.tables",
    "sqlite_master",
    "sqlite_temp_master",
    "pg_catalog.pg_tables",
    "pg_tables",
    "duckdb_settings()",
    "duckdb_secrets()",
    "duckdb_extensions()",
    "duckdb_functions()",
    "duckdb_tables()",
    "duckdb_columns()",
    "duckdb_databases()",
    "duckdb_temporary_files()",
    "duckdb_memory()",
    "duckdb_logs()",
    "duckdb_variables()",
    "duckdb_prepared_statements()",
    "which_secret('x', 's3')",
    "pragma_database_size()",
    "pragma_table_info('t')",
    "pragma_show('t')",
    "pragma_user_agent()",
    "seq_scan('t')",
    "query('SELECT 1')",
    "query_table('hidden')",
    "json_execute_serialized_sql('{}')",
    "checkpoint()",
    "force_checkpoint()",
    "enable_logging()",
    "truncate_duckdb_logs()",
    "arrow_scan(1, 2, 3)",
    "pandas_scan(1)",
    "python_map_function(1)",
    "test_all_types()",
    "repeat('x', 1000000000)",
    "repeat_row(1, num_rows=1000000000)",
    "(SHOW TABLES)",
    "(SHOW ALL TABLES)",
    "(DESCRIBE t)",
    "(SUMMARIZE t)",
    "(PRAGMA version)",
    "pipeline",
    "request",
    "@t",
    "$t",
    "IDENTIFIER('t')",
    "TABLE('t')",
    "t /* */ . name",
]
STATEMENTS = [
    "COPY t TO '/tmp/sluicegate-attack'",
    "COPY t FROM '/etc/passwd'",
    "COPY (SELECT 1) TO '/tmp/sluicegate-attack'",
    "EXPORT DATABASE '/tmp/sluicegate-attack'",
    "IMPORT DATABASE '/tmp/sluicegate-attack'",
    "ATTACH '/tmp/sluicegate-attack.db' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '/tmp/sluicegate-attack.duckdb_extension'",
    "FORCE INSTALL httpfs FROM 'http://example.com'",
    "UPDATE EXTENSIONS",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit = '100GB'",
    "SET memory_limit = '100GB'",
    "SET GLOBAL operator_memory_limit = '100GB'",
    "SET operator_memory_limit = '100GB'",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "SET lock_configuration = false",
    "SET enable_external_access = true",
    "CALL pragma_version()",
    "CALL duckdb_settings()",
    "CALL force_checkpoint()",
    "CREATE TABLE x (a INT)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE MACRO lower(x) AS 1",
    "CREATE FUNCTION f(x) AS 1",
    "CREATE SEQUENCE s",
    "CREATE SECRET (TYPE s3)",
    "CREATE TYPE x AS ENUM ('a')",
    "ALTER TABLE t ADD COLUMN x INT",
    "DROP TABLE t",
    "DROP VIEW IF EXISTS v",
    "TRUNCATE t",
    "DELETE FROM t",
    "UPDATE t SET name = 'x'",
    "MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN DELETE",
    'INSERT INTO "~steps" VALUES (1, 1)',
    "INSERT INTO temp.t VALUES (9, 'x')",
    "INSERT INTO t VALUES (9, 'x') ON CONFLICT DO UPDATE SET name = 'y'",
    "INSERT OR REPLACE INTO t VALUES (9, 'x')",
    "INSERT INTO t BY NAME SELECT 9 AS id",
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO t VALUES (9, 'x') RETURNING id",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "DESCRIBE t",
    "SHOW TABLES",
    "SUMMARIZE t",
    "COMMENT ON TABLE t IS 'x'",
    "DEALLOCATE p",
    "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES (9, 'x') RETURNING id) SELECT * FROM x",
    "SELECT 1 INTO x",
    "SELECT 1; DROP TABLE t",
    "SELECT 1 /* ; */; DROP TABLE t --",
    "SELECT ';' ; ; DELETE FROM t",
    "SELECT 1 -- \n; DROP TABLE t",
    "SELECT $$;$$; DROP TABLE t",
    "SELECT E'\\'; DROP TABLE t",
    "PREPARE p AS DELETE FROM t; EXECUTE p",
    "PREPARE p AS SELECT $1; EXECUTE p(getenv('HOME'))",
    'WITH "~steps" AS (SELECT 1) SELECT * FROM "~steps" UNION ALL SELECT * FROM main."~steps"',
    "SELECT * FROM (WITH hidden AS (SELECT 1 AS secret) SELECT * FROM hidden), hidden",
    "SELECT * FROM hidden",
    "SELECT * FROM t AT (VERSION => 1), hidden",
    "\ufeffDROP TABLE t",
    "DR\u200bOP TABLE t",
    "DROP\u00a0TABLE t",
    "\uff24ROP TABLE t",
    "SELECT \x00",
    "SELECT * FROM t\x00; DROP TABLE t",
]
EXCESSIVE = [
    "SELECT range(3000000000) AS x",
    "SELECT len(list_resize([1], 2000000000)) AS x",
    "SELECT len(repeat('x', 3000000000)) AS x",
    "SELECT len(lpad('x', 2000000000, 'yz')) AS x",
    "SELECT len(rpad('x', id + 2000000000, 'yz')) AS x FROM (SELECT 1 AS id)",
    "SELECT len(repeat([1], 2000000000)) AS x",
    "SELECT len(replace(repeat('a', 100000), 'a', repeat('b', 1000000))) AS x",
    "SELECT max(len(repeat('x', 1000000) || range)) AS x FROM range(1000000)",
    "SELECT len(string_agg(repeat('x', 1000000))) AS x FROM range(100000)",
    "SELECT len(array_agg(range)) AS x FROM range(10000000000)",
    "SELECT cardinality(histogram(range)) AS x FROM range(10000000000)",
    "SELECT COUNT(*) AS x FROM (SELECT unnest(range(1000000)) AS a FROM range(1000000)) AS q WHERE a < 0",
    "SELECT COUNT(*) AS x FROM range(1000000000000)",
    "SELECT COUNT(*) AS x FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = 3",
    "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT COUNT(*) AS x FROM r",
    "WITH RECURSIVE r AS (SELECT [1] AS a UNION ALL SELECT a || a FROM r) SELECT max(len(a)) AS x FROM r",
    "WITH RECURSIVE r AS (SELECT 'x' AS a UNION ALL SELECT a || a FROM r) SELECT max(len(a)) AS x FROM r",
    "SELECT regexp_matches(repeat('a', 1000000), '((a{0,900}){0,900}){0,900}b') AS x",
    "SELECT len(list_sort(list_transform(range(100000), lambda i: range(100000)))) AS x",
]
DEEP = [
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT 1" + " + 1" * 20_000,
    "SELECT " + "NOT " * 5000 + "true",
    "SELECT " + "CASE WHEN true THEN " * 2000 + "1" + " END" * 2000,
    "SELECT * FROM (" * 500 + "SELECT 1" + ")" * 500,
    "SELECT " + "[" * 2000 + "]" * 2000,
    "SELECT " + "abs(" * 2000 + "1" + ")" * 2000,
    "SELECT 1 WHERE 1 IN (" + ", ".join(map(str, range(60_000))) + ")",
    "SELECT '" + "x" * 1_100_000 + "'",
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Run an engine with little memory and little patience."""
    made = Engine(tmp_path_factory.mktemp("engine"), PROGRAM)
    made.runtime_config = {
        "workers": 2,
        "max_rss_mb": 500,
        "dev_tweaks": {"adhoc_query_timeout_secs": SECONDS},
    }
    made.start()
    made.rows("INSERT INTO t VALUES (1, 'one')")
    yield made
    made.discard()


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the program."""
    compiled = compile_program(CompileRequest(PROGRAM)).plan
    assert compiled is not None
    return Plan.from_json(compiled)


def refusal(engine: Engine, sql: str, how: str = "socket") -> str:
    """Return why a query is refused; it must be so in time, and by a clear word."""
    from tests.engine.test_query_socket import asked

    if how == "socket":
        frames, code = asked(engine, {"sql": sql, "format": "json"})
        assert code == 1011, frames
        return str(json.loads(frames[-1])["error"])
    answer = engine.http.get("/query", params={"sql": sql, "format": "json"}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "AdHocQueryError"), answer.text
    return str(answer.json()["details"]["error"])


def goes_on(engine: Engine) -> None:
    """Check that the engine answers, has lost nothing and takes input."""
    assert engine.rows("SELECT id, name FROM t WHERE id < 100") == [{"id": 1, "name": "one"}]
    assert engine.push("t", '{"insert": {"id": 100}}', format="json").status_code == 200


def check(plan: Plan, sql: str) -> None:
    """Look at a query as the engine does before it runs it."""
    with duckdb.connect(":memory:") as connection:
        for relation in plan.relations:
            connection.execute(relation.ddl)
        for statement in adhoc.parse(sql, plan):
            reach.check(connection, statement.sql, adhoc.readable(plan))
            connection.sql(statement.sql)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_no_expression_reaches_out(plan: Plan, expression: str) -> None:
    for sql in (
        f"SELECT {expression} AS x",
        f"SELECT id FROM t WHERE ({expression}) IS NULL",
        f"SELECT id FROM t ORDER BY {expression}",
        f"SELECT COUNT(*) FILTER (WHERE ({expression}) IS NULL) FROM t",
        f"SELECT * FROM range(1) AS r LIMIT (SELECT len(CAST({expression} AS VARCHAR)))",
        f"INSERT INTO t SELECT 9, CAST({expression} AS VARCHAR)",
        f"VALUES ({expression})",
    ):
        with pytest.raises((EngineError, reach.Forbidden, duckdb.Error)):
            check(plan, sql)
    view = f"CREATE VIEW v AS SELECT id, {expression} AS x FROM t;"
    assert compile_program(CompileRequest(PROGRAM + view)).plan is None


@pytest.mark.parametrize("source", SOURCES)
def test_no_source_is_reached(plan: Plan, source: str) -> None:
    for sql in (
        f"SELECT * FROM {source}",
        f"FROM {source}",
        f"SELECT * FROM t, {source}",
        f"SELECT * FROM t WHERE EXISTS (SELECT * FROM {source})",
        f"WITH c AS (SELECT * FROM {source}) SELECT * FROM c",
        f"INSERT INTO t SELECT 9, 'x' FROM {source}",
    ):
        with pytest.raises((EngineError, reach.Forbidden)):
            check(plan, sql)
    view = f"CREATE VIEW v AS SELECT * FROM {source};"
    assert compile_program(CompileRequest(PROGRAM + view)).plan is None


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_statement_is_let_through(plan: Plan, statement: str) -> None:
    with pytest.raises((EngineError, reach.Forbidden)):
        check(plan, statement)


def test_the_engine_refuses_them_all(engine: Engine) -> None:
    for sql in STATEMENTS:
        assert refusal(engine, sql), sql
    for source in SOURCES[:10]:
        assert refusal(engine, f"SELECT * FROM {source}", "http")
    for expression in EXPRESSIONS[:10]:
        assert refusal(engine, f"SELECT {expression}", "http")
    goes_on(engine)


@pytest.mark.parametrize("sql", EXCESSIVE)
def test_what_wants_too_much_ends(engine: Engine, sql: str) -> None:
    reason = refusal(engine, sql, "http")
    limits = (
        "memory",
        "longer than",
        "stretched",
        "too large",
        "out of",
        "too big",
        "maximum",
        "Unsupported",
    )
    assert any(word in reason for word in limits) or "repetition" in reason, reason
    goes_on(engine)


def test_an_insert_that_wants_too_much_ends(engine: Engine) -> None:
    reason = refusal(engine, "INSERT INTO t SELECT range, repeat('x', 10000) FROM range(1000000)")
    assert "MiB of rows at most" in reason or "more memory" in reason
    assert "longer" in refusal(engine, "INSERT INTO t SELECT COUNT(*), '' FROM range(1000000000000)")
    goes_on(engine)


@pytest.mark.parametrize("sql", DEEP, ids=lambda sql: sql[:25])
def test_what_is_too_deep_or_too_long_is_refused(engine: Engine, sql: str) -> None:
    reason = refusal(engine, sql)
    assert any(word in reason for word in ("nested", "more than", "depth", "longer than")), reason
    goes_on(engine)


@pytest.mark.parametrize("sql", DEEP, ids=lambda sql: sql[:25])
def test_a_view_that_is_too_deep_is_refused(sql: str) -> None:
    if "IN (" in sql or "'x" in sql:
        pytest.skip("a program may be long: its limits are those of the process that compiles it")
    assert compile_program(CompileRequest(f"CREATE VIEW v AS {sql};")).plan is None


def test_what_is_allowed_exists() -> None:
    """Every name is one of DuckDB's, or of its grammar's: an old or misspelt one would be dead."""
    with duckdb.connect(":memory:") as connection:
        known = {
            row[0]
            for row in connection.execute("SELECT lower(function_name) FROM duckdb_functions()").fetchall()
        }
    grammar = {
        "!",
        "!~",
        "!~*",
        "->",
        "<>",
        "==",
        "coalesce",
        "grouping",
        "grouping_id",
        "ifnull",
        "try",
        "~*",
    }
    grammar |= {"similar_to_escape", "not_similar_to_escape"}
    assert (FUNCTIONS | TABLE_FUNCTIONS) - known <= grammar | {"unnest"}


def test_cut_off_bytes_are_no_query(engine: Engine) -> None:
    for raw in (b"%ff%fe", b"SELECT%20%27%ed%a0%80%27", b"%00"):
        answer = engine.http.get(b"/query?sql=".decode() + raw.decode() + "&format=json")
        assert answer.status_code in (200, 400)
    goes_on(engine)


def test_a_slow_reader_holds_nothing(engine: Engine) -> None:
    """A result that nobody reads delays neither input nor other queries."""
    sql = "SELECT repeat('x', 1000) AS x FROM range(10000000)"
    with httpx.Client(base_url=engine.http.base_url, headers=engine.http.headers, timeout=PATIENCE) as slow:
        held = [
            slow.send(slow.build_request("GET", "/query", params={"sql": sql, "format": "json"}), stream=True)
            for _ in range(12)
        ]
        goes_on(engine)
        for answer in held:
            answer.close()

"""Statements and clauses of programs: what their views hold, and what the schema says of them."""

from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from sluicegate.engine import failures
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.plan import SET_NOW, Plan
from sluicegate.protocol import CompileRequest
from tests.engine.evaluation import running

ORDERS = "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, product VARCHAR, rowtime TIMESTAMP);"
MOMENTS = ["10:00:00", "10:00:40", "10:01:10", "10:20:00"]


def moments() -> list[dict[str, Any]]:
    """Return orders at some times of a morning, two of them within a minute."""
    return [
        {"id": n, "product": "ab"[n % 2], "rowtime": f"2024-01-01 {moment}"}
        for n, moment in enumerate(MOMENTS)
    ]


def results(program: str, **tables: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows of the view `v`."""
    with running(program) as run:
        for table, rows in tables.items():
            run.insert(table, rows)
        return run.rows("v")


def refusal(program: str) -> str:
    """Return the first message of a program that is wrong."""
    response = compile_program(CompileRequest(program))
    assert response.sql_compilation["exit_code"] == 1
    return str(response.sql_compilation["messages"][0]["message"])


def test_a_type_may_be_another_name() -> None:
    program = "CREATE TYPE int32 AS INTEGER; CREATE TYPE ia AS INT ARRAY; CREATE TABLE t (a int32, b ia);"
    with running(program) as run:
        types = run.column_types("t")
        assert (types["a"]["type"], types["b"]["component"]["type"]) == ("INTEGER", "INTEGER")


def test_a_row_type_makes_values() -> None:
    program = """
    CREATE TYPE address AS (street VARCHAR, number INT);
    CREATE VIEW v AS SELECT x.home.street AS s, x.home.number + 1 AS n
    FROM (SELECT address('Main', 5) AS home) AS x;
    """
    assert results(program) == [("Main", 6)]


def test_a_variant_becomes_a_row() -> None:
    program = """
    CREATE TYPE address AS (city VARCHAR, number INT);
    CREATE FUNCTION jsonstring_as_address(s VARCHAR) RETURNS address;
    CREATE TABLE t (id INT, j VARCHAR);
    CREATE VIEW v AS SELECT id, CAST(PARSE_JSON(j) AS address) AS a, jsonstring_as_address(j) AS b FROM t;
    """
    rows = [{"id": 1, "j": '{"city": "Boston", "number": 10, "other": 1}'}, {"id": 2, "j": '{"city": "X"}'}]
    first, second = {"city": "Boston", "number": 10}, {"city": "X", "number": None}
    assert results(program, t=rows) == [(1, first, first), (2, second, second)]


def test_functions_of_a_program_are_put_in() -> None:
    program = """
    CREATE FUNCTION twice(x INT) RETURNS INT AS x * 2;
    CREATE FUNCTION four_times(x INT NOT NULL) RETURNS BIGINT AS twice(twice(x));
    CREATE FUNCTION pi2() RETURNS DECIMAL(3, 2) AS 3.14;
    CREATE TABLE t (a DECIMAL(5, 2));
    CREATE VIEW v AS SELECT four_times(a + 1) AS f, pi2() AS p FROM t;
    """
    assert [tuple(map(float, row)) for row in results(program, t=[{"a": "1.9"}])] == [(8.0, 3.14)]


def test_a_view_reads_itself() -> None:
    program = """
    CREATE TABLE edges (a INT, b INT);
    DECLARE RECURSIVE VIEW v (a INT, b INT);
    CREATE VIEW v AS
        SELECT v.a, edges.b FROM v JOIN edges ON v.b = edges.a UNION ALL SELECT a, b FROM edges;
    """
    edges = [{"a": 1, "b": 2}, {"a": 2, "b": 3}, {"a": 3, "b": 1}]
    assert results(program, edges=edges) == [(a, b) for a in (1, 2, 3) for b in (1, 2, 3)]


def test_views_that_read_each_other_are_refused() -> None:
    declared = "DECLARE RECURSIVE VIEW a (x INT); DECLARE RECURSIVE VIEW b (x INT);"
    assert "one recursive view" in refusal(declared + "CREATE VIEW b AS SELECT x FROM a;")
    assert "UNION" in refusal("DECLARE RECURSIVE VIEW a (x INT); CREATE VIEW a AS SELECT x + 1 AS x FROM a;")


def test_rows_are_tumbled() -> None:
    program = (
        ORDERS
        + """
    CREATE VIEW v AS SELECT window_start, window_end, COUNT(*) AS n
    FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end;
    """
    )
    found = [(str(start)[11:], str(end)[11:], n) for start, end, n in results(program, orders=moments())]
    assert found == [
        ("10:00:00", "10:01:00", 2),
        ("10:01:00", "10:02:00", 1),
        ("10:20:00", "10:21:00", 1),
    ]


def test_rows_hop() -> None:
    program = (
        ORDERS
        + """
    CREATE VIEW v AS SELECT id, window_start, window_end FROM TABLE(HOP(
        data => TABLE orders, timecol => DESCRIPTOR(rowtime),
        slide => INTERVAL '2' MINUTE, size => INTERVAL '5' MINUTE));
    """
    )
    rows: list[dict[str, Any]] = [{"id": 1, "rowtime": "2024-01-01 10:00:30"}, {"id": 2, "rowtime": None}]
    found = [(id_, str(start)[11:], str(end)[11:]) for id_, start, end in results(program, orders=rows)]
    assert found == [(1, "09:56:00", "10:01:00"), (1, "09:58:00", "10:03:00"), (1, "10:00:00", "10:05:00")]


def test_rows_form_sessions() -> None:
    program = (
        ORDERS
        + """
    CREATE VIEW v AS SELECT id, window_start, window_end
    FROM TABLE(SESSION(TABLE orders, DESCRIPTOR(rowtime), INTERVAL '10' MINUTE));
    """
    )
    found = [(id_, str(start)[11:], str(end)[11:]) for id_, start, end in results(program, orders=moments())]
    assert found == [
        *((n, "10:00:00", "10:11:10") for n in (0, 1, 2)),
        (3, "10:20:00", "10:30:00"),
    ]


def test_the_closest_row_is_joined() -> None:
    program = """
    CREATE TABLE l (k INT, ts INT); CREATE TABLE r (k INT, ts INT, x VARCHAR);
    CREATE VIEW v AS SELECT l.ts, r.x FROM l LEFT ASOF JOIN r
        MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k;
    """
    left = [{"k": 1, "ts": ts} for ts in (1, 5, 9)]
    right = [{"k": 1, "ts": 4, "x": "a"}, {"k": 1, "ts": 6, "x": "b"}, {"k": 2, "ts": 8, "x": "c"}]
    assert results(program, l=left, r=right) == [(1, None), (5, "a"), (9, "b")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "SELECT city, country FROM d, UNNEST(cities) AS t (city)",
            [("Bonn", "de"), ("Ulm", "de")],
            id="unnest",
        ),
        pytest.param(
            "SELECT city, i FROM d CROSS JOIN UNNEST(d.cities) WITH ORDINALITY AS t (city, i)",
            [("Bonn", 2), ("Ulm", 1)],
            id="ordinality",
        ),
        pytest.param(
            "SELECT country, x FROM d, LATERAL (SELECT CARDINALITY(d.cities) AS x)",
            [("de", 2), ("fr", None)],
            id="lateral",
        ),
        pytest.param(
            "SELECT country, COUNT(*) AS n FROM d GROUP BY ROLLUP (country)",
            [("de", 1), ("fr", 1), (None, 2)],
            id="rollup",
        ),
        pytest.param(
            "SELECT country, GROUPING(country) AS g FROM d GROUP BY CUBE (country)",
            [("de", 0), ("fr", 0), (None, 1)],
            id="cube",
        ),
        pytest.param(
            "SELECT k, n FROM (SELECT MAP['a', 1, 'b', 2] AS m) AS x CROSS JOIN UNNEST(x.m) AS t (k, n)",
            [("a", 1), ("b", 2)],
            id="unnest of a map",
        ),
        pytest.param(
            "SELECT y, n FROM (SELECT ARRAY[ROW('a', 1), ROW('b', 2)] AS m) AS x, UNNEST(x.m) AS t (y, n)",
            [("a", 1), ("b", 2)],
            id="unnest of rows",
        ),
        pytest.param("SELECT ARRAY(SELECT country FROM d ORDER BY 1) AS a", [(["de", "fr"],)], id="array of"),
        pytest.param("SELECT country FROM d MINUS SELECT 'fr'", [("de",)], id="minus"),
        pytest.param("SELECT country FROM d EXCEPT SELECT 'fr'", [("de",)], id="except"),
        pytest.param(
            "SELECT country FROM d QUALIFY ROW_NUMBER() OVER (ORDER BY country DESC) = 1",
            [("fr",)],
            id="qualify",
        ),
        pytest.param(
            "SELECT * FROM (SELECT country, 1 AS c FROM d) "
            "PIVOT (SUM(c) FOR country IN ('de' AS a, 'xx' AS b))",
            [(1, None)],
            id="pivot",
        ),
        pytest.param("SELECT COUNT(country, cities) AS n FROM d", [(1,)], id="count of two"),
        pytest.param(
            "SELECT country, SUM(1) OVER (PARTITION BY country) AS n FROM d",
            [("de", 1), ("fr", 1)],
            id="over",
        ),
        pytest.param(
            "SELECT ARRAY_AGG(country ORDER BY country DESC) AS a FROM d", [(["fr", "de"],)], id="array_agg"
        ),
        pytest.param("VALUES (1, 'a')", [(1, "a")], id="values"),
        pytest.param("SELECT country FROM d WHERE cities[1] = 'Ulm'", [("de",)], id="index"),
    ],
)
def test_a_clause_means_what_it_says(query: str, expected: list[tuple[Any, ...]]) -> None:
    program = f"CREATE TABLE d (cities VARCHAR ARRAY, country VARCHAR); CREATE VIEW v AS {query};"
    rows: list[dict[str, Any]] = [
        {"cities": ["Ulm", "Bonn"], "country": "de"},
        {"cities": None, "country": "fr"},
    ]
    assert results(program, d=rows) == expected


def test_aggregates_have_the_types_of_their_arguments() -> None:
    program = """
    CREATE TABLE t (i INT, d DECIMAL(10, 2), f DOUBLE, g INT);
    CREATE VIEW v AS SELECT AVG(i) AS i, AVG(d) AS d, AVG(f) AS f, SUM(i) AS s, COUNT(*) AS n,
        AVG(DISTINCT i) FILTER (WHERE i > 1) AS h, BOOL_OR(i > 1) AS b FROM t GROUP BY g;
    CREATE VIEW w AS SELECT i, AVG(i) OVER (PARTITION BY g) AS a FROM t;
    """
    with running(program) as run:
        run.insert("t", [{"i": i, "d": "0.10", "f": i, "g": 1} for i in (1, 2, 2, 6)])
        assert run.values("v") == [{"i": 2, "d": 0.1, "f": 2.75, "s": 11, "n": 4, "h": 4, "b": True}]
        assert run.rows("w") == [(1, 2), (2, 2), (2, 2), (6, 2)]
        types = {name: kind["type"] for name, kind in run.column_types("v").items()}
        scale = run.column_types("v")["d"]
    assert types == {
        **{"i": "INTEGER", "d": "DECIMAL", "f": "DOUBLE", "s": "BIGINT", "n": "BIGINT"},
        **{"h": "INTEGER", "b": "BOOLEAN"},
    }
    assert (scale["precision"], scale["scale"]) == (10, 2)


def test_types_of_expressions_are_found_where_they_stand() -> None:
    program = """
    CREATE TABLE t (id INT, j VARIANT, d DECIMAL(6, 2));
    CREATE VIEW v AS
    WITH parts AS (SELECT id, j['items'] AS items, AVG(id) OVER () AS mean FROM t)
    SELECT p.id, CAST(p.items[1]['price'] AS DECIMAL(8, 2)) / 4 AS quarter, p.mean,
        (SELECT CAST(MAX(u.d / 3) AS INT) FROM t u WHERE u.id = p.id) AS third
    FROM parts p;
    """
    rows = [{"id": 3, "j": {"items": [{"price": 1.5}]}, "d": "8.75"}]
    (row,) = results(program, t=rows)
    assert (row[0], float(row[1]), row[2], row[3]) == (3, 0.375, 3, 2)


def test_lateness_drops_rows_below_the_waterline() -> None:
    program = """
    CREATE TABLE p (ts TIMESTAMP LATENESS INTERVAL 1 HOURS);
    CREATE MATERIALIZED VIEW c AS SELECT COUNT(*) AS n FROM p;
    """
    with running(program) as run:

        def kept(*times: str | None) -> list[str]:
            """Take a step; say which rows there are."""
            run.insert("p", [{"ts": time and f"2020-01-01 {time}"} for time in times])
            assert run.rows("c") == [(len(run.rows("p")),)]
            return [str(row[0])[11:] for row in run.rows("p")]

        assert kept("01:00:00", "00:00:00") == ["00:00:00", "01:00:00"]
        assert kept("00:00:00") == ["00:00:00", "00:00:00", "01:00:00"]
        assert kept("02:00:00", "00:10:00")[2:] == ["00:10:00", "01:00:00", "02:00:00"]
        assert kept("00:59:59", "01:00:00")[3:] == ["01:00:00", "01:00:00", "02:00:00"]
        assert kept(None)[-1] == ""
        run.change(
            "p", [("delete", {"ts": "2020-01-01 00:10:00"}), ("delete", {"ts": "2020-01-01 01:00:00"})]
        )
        assert [str(row[0])[11:] for row in run.rows("p")][2:] == ["00:10:00", "01:00:00", "02:00:00", ""]


def test_a_row_that_is_late_is_replaced_by_nothing() -> None:
    program = "CREATE TABLE p (id INT PRIMARY KEY, n INT LATENESS 10, x INT);"
    with running(program) as run:
        run.insert("p", [{"id": 1, "n": 100, "x": 1}, {"id": 2, "n": 80, "x": 1}])
        run.insert("p", [{"id": 1, "n": 95, "x": 2}, {"id": 2, "n": 99, "x": 2}])
        assert run.rows("p") == [(1, 95, 2), (2, 80, 1)]
        run.change("p", [("delete", {"id": 2}), ("update", {"id": 2, "x": 3}), ("update", {"id": 1, "x": 3})])
        assert run.rows("p") == [(1, 95, 3), (2, 80, 1)]


def test_lateness_is_in_the_schema() -> None:
    program = """
    LATENESS v.a INTERVAL 1 HOUR;
    CREATE TABLE t (ts TIMESTAMP LATENESS INTERVAL '1' HOUR, n INT LATENESS 5);
    CREATE VIEW v AS SELECT ts AS a, n AS b FROM t;
    """
    with running(program) as run:
        fields = [
            f for relations in run.schema.values() for relation in relations for f in relation["fields"]
        ]
        assert [f["lateness"] for f in fields] == ["INTERVAL '1' HOUR", "5", "INTERVAL 1 HOUR", None]
        assert run.messages == []
    assert "does not exist" in refusal("LATENESS nothing.a 5;")
    assert refusal("CREATE TABLE t (s VARCHAR LATENESS INTERVAL 1 HOUR);")
    for bound in ("(SELECT COUNT(*) FROM u)", "levenshtein('a', 'b')", "n"):
        assert "constant" in refusal(f"CREATE TABLE u (n INT); CREATE TABLE t (n INT LATENESS {bound});")


def test_views_read_the_time_of_the_step() -> None:
    program = """
    CREATE TABLE t (ts TIMESTAMP);
    CREATE LOCAL VIEW recent AS SELECT ts FROM t WHERE ts >= NOW() - INTERVAL 1 DAYS;
    CREATE VIEW v AS SELECT COUNT(*) AS n FROM recent;
    CREATE VIEW w AS SELECT ts FROM t;
    """
    with running(program) as run:
        assert [view.reads_now for view in run.plan.views] == [True, True, False]
        run.insert("t", [{"ts": "2020-01-01 12:00:00"}])
        cursor = run.database.cursor()
        found = []
        for day in (2, 3):
            moment = cursor.execute(f"SELECT epoch_ms(TIMESTAMP '2020-01-0{day}')").fetchall()[0][0]
            cursor.execute(SET_NOW, [moment])
            found.append(run.rows("v"))
        assert found == [[(1,)], [(0,)]]


MOMENT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
CLOCKS = {
    "2020-01-02 03:04:05": [
        *("NOW()", "CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP(3)", "LOCALTIMESTAMP", "current_localtimestamp()"),
        *("get_current_timestamp()", "transaction_timestamp()"),
    ],
    "2020-01-02": ["CURRENT_DATE", "today()"],
    "03:04:05": ["CURRENT_TIME", "LOCALTIME", "get_current_time()", "current_localtime()"],
    "2020-01-01 03:04:05": ["AGO(INTERVAL 1 DAY)"],
    "12:00:00": ["AGE(TIMESTAMP '2020-01-01 12:00:00')"],
    "2 days": ["AGE(DATE '2019-12-31')"],
    "20:55:55": ["AGE(NOW() - INTERVAL 1 DAYS)"],
    "1 day": ["AGE(TIMESTAMP '2020-01-03', CAST(CURRENT_DATE AS TIMESTAMP))"],
}


@pytest.mark.parametrize(
    ("expression", "expected"), [(word, text) for text, words in CLOCKS.items() for word in words]
)
def test_whatever_asks_for_the_time_has_that_of_the_step(expression: str, expected: str) -> None:
    with running(f"CREATE VIEW v AS SELECT CAST({expression} AS VARCHAR) AS x;") as run:
        assert run.view("v").reads_now
        run.database.cursor().execute(SET_NOW, [int(MOMENT.timestamp() * 1000)])
        assert run.rows("v") == [(expected,)]


def test_indexes_are_unique_keys_of_views() -> None:
    program = "CREATE TABLE t (a INT, b INT); CREATE VIEW v AS SELECT a, b FROM t;"
    with running(program + "CREATE INDEX i ON v(a, b);") as run:
        (index,) = run.plan.indexes
        assert (index.name, index.relation, index.columns) == ("i", "v", ("a", "b"))
    assert "no column 'c'" in refusal(program + "CREATE INDEX i ON v(c);")
    assert "'t' is none" in refusal(program + "CREATE INDEX i ON t(a);")


def test_a_plan_of_before_is_read() -> None:
    with running("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a FROM t;") as run:
        raw = run.plan.to_json()
        del raw["indexes"], raw["views"][0]["reads_now"]
        for key in ("lateness", "append_only"):
            del raw["tables"][0][key]
        assert Plan.from_json(raw) == run.plan


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("XXHASH('a', 1)", "MD5"),
        ("GUNZIP(x'00')", "before it is ingested"),
        ("RANDOM()", "same rows"),
        ("UUID()", "same rows"),
        ("MIN(1) WITHIN DISTINCT (2)", "clause that is not understood"),
    ],
)
def test_what_there_is_not_is_refused_with_advice(expression: str, advice: str) -> None:
    assert advice in refusal(f"CREATE VIEW v AS SELECT {expression} AS x;")


def test_hints_are_taken_and_names_of_the_engine_are_not() -> None:
    program = """
    SET feldera_ignore_warning_unbounded_state = ON;
    CREATE TABLE u (c INT NOT NULL PRIMARY KEY);
    CREATE TABLE t (s VARCHAR INTERNED, b INT FOREIGN KEY REFERENCES u(c)) WITH ('append_only' = 'true');
    """
    with running(program) as run:
        assert all(message["warning"] for message in run.messages)
        assert [table.append_only for table in run.plan.tables] == [False, True]
    assert "belong to the engine" in refusal('CREATE TABLE "~now" (a INT);')


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2147483647 + 1", "Overflow in addition of INT32 (2147483647 + 1)!"),
        ("1 / 0", "Division by zero in expression (1 // 0)"),
        ("ELEMENT(ARRAY[2, 3])", "ELEMENT: the array has more than one element"),
        ("CAST('abc' AS INT)", "Could not convert string 'abc' to INT32"),
    ],
)
def test_a_failure_says_the_cause_alone(expression: str, expected: str) -> None:
    with running(f"CREATE VIEW v AS SELECT {expression} AS x;") as run, pytest.raises(duckdb.Error) as raised:
        run.rows("v")
    assert failures.reason(raised.value) == expected


def test_a_default_reads_the_metadata_of_a_connector() -> None:
    default = "CAST(CONNECTOR_METADATA()['kafka_topic'] AS VARCHAR)"
    with running(f"CREATE TABLE t (id INT, topic VARCHAR DEFAULT {default});") as run:
        (_, column) = run.plan.tables[0].columns
        assert column.default is None
        given = 'SELECT CAST(\'{"kafka_topic": "books"}\' AS JSON) AS "~metadata"'
        assert run.query(f"SELECT {column.computed} FROM ({given})") == [("books",)]


def test_columns_that_cannot_be_null_say_so() -> None:
    program = """
    CREATE TABLE t (a INT NOT NULL, b INT, PRIMARY KEY (a)); CREATE TABLE u (c INT NOT NULL);
    CREATE VIEW v AS SELECT a, b, a + 1 AS d, COUNT(*) AS n, 'x' AS s, COALESCE(b, 0) AS o,
        CAST(a AS VARCHAR) AS w, a + b AS p FROM t GROUP BY a, b;
    CREATE VIEW l AS SELECT t.a, u.c, v.n FROM t LEFT JOIN u ON a = c JOIN v ON t.a = v.a;
    CREATE VIEW r AS SELECT a FROM t GROUP BY ROLLUP (a);
    CREATE VIEW x AS SELECT a FROM t UNION ALL SELECT b FROM t;
    CREATE VIEW y AS WITH q AS (SELECT a FROM t) SELECT q.a, (SELECT c FROM u) AS c FROM q;
    """
    with running(program) as run:
        found = {
            view.name: {name: kind["nullable"] for name, kind in run.column_types(view.name).items()}
            for view in run.plan.views
        }
    sure = {name for name, nullable in found["v"].items() if not nullable}
    assert sure == {"a", "d", "n", "s", "o", "w"}
    assert found["l"] == {"a": False, "c": True, "n": False}
    assert (found["r"], found["x"], found["y"]) == ({"a": True}, {"a": True}, {"a": False, "c": True})


def test_names_of_our_own_columns_are_refused() -> None:
    for program in (
        'CREATE TABLE t ("~w" BIGINT);',
        'CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a AS "~w" FROM t;',
    ):
        assert "names that begin with ~ are taken" in refusal(program)

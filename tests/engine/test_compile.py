"""The compile step: what a program means, and what is said of one that is wrong."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sluicegate.engine.compiler import compile_program
from sluicegate.protocol import PLATFORM_VERSION, CompileRequest, CompileResponse

ROOT = Path(__file__).parents[2]


def compiled(program: str, **others: Any) -> CompileResponse:
    """Compile a program."""
    return compile_program(CompileRequest(program, **others))


def messages(program: str) -> list[dict[str, Any]]:
    """Return what is said of a program."""
    found: list[dict[str, Any]] = compiled(program).sql_compilation["messages"]
    return found


def schema(program: str) -> dict[str, Any]:
    """Return the schema of a program that is right."""
    response = compiled(program)
    assert response.program_info is not None, response.sql_compilation
    found: dict[str, Any] = response.program_info["schema"]
    return found


def fields(relation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a relation's column types by name."""
    return {field["name"]: field["columntype"] for field in relation["fields"]}


@pytest.mark.parametrize(
    ("declared", "wire"),
    [
        pytest.param("BOOLEAN", {"type": "BOOLEAN"}, id="boolean"),
        pytest.param("TINYINT", {"type": "TINYINT"}, id="tinyint"),
        pytest.param("SMALLINT", {"type": "SMALLINT"}, id="smallint"),
        pytest.param("INT", {"type": "INTEGER"}, id="int"),
        pytest.param("BIGINT", {"type": "BIGINT"}, id="bigint"),
        pytest.param("INT UNSIGNED", {"type": "UINTEGER"}, id="unsigned"),
        pytest.param("REAL", {"type": "REAL"}, id="real"),
        pytest.param("FLOAT", {"type": "DOUBLE"}, id="float is double"),
        pytest.param("DOUBLE PRECISION", {"type": "DOUBLE"}, id="double precision"),
        pytest.param("DECIMAL(10, 2)", {"type": "DECIMAL", "precision": 10, "scale": 2}, id="decimal"),
        pytest.param("DECIMAL", {"type": "DECIMAL", "precision": 38, "scale": 0}, id="bare decimal"),
        pytest.param("CHAR(3)", {"type": "CHAR", "precision": 3}, id="char"),
        pytest.param("VARCHAR(20)", {"type": "VARCHAR", "precision": 20}, id="varchar with length"),
        pytest.param("VARCHAR", {"type": "VARCHAR", "precision": -1}, id="varchar"),
        pytest.param("STRING", {"type": "VARCHAR", "precision": -1}, id="string"),
        pytest.param("TEXT", {"type": "VARCHAR", "precision": -1}, id="text"),
        pytest.param("VARBINARY", {"type": "VARBINARY", "precision": -1}, id="varbinary"),
        pytest.param("DATE", {"type": "DATE"}, id="date"),
        pytest.param("TIME", {"type": "TIME", "precision": 6}, id="time"),
        pytest.param("TIMESTAMP", {"type": "TIMESTAMP", "precision": 6}, id="timestamp"),
        pytest.param("UUID", {"type": "UUID"}, id="uuid"),
        pytest.param("VARIANT", {"type": "VARIANT"}, id="variant"),
        pytest.param(
            "INT ARRAY ARRAY",
            {
                "type": "ARRAY",
                "component": {
                    "type": "ARRAY",
                    "nullable": True,
                    "component": {"type": "INTEGER", "nullable": True},
                },
            },
            id="nested array",
        ),
        pytest.param(
            "MAP<VARCHAR, INT>",
            {
                "type": "MAP",
                "key": {"type": "VARCHAR", "nullable": True, "precision": -1},
                "value": {"type": "INTEGER", "nullable": True},
            },
            id="map",
        ),
    ],
)
def test_a_type_has_its_wire_name(declared: str, wire: dict[str, Any]) -> None:
    (table,) = schema(f"CREATE TABLE t (c {declared} NOT NULL);")["inputs"]
    assert fields(table)["c"] == {**wire, "nullable": False}


def test_a_row_type_is_declared_by_name() -> None:
    program = """
    CREATE TYPE address AS (street VARCHAR, number INT);
    CREATE TABLE t (home address);
    CREATE VIEW v AS SELECT t.home.street AS s FROM t;
    """
    found = schema(program)
    home = fields(found["inputs"][0])["home"]
    assert home["type"] == "STRUCT"
    assert [part["name"] for part in home["fields"]] == ["street", "number"]
    assert fields(found["outputs"][0])["s"]["type"] == "VARCHAR"


def test_the_schema_of_a_table_is_whole() -> None:
    program = (
        "CREATE TABLE T (Id INT NOT NULL PRIMARY KEY, \"A b\" INT DEFAULT 5)\nWITH ('materialized' = 'true');"
    )
    assert schema(program)["inputs"] == [
        {
            "name": "t",
            "case_sensitive": False,
            "fields": [
                {
                    "name": "id",
                    "case_sensitive": False,
                    "columntype": {"type": "INTEGER", "nullable": False},
                    "lateness": None,
                    "default": None,
                    "unused": False,
                    "watermark": None,
                },
                {
                    "name": "A b",
                    "case_sensitive": True,
                    "columntype": {"type": "INTEGER", "nullable": True},
                    "lateness": None,
                    "default": "5",
                    "unused": False,
                    "watermark": None,
                },
            ],
            "materialized": True,
            "properties": {
                "materialized": {
                    "value": "true",
                    "key_position": {
                        "start_line_number": 2,
                        "start_column": 7,
                        "end_line_number": 2,
                        "end_column": 20,
                    },
                    "value_position": {
                        "start_line_number": 2,
                        "start_column": 24,
                        "end_line_number": 2,
                        "end_column": 29,
                    },
                }
            },
            "primary_key": ["id"],
        }
    ]


def test_a_table_constraint_names_the_key() -> None:
    (table,) = schema("CREATE TABLE t (a INT, b INT, PRIMARY KEY (b, a));")["inputs"]
    assert table["primary_key"] == ["b", "a"]
    assert [kind["nullable"] for kind in fields(table).values()] == [False, False]


def test_views_are_outputs_unless_local() -> None:
    program = """
    CREATE TABLE t (a INT);
    CREATE LOCAL VIEW l AS SELECT a + 1 AS b FROM t;
    CREATE VIEW v AS SELECT b FROM l;
    CREATE MATERIALIZED VIEW m WITH ('key' = 'value') AS
        SELECT COUNT(*), SUM(a), a / 2 AS half FROM t GROUP BY a;
    """
    plain, materialized = schema(program)["outputs"]
    assert (plain["name"], plain["materialized"]) == ("v", False)
    assert (materialized["name"], materialized["materialized"]) == ("m", True)
    assert materialized["properties"]["key"]["value"] == "value"
    types = {name: kind["type"] for name, kind in fields(materialized).items()}
    assert types == {"EXPR$0": "BIGINT", "EXPR$1": "BIGINT", "half": "INTEGER"}


def test_quoted_names_differ_in_case() -> None:
    program = """
    CREATE TABLE "V0" (a INT);
    CREATE TABLE v0 (b INT);
    CREATE VIEW v AS SELECT "V0".a, V0.b FROM "V0" JOIN v0 ON "V0".a = v0.b;
    """
    found = schema(program)
    assert [(table["name"], table["case_sensitive"]) for table in found["inputs"]] == [
        ("V0", True),
        ("v0", False),
    ]
    assert list(fields(found["outputs"][0])) == ["a", "b"]


def test_a_common_table_hides_a_relation() -> None:
    program = 'CREATE TABLE t (a INT); CREATE VIEW v AS WITH "T" AS (SELECT a AS b FROM t) SELECT b FROM "T";'
    assert list(fields(schema(program)["outputs"][0])) == ["b"]


@pytest.mark.parametrize("program", ["", "  \n", "-- a comment\n;;", "/* nothing */"])
def test_an_empty_program_compiles(program: str) -> None:
    response = compiled(program)
    assert response.sql_compilation == {"exit_code": 0, "messages": []}
    assert response.rust_compilation == {"exit_code": 0, "stdout": "", "stderr": ""}
    assert response.program_info == {
        "schema": {"inputs": [], "outputs": []},
        "udf_stubs": "",
        "input_connectors": {},
        "output_connectors": {},
        "dataflow": {"calcite_plan": {}, "mir": {}},
    }
    assert response.plan is not None
    assert response.plan["version"] == PLATFORM_VERSION


def test_a_message_points_at_the_name() -> None:
    program = "CREATE TABLE t (a INT);\n\nCREATE VIEW v AS\nSELECT *\nFROM blah;"
    (message,) = messages(program)
    assert message == {
        "start_line_number": 5,
        "start_column": 6,
        "end_line_number": 5,
        "end_column": 9,
        "warning": False,
        "error_type": "Compilation error",
        "message": "From line 5, column 6 to line 5, column 9: Object 'blah' not found",
        "snippet": "    5|FROM blah;\n           ^^^^\n",
    }


@pytest.mark.parametrize(
    ("program", "place", "part"),
    [
        pytest.param("CREATE VIEW v AS\nSELECT 'é', x FROM t", (2, 13, 2, 13), '"x" not found', id="column"),
        pytest.param("CREATE VIEW v AS SELECT a, foo(a) FROM t", (1, 28, 1, 30), "foo", id="function"),
        pytest.param("CREATE VIEW v AS SELECT sum(s) FROM t", (1, 25, 1, 27), "sum(VARCHAR)", id="type"),
        pytest.param("CREATE VIEW v AS SELECT a FROM t WHERE", (1, 34, 1, 38), "WHERE", id="syntax"),
        pytest.param("CREATE VIEW v AS SELECT 'open", (1, 29, 1, 29), "tokenizing", id="open string"),
        pytest.param("create taabl", (1, 1, 1, 12), "CREATE TABLE, CREATE VIEW", id="unknown statement"),
        pytest.param("SELECT invalid", (1, 1, 1, 14), "CREATE TABLE, CREATE VIEW", id="select alone"),
        pytest.param("INSERT INTO t VALUES (1)", (1, 1, 1, 24), "CREATE TABLE, CREATE VIEW", id="insert"),
        pytest.param("COPY t TO '/tmp/x'", (1, 1, 1, 18), "CREATE TABLE, CREATE VIEW", id="copy"),
        pytest.param("ATTACH '/tmp/x'", (1, 1, 1, 15), "CREATE TABLE, CREATE VIEW", id="attach"),
        pytest.param("PRAGMA version", (1, 1, 1, 14), "CREATE TABLE, CREATE VIEW", id="pragma"),
        pytest.param("CREATE TABLE t (b INT)", (1, 14, 1, 14), "already exists", id="twice"),
        pytest.param("CREATE TABLE u (a BLURB)", (1, 17, 1, 17), "'BLURB' not found", id="unknown type"),
        pytest.param('CREATE TABLE u (a INT, "A" INT)', (1, 24, 1, 26), "in case only", id="column case"),
        pytest.param("CREATE TABLE u (a INT DEFAULT now())", (1, 31, 1, 33), "constant", id="default"),
        pytest.param("CREATE TABLE u (a INT, PRIMARY KEY (b))", (1, 1, 1, 39), "'b' does not", id="key"),
        pytest.param("CREATE TABLE u (a DECIMAL(50, 1))", (1, 17, 1, 17), "precision", id="wide decimal"),
        pytest.param(
            "CREATE VIEW v AS SELECT * FROM read_csv('/etc/passwd')",
            (1, 1, 1, 54),
            "not available",
            id="file",
        ),
        pytest.param(
            "CREATE VIEW v AS SELECT * FROM information_schema.tables",
            (1, 51, 1, 56),
            "not found",
            id="catalogue",
        ),
        pytest.param("CREATE FUNCTION f(x INT) RETURNS INT", (1, 1, 1, 36), "needs a body", id="function"),
        pytest.param("CREATE OR REPLACE VIEW v AS SELECT 1", (1, 1, 1, 36), "OR REPLACE", id="replace"),
    ],
)
def test_a_wrong_statement_is_located(program: str, place: tuple[int, ...], part: str) -> None:
    response = compiled("CREATE TABLE t (a INT, s VARCHAR);\n" + program)
    assert response.sql_compilation["exit_code"] == 1
    assert (response.rust_compilation, response.program_info, response.plan) == (None, None, None)
    (message,) = response.sql_compilation["messages"]
    keys = ("start_line_number", "start_column", "end_line_number", "end_column")
    first, column, last, end = place
    assert tuple(message[key] for key in keys) == (first + 1, column, last + 1, end), message
    assert part in message["message"]


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        pytest.param("d / 'abc'", "'abc'", id="a text as divisor"),
        pytest.param("d / ''", "''", id="an empty divisor"),
        pytest.param("SUBSTRING(s)", "substring", id="no start"),
        pytest.param("SUBSTRING(b)", "substring", id="no start in bytes"),
        pytest.param("a[SAFE_OFFSET()]", "not understood", id="no offset"),
        pytest.param("AVG(DISTINCT)", "not understood", id="nothing to average"),
    ],
)
def test_a_plain_mistake_is_an_error_of_its_statement(expression: str, part: str) -> None:
    table = "CREATE TABLE t (d DOUBLE, m DECIMAL(5, 2), s VARCHAR, b VARBINARY, a INT ARRAY);"
    (message,) = messages(f"{table}\nCREATE VIEW v AS SELECT {expression} AS x FROM t;")
    assert message["start_line_number"] == 2
    assert part in message["message"]


def test_all_errors_are_reported_but_not_their_consequences() -> None:
    program = """
    CREATE TABLE t (a INT);
    CREATE VIEW broken AS SELECT x FROM t;
    CREATE VIEW reader AS SELECT * FROM broken;
    CREATE VIEW other AS SELECT y FROM t;
    """
    assert [message["start_line_number"] for message in messages(program)] == [3, 5]


def test_a_deep_statement_is_an_error_of_its_own() -> None:
    (message,) = messages(f"CREATE VIEW v AS SELECT {'(' * 3000}1{')' * 3000}")
    assert "too deeply" in message["message"]


def test_watermark_is_kept_with_a_warning() -> None:
    response = compiled("CREATE TABLE t (ts TIMESTAMP WATERMARK INTERVAL '1' HOUR);")
    assert response.sql_compilation["exit_code"] == 0
    assert [message["warning"] for message in response.sql_compilation["messages"]] == [True]
    assert response.program_info is not None
    (field,) = response.program_info["schema"]["inputs"][0]["fields"]
    assert field["watermark"] == "INTERVAL '1' HOUR"


@pytest.mark.parametrize(
    ("connectors", "part"),
    [
        pytest.param("[{", "not valid JSON", id="not JSON"),
        pytest.param("{}", "must be a JSON list", id="no list"),
        pytest.param("[{}]", "no transport", id="no transport"),
    ],
)
def test_connectors_are_refused(connectors: str, part: str) -> None:
    (message,) = messages(f"CREATE TABLE t (a INT) WITH ('connectors' = '{connectors}');")
    assert message["error_type"] == "ConnectorGenerationError"
    assert part in message["message"]


def test_no_connectors_are_none() -> None:
    assert messages("CREATE TABLE t (a INT) WITH ('connectors' = '[]');") == []


def test_functions_in_rust_are_refused() -> None:
    response = compiled("CREATE TABLE t (a INT);", udf_rust="fn f() {}")
    assert response.sql_compilation["exit_code"] == 0
    assert response.rust_compilation is not None
    assert response.rust_compilation["exit_code"] == 1
    assert "SQL only" in response.rust_compilation["stderr"]
    assert "fn f() {}" in response.rust_compilation["stderr"]
    assert response.plan is None


def run(request: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Compile in a process of its own, as the control plane does."""
    done = subprocess.run(
        [sys.executable, "-m", "sluicegate.engine", "compile", *arguments],
        input=json.dumps(request),
        capture_output=True,
        cwd=ROOT,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_command_answers_on_its_standard_output() -> None:
    answer = run({"program_code": "CREATE TABLE t (a INT);", "a key of tomorrow": 1})
    assert answer["sql_compilation"] == {"exit_code": 0, "messages": []}
    assert [table["name"] for table in answer["plan"]["tables"]] == ["t"]


def test_the_command_answers_for_a_wrong_program() -> None:
    answer = run({"program_code": "nonsense"})
    assert answer["sql_compilation"]["exit_code"] == 1
    assert answer["plan"] is None


def test_a_program_that_takes_too_long_is_refused() -> None:
    program = "".join(f"CREATE VIEW v{n} AS SELECT {n} AS a;\n" for n in range(20_000))
    answer = run({"program_code": program}, "--cpu-seconds", "1")
    assert "CPU seconds" in answer["sql_compilation"]["messages"][0]["message"]

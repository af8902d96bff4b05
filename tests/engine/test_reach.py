"""Ways to reach past the relations that a query may read: none of them gets through, in a view or ad hoc."""

import pytest

from sluicegate.engine import adhoc
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.protocol import CompileRequest

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, list INT ARRAY);"
ATTACKS = [
    "SELECT * FROM {}",
    "FROM {}",
    "SELECT * FROM t, {}",
    "SELECT * FROM t, LATERAL {}",
    "SELECT * FROM LATERAL {}",
    "SELECT * FROM t JOIN {} ON true",
    "SELECT * FROM t JOIN LATERAL {} ON true",
    "SELECT * FROM t LEFT JOIN LATERAL {} AS x ON true",
    "SELECT * FROM t CROSS JOIN LATERAL {}",
    "SELECT * FROM t CROSS APPLY {}",
    "SELECT * FROM t POSITIONAL JOIN {}",
    "SELECT * FROM t SEMI JOIN {} ON true",
    "SELECT * FROM t LATERAL VIEW {} x AS y",
    "SELECT * FROM ({})",
    "SELECT * FROM (t JOIN LATERAL {} ON true)",
    "SELECT * FROM t, LATERAL (SELECT * FROM {}) AS x",
    "SELECT * FROM t, LATERAL (SELECT * FROM t, LATERAL {}) AS x",
    "SELECT * FROM (PIVOT {} ON name)",
    "SELECT * FROM ROWS FROM ({})",
    "SELECT * FROM TABLE({})",
    "SELECT * FROM {} WITH ORDINALITY",
    "SELECT * FROM main.{}",
    "SELECT * FROM x: {}",
    "SELECT (SELECT COUNT(*) FROM t, LATERAL {})",
    "SELECT * FROM t WHERE EXISTS (FROM {})",
    "SELECT * FROM range((SELECT COUNT(*) FROM {}))",
    "WITH x AS (SELECT * FROM t, LATERAL {}) SELECT * FROM x",
    "SELECT * FROM t UNION ALL SELECT 1, NULL FROM t, LATERAL {}",
    "VALUES ((SELECT COUNT(*) FROM t, LATERAL {}))",
]
FUNCTIONS = [
    "query('SELECT * FROM \"~steps\"')",
    "query_table('~steps')",
    "duckdb_settings()",
    '"duckdb_settings"()',
    "pragma_table_info('t')",
    "read_text('/etc/passwd')",
    "read_csv('/etc/passwd')",
    "read_parquet('/etc/passwd')",
    "glob('/*')",
    "seq_scan('t')",
    "json_execute_serialized_sql('{}')",
    "json_table('[1]', '$' COLUMNS (x INT PATH '$'))",
    "getvariable('x')",
    "flatten(t.list)",
]
INNOCENT = [
    "SELECT * FROM range(3)",
    "SELECT * FROM generate_series(1, 3) AS g(x)",
    "SELECT * FROM unnest([1, 2])",
    "SELECT id, x FROM t, unnest(t.list) AS u(x)",
    "SELECT id, x FROM t, LATERAL unnest(t.list) AS u(x)",
    "SELECT id, x FROM t, LATERAL generate_series(1, id) AS g(x)",
    "SELECT id, x FROM t, LATERAL (SELECT id + 1 AS x) AS q",
    "SELECT id, x FROM t CROSS JOIN LATERAL (SELECT MAX(list) AS x FROM t AS s WHERE s.id < t.id) AS q",
    "SELECT * FROM (VALUES (1)) AS v(x)",
    "SELECT * FROM t, (t AS s JOIN t AS u ON s.id = u.id)",
]


def compiles(query: str) -> bool:
    """Tell whether a view of this query compiles."""
    return compile_program(CompileRequest(f"{TABLE} CREATE VIEW v AS {query}")).plan is not None


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of a program with one table."""
    compiled = compile_program(CompileRequest(TABLE)).plan
    assert compiled is not None
    return Plan.from_json(compiled)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_table_function_is_reached(plan: Plan, attack: str, function: str) -> None:
    with pytest.raises(EngineError) as refused:
        adhoc.parse(attack.replace("{}", function, 1), plan)
    assert refused.value.code == "AdHocQueryError"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_view_reaches_a_table_function(function: str) -> None:
    for attack in (
        "SELECT * FROM {}",
        "SELECT t.id FROM t, LATERAL {}",
        "SELECT 1 FROM t JOIN LATERAL {} ON true",
    ):
        assert not compiles(attack.replace("{}", function, 1))


@pytest.mark.parametrize("name", ["@range", "$range", "?", "'t.csv'", "main.t", "IDENTIFIER('t')"])
def test_no_other_way_to_name_a_relation(plan: Plan, name: str) -> None:
    with pytest.raises(EngineError):
        adhoc.parse(f"SELECT * FROM {name}", plan)


@pytest.mark.parametrize("query", INNOCENT)
def test_the_harmless_ones_stay(plan: Plan, query: str) -> None:
    assert adhoc.parse(query, plan)
    assert compiles(query)

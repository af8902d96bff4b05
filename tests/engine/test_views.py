"""Views follow their tables: whatever the program and the changes, they are what the plain queries yield."""

from collections import Counter
from typing import Any

import pytest
import sqlglot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from tests.engine.upkeep import House, compiled, kind

TABLES = """
CREATE TABLE k (id INT NOT NULL PRIMARY KEY, g VARCHAR, x INT, d DECIMAL(10, 2));
CREATE TABLE b (g VARCHAR, x INT, d DECIMAL(10, 2), r DOUBLE);
"""
LINEAR = [
    "SELECT g, x, d FROM {s}",
    "SELECT g, x + 1 AS x, d FROM {s} WHERE x > 1",
    "SELECT upper(g) AS g, x * 2 AS x, d FROM (SELECT * FROM {s} WHERE g IS NOT NULL) AS q",
    "SELECT q.* EXCLUDE (d), q.d + 0.5 AS d FROM (SELECT g, x, d FROM {s}) AS q WHERE q.d < 2 OR q.x IS NULL",
    "SELECT g, x, d FROM {s} UNION ALL SELECT g, x, d FROM {t} WHERE x <> 2",
    "SELECT g, x, d FROM {s} UNION ALL SELECT 'one', 1, 1.00",
    "SELECT * FROM (SELECT g, x, d FROM {s} UNION ALL SELECT g, x, d FROM {t}) AS u WHERE x >= 1 ORDER BY x",
    "WITH c(a, b) AS (SELECT g, x FROM {s}) SELECT a AS g, b AS x, 1.5 AS d FROM c WHERE b IS NOT NULL",
    "SELECT {s}.g, e AS x, {s}.d FROM {s}, UNNEST([x, 7]) AS u(e)",
]
AGGREGATES = [
    "SELECT g, CAST(SUM(x) AS INT) AS x, SUM(d) AS d FROM {s} GROUP BY g",
    "SELECT g, CAST(COUNT(x) AS INT) AS x, AVG(d) AS d FROM {s} WHERE x IS NOT NULL GROUP BY g",
    "SELECT MIN_G AS g, CAST(COUNT(*) AS INT) AS x, SUM(d) / COUNT(d) AS d FROM "
    "(SELECT lower(g) AS min_g, d FROM {s}) AS q GROUP BY min_g",
    "SELECT 'all' AS g, CAST(SUM(x) + COUNT(*) AS INT) AS x, SUM(d) AS d FROM {s}",
    "SELECT 'all' AS g, CAST(COUNT(*) AS INT) AS x, COALESCE(SUM(d), 0) AS d FROM {s} HAVING COUNT(*) > 2",
    "SELECT coalesce(q.g, '-') AS g, x, SUM(q.d) AS d FROM {s} AS q GROUP BY q.g, x HAVING COUNT(*) > 1",
    "SELECT g, x, COUNT(*) FILTER (WHERE d > 1) AS d FROM {s} GROUP BY 1, 2",
    "SELECT DISTINCT g, x, d FROM {s} WHERE x < 3",
    "SELECT g AS g, CAST(SUM(x) AS INT) AS x, 2 * SUM(d) AS d FROM "
    "(SELECT g, x, d FROM {s} UNION ALL SELECT g, x, d FROM {t}) AS u GROUP BY g",
]
OTHERS = [
    "SELECT {s}.g, {t}.x, {s}.d FROM {s} JOIN {t} ON {s}.x = {t}.x",
    "SELECT g, MAX(x) AS x, MIN(d) AS d FROM {s} GROUP BY g",
    "SELECT g, x, d FROM {s} WHERE x IN (SELECT x FROM {t})",
    "SELECT g, x, d FROM {s} EXCEPT SELECT g, x, d FROM {t}",
    "SELECT g, CAST(row_number() OVER (PARTITION BY g ORDER BY x, d) AS INT) AS x, d FROM {s}",
]
WHOLE_ROWS = [
    "SELECT TO_JSON({s}) AS g, COUNT(*) AS x FROM {s} GROUP BY TO_JSON({s})",
    "SELECT TO_JSON({s}) AS g FROM {s} WHERE x > 1",
    "SELECT CAST(Q AS VARCHAR) AS g FROM (SELECT g, x FROM {s}) AS q",
    "SELECT g FROM (SELECT CAST({s} AS VARCHAR) AS g FROM {s}) AS q",
    "WITH c AS (SELECT g, x FROM {s}) SELECT CAST(c AS VARCHAR) AS g FROM c UNION ALL SELECT g FROM {t}",
]
KINDS = ["VIEW", "MATERIALIZED VIEW", "LOCAL VIEW"]

texts = st.sampled_from([None, "a", "A", "b", ""])
numbers = st.none() | st.integers(0, 3)
decimals = st.sampled_from([None, "0.00", "1.25", "-1.25", "3.10"])
bag_rows = st.fixed_dictionaries({"g": texts, "x": numbers, "d": decimals, "r": st.sampled_from([0.5, 1.5])})
keyed_rows = st.fixed_dictionaries({"id": st.integers(0, 4), "g": texts, "x": numbers, "d": decimals})
keyed_changes = st.one_of(
    st.tuples(st.just("insert"), keyed_rows),
    st.tuples(st.just("delete"), st.fixed_dictionaries({"id": st.integers(0, 4)})),
    st.tuples(st.just("update"), st.fixed_dictionaries({"id": st.integers(0, 4), "x": numbers})),
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Build a program whose views read tables and earlier views."""
    sources = ["k", "b"]
    statements = []
    for number in range(draw(st.integers(1, 5))):
        query = draw(st.sampled_from([*LINEAR, *AGGREGATES, *OTHERS]))
        source = draw(st.sampled_from(sources))
        other = draw(st.sampled_from([name for name in sources if name != source]))
        text = query.format(s=source, t=other)
        statements.append(f"CREATE {draw(st.sampled_from(KINDS))} v{number} AS {text};")
        sources.append(f"v{number}")
    return TABLES + "\n".join(statements)


@st.composite
def steps(draw: st.DrawFn, held: list[dict[str, Any]]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Build the changes of one step; what is deleted of the table without a key is often there."""
    bag = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()) and held:
            bag.append(("delete", draw(st.sampled_from(held))))
        else:
            row = draw(bag_rows)
            held.append(row)
            bag.append(("insert", row))
    # Within a batch the order of a table without a key means nothing: deletes of what it inserts come last.
    bag.sort(key=lambda change: change[0] == "delete")
    return {"k": draw(st.lists(keyed_changes, max_size=4)), "b": bag}


@pytest.mark.timeout(300)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate),  # to make an example smaller takes minutes
)
@given(st.data())
def test_views_are_what_their_queries_yield(data: st.DataObject) -> None:
    house = House(data.draw(programs()))
    held: list[dict[str, Any]] = []
    watched = {"k", "b", *(view.physical for view in house.plan.views if not view.local)}
    for relation in sorted(watched):
        if data.draw(st.booleans()):
            house.watch(relation)
    for _ in range(data.draw(st.integers(1, 4))):
        house.step(data.draw(steps(held)))
        house.check()
        unwatched = sorted(watched - set(house.told))
        if data.draw(st.booleans()) and unwatched:
            house.watch(unwatched[0])
            house.check()
    house.database.close()


def test_what_comes_and_goes_in_one_batch_leaves_the_whole_as_it_was() -> None:
    house = House(_one("SELECT COUNT(*) AS n, SUM(x) AS s FROM b WHERE x > 0", "MATERIALIZED"))
    row = {"g": "a", "x": 1, "d": None, "r": 0.5}
    house.watch("v")
    for changes in ([("insert", row)], [("insert", row), ("delete", row)], [("delete", row)]):
        house.step({"b": changes})
        house.check()
    assert house.rows("v") == {(0, None): 1}
    house.database.close()


@pytest.mark.parametrize("query", LINEAR)
def test_linear_queries(query: str) -> None:
    assert kind(compiled(_one(query)).views[0]) == "linear"


@pytest.mark.parametrize("query", AGGREGATES)
def test_aggregates(query: str) -> None:
    assert kind(compiled(_one(query)).views[0]) == "aggregate"


@pytest.mark.parametrize("query", OTHERS)
def test_others(query: str) -> None:
    assert kind(compiled(_one(query)).views[0]) == "difference"


@pytest.mark.parametrize("query", WHOLE_ROWS)
def test_a_row_as_a_whole_is_no_more_than_its_columns(query: str) -> None:
    house = House(_one(query, "MATERIALIZED"))
    house.watch("v")
    row = {"id": 1, "g": "a", "x": 2, "d": None}
    for changes in ([("insert", row), ("insert", row | {"id": 2})], [("delete", row)]):
        house.step({"k": changes})
        house.check()
    house.database.close()


def test_a_column_may_be_called_as_its_table() -> None:
    program = "CREATE TABLE price (price INT); CREATE VIEW v AS SELECT price + 1 AS price FROM price;"
    assert kind(compiled(program).views[0]) == "linear"


def test_an_age_grows_with_the_time_of_the_steps() -> None:
    program = "CREATE TABLE t (ts TIMESTAMP); CREATE VIEW v AS SELECT CAST(AGE(ts) AS VARCHAR) AS age FROM t;"
    house = House(program)
    house.watch("v")
    row = {"ts": "1970-01-01 00:00:00"}
    house.step({"t": [("insert", row)]})
    young = house.rows("v")
    house.clock.advance(b'{"delta_ms": 86400000}', reads_now=True)
    house.step({})
    assert house.rows("v") == +house.told["v"] != young
    house.step({"t": [("delete", row)]})
    assert house.rows("v") == +house.told["v"] == Counter()
    house.database.close()


def _one(query: str, word: str = "") -> str:
    return f"{TABLES}CREATE {word} VIEW v AS {query.format(s='k', t='b')};"


@pytest.mark.parametrize("query", [*LINEAR, *AGGREGATES])
def test_a_step_does_not_read_the_tables(query: str) -> None:
    """What a linear view or an aggregate does in a step reads changes and groups, never a table or a view."""
    house = House(_one(query, "MATERIALIZED"))
    house.watch("v")
    house.step({"k": [("insert", {"id": 1, "g": "a", "x": 2, "d": "1.25"})]})
    maintenance = house.views["v"].maintenance
    assert maintenance is not None
    statements = [branch.sql for branch in maintenance.branches]
    statements += [one for one in (maintenance.merge, maintenance.touched) if one]
    for statement in statements:
        named = {name for name in ("k", "b", "v") if f'"{name}"' in _sources(statement)}
        assert not named
    house.database.close()


def _sources(sql: str) -> str:
    """Return what a statement reads from, as it writes it."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    return " ".join(table.this.sql(dialect="duckdb") for table in tree.find_all(exp.Table))

"""The difference of two programs: each rule of contract §2.11, of plans and of what the front end has."""

import json
from functools import cache
from typing import Any

import pytest

from sluicegate import diff
from sluicegate.diff import Program
from sluicegate.engine.bootstrap.comparison import Comparison
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.protocol import CompileRequest, CompileResponse

T = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"
V = "CREATE VIEW v AS SELECT id FROM t;"
W = "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM v;"
DATAGEN: dict[str, Any] = {
    "name": "c",
    "transport": {"name": "datagen", "config": {"plan": [{"limit": 1}]}},
}
NULL: dict[str, Any] = {"name": "c", "transport": {"name": "null_output"}}


@cache
def compiled(program: str) -> CompileResponse:
    """Compile a program."""
    response = compile_program(CompileRequest(program))
    assert response.plan is not None, response.sql_compilation
    return response


def plan(program: str) -> Plan:
    """Return the plan of a program."""
    raw = compiled(program).plan
    assert raw is not None
    return Plan.from_json(raw)


def compare(old: str, new: str) -> Comparison:
    """Compare two programs, and see that the front end finds the same."""
    comparison = Comparison.of(plan(old), plan(new))
    infos = [compiled(text).program_info for text in (old, new)]
    before, after = (Program.of_info(info) for info in infos if info is not None)
    assert diff.compare(before, after) == comparison.diff
    assert before.comparable
    assert diff.refused_for_lateness(before, after, comparison.diff) == _late(comparison)
    return comparison


def _late(comparison: Comparison) -> bool:
    try:
        comparison.check(concurrent=False)
    except EngineError as refusal:
        return "lateness" in refusal.message
    return False


def changes(old: str, new: str) -> dict[str, Any]:
    """Return what is not empty of a difference."""
    found = compare(old, new).diff
    assert found["program_diff_error"] is None
    assert len(found) == 8
    assert set(found["program_diff"]) == {
        f"{how}_{kind}" for how in ("added", "removed", "modified") for kind in ("tables", "views")
    }
    return {
        key: names
        for key, names in {**found, **found["program_diff"]}.items()
        if names and type(names) is list
    }


def refusal(old: str, new: str, *, concurrent: bool = False) -> str:
    """Return why a change is refused; empty where it is not."""
    comparison = compare(old, new)
    try:
        comparison.check(concurrent=concurrent)
    except EngineError as error:
        return f"{error.code}: {error.message}"
    return ""


def connected(head: str, rest: str, *connectors: dict[str, Any]) -> str:
    """Give a relation connectors."""
    return f"{head} WITH ('connectors' = '{json.dumps(connectors)}') {rest};"


def table(*connectors: dict[str, Any]) -> str:
    """Return table t with connectors."""
    return connected("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR)", "", *connectors)


def view(*connectors: dict[str, Any]) -> str:
    """Return table t and its view v with connectors."""
    return T + connected("CREATE VIEW v", "AS SELECT id FROM t", *connectors)


@pytest.mark.parametrize(
    "other",
    [
        T + V + W,
        "-- a comment\n" + T + "\n\n" + V + " -- another\n" + W,
        "create table T(ID integer PRIMARY KEY, \n name VARCHAR) ;"
        "create view V as /* why */ select /* in */ ID from T; "
        "create materialized view w as select count(*) n from v",
        T + W.replace("MATERIALIZED VIEW w", "VIEW w WITH ('materialized' = 'true')").join([V, ""]),
        T + V + W + "CREATE TYPE unused AS (a INT); CREATE FUNCTION f(x INT) RETURNS INT AS x + 1;",
        T.replace(";", " WITH ('connectors' = '[]');") + V + W,
    ],
)
def test_how_it_is_written_is_no_change(other: str) -> None:
    assert changes(T + V + W, other) == {}
    assert compare(T + V + W, other).is_empty


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (T + V, {"removed_views": ["w"]}),
        (T + V + W + "CREATE VIEW a AS SELECT name FROM t;", {"added_views": ["a"]}),
        (T + V + W + "CREATE TABLE a (x INT);", {"added_tables": ["a"]}),
        (T + V.replace("id FROM", "id + 1 AS id FROM") + W, {"modified_views": ["v", "w"]}),
        (T + V + W.replace("count(*)", "sum(id)"), {"modified_views": ["w"]}),
        (T + V + W.replace("MATERIALIZED ", ""), {"modified_views": ["w"]}),
        (T.replace("VARCHAR", "INT") + V + W, {"modified_tables": ["t"], "modified_views": ["v", "w"]}),
        (
            T.replace("VARCHAR", "INT") + V.replace("v", "x"),
            {
                "modified_tables": ["t"],
                "added_views": ["x"],
                "removed_views": ["v", "w"],
            },
        ),
        (
            T.replace("t (", '"T" (') + 'CREATE VIEW v AS SELECT id FROM "T";',
            {
                "added_tables": ["T"],
                "removed_tables": ["t"],
                "modified_views": ["v"],
                "removed_views": ["w"],
            },
        ),
        (
            "CREATE TABLE v (id INT); CREATE VIEW t AS SELECT id FROM v;",
            {
                "added_tables": ["v"],
                "added_views": ["t"],
                "removed_tables": ["t"],
                "removed_views": ["v", "w"],
            },
        ),
    ],
)
def test_tables_and_views(new: str, expected: dict[str, list[str]]) -> None:
    assert changes(T + V + W, new) == expected
    assert not compare(T + V + W, new).is_empty


@pytest.mark.parametrize(
    "new",
    [
        "CREATE TABLE t (name VARCHAR, id INT PRIMARY KEY);",
        "CREATE TABLE t (id INT, name VARCHAR PRIMARY KEY);",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR NOT NULL);",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR DEFAULT 'x');",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARIANT);",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, more INT);",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR) WITH ('materialized' = 'true');",
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR) WITH ('append_only' = 'true');",
    ],
)
def test_whatever_makes_a_table_another_one(new: str) -> None:
    assert changes(T, new) == {"modified_tables": ["t"]}


def test_functions_and_types_of_the_program_are_part_of_what_uses_them() -> None:
    program = "CREATE TYPE k AS ({0}); CREATE FUNCTION f(x INT) RETURNS INT AS x + {1}; CREATE TABLE s (a k);"
    program += T + "CREATE VIEW u AS SELECT f(id) AS y FROM t;" + V
    assert changes(program.format("a INT", 1), program.format("a INT", 2)) == {"modified_views": ["u"]}
    assert changes(program.format("a INT", 1), program.format("a INT, b INT", 1)) == {
        "modified_tables": ["s"]
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (T, table(DATAGEN), {"added_input_connectors": ["t.c"]}),
        (table(DATAGEN), T, {"removed_input_connectors": ["t.c"]}),
        (table(DATAGEN), "CREATE TABLE a (x INT);", {"added_tables": ["a"], "removed_tables": ["t"]}),
        (
            table(DATAGEN),
            table({**DATAGEN, "name": "d"}),
            {
                "added_input_connectors": ["t.d"],
                "removed_input_connectors": ["t.c"],
            },
        ),
        (
            table(DATAGEN),
            table({**DATAGEN, "transport": {"name": "datagen", "config": {"plan": [{"limit": 2}]}}}),
            {
                "modified_input_connectors": ["t.c"],
            },
        ),
        (table(DATAGEN), table({**DATAGEN, "labels": ["a"]}), {"modified_input_connectors": ["t.c"]}),
        (
            table(DATAGEN),
            table(
                {
                    **DATAGEN,
                    "paused": True,
                    "max_batch_size": 3,
                    "max_worker_batch_size": 4,
                    "max_queued_records": 5,
                    "max_queued_bytes": 6,
                }
            ),
            {},
        ),
        (T + V, view(NULL), {"added_output_connectors": ["v.c"]}),
        (view(NULL), T + V, {"removed_output_connectors": ["v.c"]}),
        (view(NULL), view({**NULL, "paused": True}), {}),
        (view(NULL), view({**NULL, "max_queued_records": 5}), {"modified_output_connectors": ["v.c"]}),
        (view(NULL), T, {"removed_output_connectors": ["v.c"], "removed_views": ["v"]}),
    ],
)
def test_connectors(old: str, new: str, expected: dict[str, list[str]]) -> None:
    assert changes(old, new) == expected
    assert compare(old, new).is_empty == (not expected)


LATE = "CREATE TABLE l (ts TIMESTAMP LATENESS INTERVAL '1' HOUR, x INT) WITH ('materialized' = 'true');"


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (LATE + T, LATE + T, False),
        (LATE + T, LATE + T + V, True),
        (T, LATE + T, True),
        (LATE + T, T, True),
        (T + V, T + V + "LATENESS v.id 1;", False),
        (T + V, T + V + W + "LATENESS v.id 1;", True),
        (LATE + T, LATE + table(DATAGEN), False),
    ],
)
def test_lateness(old: str, new: str, refused: bool) -> None:
    assert ("lateness" in refusal(old, new)) == refused
    assert ("lateness" in refusal(old, new, concurrent=True)) == refused


BAG = "CREATE TABLE b (x INT);"
KEPT = "CREATE TABLE k (x INT) WITH ('materialized' = 'true');"
NEW = "CREATE VIEW n AS SELECT x FROM b;"


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (BAG, BAG + NEW, False),
        (BAG + T, BAG + T + V, True),
        (T, T + BAG + NEW, True),
        (BAG, BAG.replace("INT", "BIGINT") + NEW, True),
        (KEPT, KEPT + NEW.replace("FROM b", "FROM k"), True),
        (BAG + NEW, BAG, True),
        (BAG + NEW, BAG + NEW + "CREATE VIEW m AS SELECT x + 1 AS x FROM n;", False),
        (
            BAG + NEW.replace("CREATE", "CREATE MATERIALIZED"),
            BAG + NEW.replace("CREATE", "CREATE MATERIALIZED") + "CREATE VIEW m AS SELECT x + 1 AS x FROM n;",
            True,
        ),
    ],
)
def test_tables_that_are_not_materialized(old: str, new: str, allowed: bool) -> None:
    why = refusal(old, new)
    assert ("not materialized" in why and "BootstrapNotAllowed" in why) == (not allowed)
    assert allowed == (why == "")
    assert allowed or "bootstrapped concurrently" in refusal(old, new, concurrent=True)


def test_a_table_that_begins_anew_is_not_bootstrapped_concurrently() -> None:
    assert "bootstrapped concurrently" in refusal(T, T.replace("VARCHAR", "INT"), concurrent=True)
    assert refusal(T, T.replace("VARCHAR", "INT")) == ""


def test_a_checkpoint_without_a_program() -> None:
    comparison = Comparison.of(None, plan(T + V))
    assert comparison.diff["program_diff"] is None
    assert comparison.diff["program_diff_error"]
    assert len(comparison.diff) == 8
    assert not comparison.is_empty
    comparison.check(concurrent=False)
    with pytest.raises(EngineError, match="bootstrapped concurrently"):
        comparison.check(concurrent=True)
    with pytest.raises(EngineError, match="lateness"):
        Comparison.of(None, plan(LATE)).check(concurrent=False)


def test_a_graph_of_another_release_is_not_comparable() -> None:
    info = compiled(T).program_info
    assert info is not None
    old = json.loads(json.dumps(info))
    for node in old["dataflow"]["mir"].values():
        node["persistent_id"] = "0" * 64
    assert not Program.of_info(old).comparable

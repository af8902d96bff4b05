"""The dataflow graph: nodes, what they read, how they are maintained, and ids that follow definitions."""

from typing import Any

from sluicegate.engine.compiler import compile_program
from sluicegate.protocol import CompileRequest

PROGRAM = """CREATE TABLE t (g VARCHAR, x INT);
CREATE LOCAL VIEW some AS SELECT g, x FROM t WHERE x > {least};
CREATE VIEW total AS SELECT g, SUM(x) AS s FROM some GROUP BY g;
CREATE VIEW other AS SELECT g, MAX(x) AS m FROM t GROUP BY g;
"""


def graph(least: int = 0) -> dict[str, Any]:
    """Compile the program and return its graph."""
    info = compile_program(CompileRequest(PROGRAM.format(least=least))).program_info
    assert info is not None
    found: dict[str, Any] = info["dataflow"]
    return found


def test_nodes_say_what_they_read_and_how_they_are_maintained() -> None:
    mir = graph()["mir"]
    names = {node: found["table"] or found["view"] for node, found in mir.items()}
    found = {
        names[node]: (
            content["operation"],
            content.get("maintenance"),
            [names[parent["node"]] for parent in content["inputs"]],
        )
        for node, content in mir.items()
    }
    assert found == {
        "t": ("source", None, []),
        "some": ("linear", "linear", ["t"]),
        "total": ("aggregate", "aggregate", ["some"]),
        "other": ("difference", "difference", ["t"]),
    }
    by_name = {names[node]: content for node, content in mir.items()}
    assert "MAX" in by_name["other"]["reason"]
    assert by_name["total"]["sql"].startswith("CREATE VIEW total")
    assert by_name["total"]["positions"][0]["start_line_number"] == 3


def test_nodes_say_what_follows_the_time() -> None:
    program = """CREATE TABLE t (at TIMESTAMP LATENESS INTERVAL '1' HOUR, x INT);
    CREATE VIEW recent AS SELECT x FROM t WHERE at > NOW() - INTERVAL '1' DAY;
    CREATE VIEW all_of_it AS SELECT x FROM t;"""
    info = compile_program(CompileRequest(program)).program_info
    assert info is not None
    source, *views = info["dataflow"]["mir"].values()
    assert source["lateness"] == ["at"]
    assert {view["view"]: view["reads_now"] for view in views} == {"recent": True, "all_of_it": False}


def test_an_id_changes_with_its_definition_and_with_what_it_reads() -> None:
    before, after = graph()["mir"].values(), graph(least=1)["mir"].values()
    changed = {
        old["view"]
        for old, new in zip(before, after, strict=True)
        if old["persistent_id"] != new["persistent_id"]
    }
    assert changed == {"some", "total"}


def test_the_plan_of_each_view_says_what_it_scans() -> None:
    rels = graph()["calcite_plan"]["total"]["rels"]
    assert [rel["relOp"] for rel in rels] == ["LogicalTableScan", "Query"]
    assert rels[0]["table"][-1] == "some"
    assert rels[1]["inputs"] == [rels[0]["id"]]

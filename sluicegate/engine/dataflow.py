"""The dataflow graph of a program: what reads what, and how each view is maintained.

The shape is that of the reference (`program_info.dataflow`, contract §5.7): `mir` has the nodes that run, by
id, each with its inputs, its place in the program and an id that changes with its definition (§2.11);
`calcite_plan` has of each view the relational plan, which here is DuckDB's business at run time, so it says
what the view scans and what it asks. Our own keys in a node are `sql`, of a view `maintenance`, `reason` and
`reads_now`, and of a table `lateness`, the columns that have a waterline.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.engine.bootstrap.identity import identities, reads
from sluicegate.engine.dialect import Source, Span
from sluicegate.engine.plan import Plan, Table, View


def graph(plan: Plan, spans: Mapping[str, Span], source: Source) -> dict[str, Any]:
    """Return the graph of a plan; the spans are those of its relations in the program, by physical name."""
    texts = {physical: source.within(span) for physical, span in spans.items()}
    marks = identities(plan)
    mir: dict[str, Any] = {}
    nodes: dict[str, str] = {}
    for relation in plan.relations:
        physical = relation.physical
        node = f"s{len(mir)}"
        nodes[physical] = node
        found = _node(relation, [nodes[read] for read in reads(relation)])
        place = _position(spans[physical])
        mir[node] = {
            **found,
            "persistent_id": marks[physical],
            "positions": [place],
            "sql": texts[physical],
        }
    names = {relation.physical: relation.name for relation in plan.relations}
    return {"calcite_plan": {view.name: _rels(view, names, texts) for view in plan.views}, "mir": mir}


def _node(relation: Table | View, inputs: Sequence[str]) -> dict[str, Any]:
    node: dict[str, Any] = {
        "operation": "source",
        "inputs": [{"node": parent, "output": 0} for parent in inputs],
        "outputs": None,
        "calcite": None,
        "table": None,
        "view": None,
    }
    if isinstance(relation, Table):
        return {**node, "table": relation.name, "lateness": [late.column for late in relation.lateness]}
    maintenance = relation.maintenance
    kind = maintenance.kind if maintenance is not None else "query"
    reason = maintenance.reason if maintenance is not None else ""
    calcite = {"final": len(inputs)}
    return {
        **node,
        "operation": kind,
        "view": relation.name,
        "calcite": calcite,
        "maintenance": kind,
        "reason": reason or None,
        "reads_now": relation.reads_now,
    }


def _rels(view: View, names: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    scans: list[dict[str, Any]] = [
        {"id": number, "relOp": "LogicalTableScan", "table": ["schema", names[read]], "inputs": []}
        for number, read in enumerate(reads(view))
    ]
    query = {
        "id": len(scans),
        "relOp": "Query",
        "inputs": [scan["id"] for scan in scans],
        "fields": list(view.columns),
        "sql": texts[view.physical],
    }
    return {"rels": [*scans, query]}


def _position(span: Span) -> dict[str, int]:
    return {
        "start_line_number": span.start_line,
        "start_column": span.start_column,
        "end_line_number": span.end_line,
        "end_column": span.end_column,
    }

"""Identities of tables and views: equal for equal definitions, however they are written.

What counts is the plan, into which the compile step has put the program's own functions and types, names as
DuckDB has them, and no comments. The identity of a view has those of what it reads in it, so that it
changes with them. Only what a plan of any release has is used: all of them can be compared.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sluicegate.diff import SCHEME
from sluicegate.engine.plan import Plan, Relation, Table, View

STORED = ("name", "type", "kind", "nullable", "default", "computed")
"""What of a column makes a table another one."""


def identities(plan: Plan) -> dict[str, str]:
    """Return the identities of a plan's relations by their physical names."""
    found: dict[str, str] = {}
    for table in plan.tables:
        found[table.physical] = _mark(_table(table))
    for view in plan.views:
        found[view.physical] = _mark(_view(view, [found[read] for read in reads(view)]))
    return found


def reads(relation: Relation) -> Sequence[str]:
    """Return the physical names of what a relation reads."""
    if isinstance(relation, Table) or relation.maintenance is None:
        return ()
    return relation.maintenance.reads


def _table(table: Table) -> Mapping[str, Any]:
    columns = [{key: asdict(column)[key] for key in STORED} for column in table.columns]
    return {
        "columns": columns,
        "primary_key": table.primary_key,
        "materialized": table.materialized,
        "append_only": table.append_only,
        "lateness": [(late.column, late.late) for late in table.lateness],
    }


def _view(view: View, parents: Sequence[str]) -> Mapping[str, Any]:
    return {"definition": view.ddl, "materialized": view.materialized, "reads": parents}


def _mark(definition: Mapping[str, Any]) -> str:
    text = json.dumps(definition, sort_keys=True)
    return f"{SCHEME}:{hashlib.sha256(text.encode()).hexdigest()}"

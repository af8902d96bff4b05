"""The difference of two plans, and the changes that no bootstrap can follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate import diff as programs
from sluicegate.diff import Program
from sluicegate.engine.bootstrap.identity import identities, reads
from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan, View

NOT_MATERIALIZED = (
    "{changed} depends on table '{table}', which is not materialized and has not changed: its rows cannot be "
    "counted on; declare it with 'materialized' = 'true', or clear the storage to start empty"
)
NOT_CONCURRENTLY = "the change cannot be bootstrapped concurrently: {reason}"


@dataclass(frozen=True)
class Comparison:
    """Two plans beside each other."""

    old: Plan | None
    """None where a checkpoint of an earlier release has none."""
    new: Plan
    diff: Mapping[str, Any]

    @classmethod
    def of(cls, old: Plan | None, new: Plan) -> "Comparison":
        """Compare."""
        before = None if old is None else program(old)
        return cls(old, new, programs.compare(before, program(new)))

    @property
    def is_empty(self) -> bool:
        """Tell whether the state of the one is that of the other."""
        return programs.is_empty(self.diff)

    def changed(self, kind: str, *how: str) -> set[str]:
        """Return the names of the tables or views that were added, removed or modified."""
        found = self.diff["program_diff"]
        return set() if found is None else {name for word in how for name in found[f"{word}_{kind}"]}

    @property
    def kept_tables(self) -> set[str]:
        """Return the names of the tables that keep their rows."""
        return {table.name for table in self.new.tables} - self.changed("tables", "added", "modified")

    def connectors(self, way: str, *how: str) -> set[str]:
        """Return the names of the input or output connectors that were added, removed or modified."""
        return {name for word in how for name in self.diff[f"{word}_{way}_connectors"]}

    def check(self, *, concurrent: bool) -> None:
        """Refuse what cannot be followed; raises EngineError."""
        old = None if self.old is None else program(self.old)
        if programs.refused_for_lateness(old, program(self.new), self.diff):
            raise not_allowed(programs.LATENESS)
        if concurrent and self.old is None:
            raise not_allowed(NOT_CONCURRENTLY.format(reason=programs.UNKNOWN_PROGRAM))
        if concurrent and (tables := sorted(self.changed("tables", "modified"))):
            reason = f"table '{tables[0]}' begins anew, so the views before the change have nothing to follow"
            raise not_allowed(NOT_CONCURRENTLY.format(reason=reason))
        if concurrent and (names := sorted(self._other_kinds())):
            reason = f"'{names[0]}' is a table in the one program and a view in the other"
            raise not_allowed(NOT_CONCURRENTLY.format(reason=reason))
        for view in sorted(self.changed("views", "added", "modified")):
            if (table := self._forgotten(view)) is not None:
                reason = NOT_MATERIALIZED.format(changed=f"view '{view}'", table=table)
                raise not_allowed(NOT_CONCURRENTLY.format(reason=reason) if concurrent else reason)

    def _other_kinds(self) -> set[str]:
        old = Plan((), ()) if self.old is None else self.old
        kinds = [
            ({one.physical.lower() for one in plan.tables}, {one.physical.lower() for one in plan.views})
            for plan in (old, self.new)
        ]
        return (kinds[0][0] & kinds[1][1]) | (kinds[0][1] & kinds[1][0])

    def _forgotten(self, view: str) -> str | None:
        """Return an unchanged table that is not kept, and that a changed view reads, itself or not."""
        relations = {relation.physical: relation for relation in self.new.relations}
        fresh = self.changed("tables", "added", "modified") | self.changed("views", "added", "modified")
        waiting = [relation for relation in self.new.views if relation.name == view]
        while waiting:
            for read in map(relations.__getitem__, reads(waiting.pop())):
                if read.name not in fresh and read.queryable:
                    continue
                if isinstance(read, View):
                    waiting.append(read)
                elif read.name not in fresh:
                    return read.name
        return None


def program(plan: Plan) -> Program:
    """Return what of a plan is compared."""
    marks = identities(plan)
    return Program(
        {table.name: marks[table.physical] for table in plan.tables},
        {view.name: marks[view.physical] for view in plan.views},
        plan.input_connectors,
        plan.output_connectors,
        any(table.lateness for table in plan.tables) or bool(plan.late_views),
    )


def not_allowed(reason: str) -> EngineError:
    """Return the refusal to bootstrap."""
    message = f"The change of the program is not allowed: {reason}"
    return EngineError(500, "BootstrapNotAllowed", message, {"error": reason})

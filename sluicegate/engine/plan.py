"""The plan: everything a running engine needs of a program, worked out once by the compile step.

A starting engine parses no SQL; it reads this and executes the statements in it. Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sluicegate.protocol import PLATFORM_VERSION


@dataclass(frozen=True)
class Column:
    """A column of a table, as ingress needs it."""

    name: str
    case_sensitive: bool
    type: str
    """Type in DuckDB's words."""
    kind: str
    """How its values are read from JSON and CSV; see `cells`."""
    nullable: bool
    default: Any
    """Value of an absent column, as JSON."""


@dataclass(frozen=True)
class Table:
    """A table and the statement that makes it."""

    name: str
    case_sensitive: bool
    physical: str
    """Its name inside DuckDB, where names that differ in case only are the same."""
    materialized: bool
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    ddl: str

    @property
    def queryable(self) -> bool:
        """Tell whether ad-hoc queries may read it."""
        return self.materialized or bool(self.primary_key)


@dataclass(frozen=True)
class View:
    """A view and the statement that makes it."""

    name: str
    case_sensitive: bool
    physical: str
    materialized: bool
    local: bool
    columns: tuple[str, ...]
    ddl: str

    @property
    def queryable(self) -> bool:
        """Tell whether ad-hoc queries may read it."""
        return self.materialized


Relation = Table | View


@dataclass(frozen=True)
class Plan:
    """A program that is ready to run."""

    tables: tuple[Table, ...]
    views: tuple[View, ...]
    version: str = PLATFORM_VERSION

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Return tables, then views, in the order in which they can be made."""
        return (*self.tables, *self.views)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON."""
        encoded: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return encoded

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Plan":
        """Read a plan back; raises ValueError for one of another version."""
        if raw.get("version") != PLATFORM_VERSION:
            raise ValueError(
                f"the plan has version {raw.get('version')!r}, this engine reads {PLATFORM_VERSION!r}; "
                "compile the program again"
            )
        return cls(tuple(map(_table, raw["tables"])), tuple(map(_view, raw["views"])))

    def digest(self) -> str:
        """Return what identifies the stored relations, to compare with a checkpoint's."""
        relations = {"tables": self.to_json()["tables"], "views": self.to_json()["views"]}
        return hashlib.sha256(json.dumps(relations, sort_keys=True).encode()).hexdigest()


def find(relations: tuple[Relation, ...], name: str) -> Relation | None:
    """Return the relation called by a bare name: exactly, else without regard to case if it was unquoted."""
    by_name = {relation.name: relation for relation in relations}
    if name in by_name:
        return by_name[name]
    folded = by_name.get(name.lower())
    return folded if folded and not folded.case_sensitive else None


def _table(raw: Mapping[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in raw["columns"])
    return Table(**{**raw, "columns": columns, "primary_key": tuple(raw["primary_key"])})


def _view(raw: Mapping[str, Any]) -> View:
    return View(**{**raw, "columns": tuple(raw["columns"])})

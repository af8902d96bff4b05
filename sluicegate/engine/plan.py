"""The plan: everything a running engine needs of a program, worked out once by the compile step.

A starting engine parses no SQL; it reads this and executes the statements in it. Standard library only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sluicegate.engine.identifiers import quote
from sluicegate.protocol import PLATFORM_VERSION

NOW = "~now"
"""Our own table of one row, the time of the step, where a view reads it. No program can name it."""
NOW_DDL = f"CREATE TABLE IF NOT EXISTS \"{NOW}\" AS SELECT TIMESTAMP '1970-01-01 00:00:00' AS now"
SET_NOW = f'UPDATE "{NOW}" SET now = epoch_ms(CAST($1 AS BIGINT))'
"""Sets the time of a step, in milliseconds since the epoch."""


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
    computed: str | None = None
    """DuckDB expression of the default over the connector's metadata, a JSON value called `"~metadata"`."""


@dataclass(frozen=True)
class Lateness:
    """How rows that come too late for a column are told, and what is remembered for it.

    The waterline of a column is the largest value that earlier steps brought, less the column's lateness. It
    never falls. A row below it is dropped, be it inserted or deleted; a row without a value is kept.
    """

    column: str
    ddl: str
    """Makes the table that remembers the largest value."""
    late: str
    """Condition on a row's column, written `{value}`, that holds for a row to drop."""
    advance: str
    """Run at the end of a step; `{rows}` stands for a query of the step's values, called `value`."""


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
    lateness: tuple[Lateness, ...] = ()
    append_only: bool = False

    @property
    def queryable(self) -> bool:
        """Tell whether ad-hoc queries may read it."""
        return self.materialized or bool(self.primary_key)


@dataclass(frozen=True)
class Branch:
    """What one relation contributes to the change of a view."""

    source: str
    """Physical name of the relation."""
    sql: str
    """Query of its change: the rows that the view has of it, with their weight as last column."""


@dataclass(frozen=True)
class Maintenance:
    """How a view follows the relations that it reads; see `views.classification`."""

    kind: str
    """linear, aggregate or difference."""
    reason: str
    """Why it is maintained by difference; empty otherwise."""
    reads: tuple[str, ...]
    """Physical names of the relations that it reads."""
    fallible: bool
    """Whether computing a row of it may fail."""
    branches: tuple[Branch, ...] = ()
    store: str = ""
    """Name of the table that holds what is stored of it; none for a linear view."""
    initial: str = ""
    """Query that fills the store from the relations as they are."""
    shown: str = ""
    """Query of the view's rows from the store."""
    fold: tuple[str, str] = ("", "")
    """Aggregate: what stands before and after the rows of the branches, to make the change of each group."""
    merge: str = ""
    """Aggregate: statement that adds the changes of the groups to the store."""
    touched: str = ""
    """Aggregate: query of the view's rows in the groups that change."""


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
    query: str = ""
    """Its query in DuckDB's words, with the view's names of the columns."""
    watched: bool = False
    """Whether it is materialized or has an output, so that it is maintained from the start."""
    reads_now: bool = False
    """Whether its rows depend on the time of the step, itself or through another view."""
    maintenance: Maintenance | None = None
    """None in a plan of a release that maintained no views."""

    @property
    def queryable(self) -> bool:
        """Tell whether ad-hoc queries may read it."""
        return self.materialized


Relation = Table | View

_NOT_STORED = {"query", "watched", "reads_now", "maintenance", "lateness", "append_only", "computed"}
"""What may differ between plans that have the same relations: what is derived is made anew if need be."""


@dataclass(frozen=True)
class Index:
    """A unique key of a view, which output connectors name."""

    name: str
    relation: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A program that is ready to run."""

    tables: tuple[Table, ...]
    views: tuple[View, ...]
    indexes: tuple[Index, ...] = ()
    version: str = PLATFORM_VERSION
    input_connectors: Mapping[str, Any] = field(default_factory=dict)
    """Endpoint objects by their names, as `program_info` has them (contract §9.1)."""
    output_connectors: Mapping[str, Any] = field(default_factory=dict)
    late_views: tuple[str, ...] = ()
    """Names of the views that a LATENESS statement is about; it drops nothing."""

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Return tables, then views, in the order in which they can be made."""
        return (*self.tables, *self.views)

    @property
    def reads_now(self) -> bool:
        """Tell whether a view depends on the time of the step."""
        return any(view.reads_now for view in self.views)

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
        indexes = tuple(
            Index(**{**index, "columns": tuple(index["columns"])}) for index in raw.get("indexes", ())
        )
        connected = {key: raw.get(key, {}) for key in ("input_connectors", "output_connectors")}
        late = tuple(raw.get("late_views", ()))
        tables, views = tuple(map(_table, raw["tables"])), tuple(map(_view, raw["views"]))
        return cls(tables, views, indexes, **connected, late_views=late)

    def digest(self) -> str:
        """Return what identifies the stored relations, to compare with a checkpoint's."""
        plan = self.to_json()
        tables = [
            {**_stored(table), "columns": list(map(_stored, table["columns"]))} for table in plan["tables"]
        ]
        relations = {"tables": tables, "views": list(map(_stored, plan["views"]))}
        return hashlib.sha256(json.dumps(relations, sort_keys=True).encode()).hexdigest()


def find(relations: tuple[Relation, ...], name: str) -> Relation | None:
    """Return the relation called by a bare name: exactly, else without regard to case if it was unquoted."""
    by_name = {relation.name: relation for relation in relations}
    if name in by_name:
        return by_name[name]
    folded = by_name.get(name.lower())
    return folded if folded and not folded.case_sensitive else None


def stream_name(relation: Relation) -> str:
    """Return how the wire names a relation: as SQL does, in quotes where case counts."""
    return quote(relation.name) if relation.case_sensitive else relation.name


def _stored(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in _NOT_STORED}


def _table(raw: Mapping[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in raw["columns"])
    lateness = tuple(Lateness(**late) for late in raw.get("lateness", ()))
    key = tuple(raw["primary_key"])
    return Table(**{**raw, "columns": columns, "primary_key": key, "lateness": lateness})


def _view(raw: Mapping[str, Any]) -> View:
    maintenance = raw.get("maintenance")
    read = None if maintenance is None else _maintenance(maintenance)
    return View(**{**raw, "columns": tuple(raw["columns"]), "maintenance": read})


def _maintenance(raw: Mapping[str, Any]) -> Maintenance:
    branches = tuple(Branch(**branch) for branch in raw["branches"])
    before, after = raw["fold"]
    return Maintenance(**{**raw, "reads": tuple(raw["reads"]), "branches": branches, "fold": (before, after)})

"""The journal: what steps change of some relations while views are computed from an older state of them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import duckdb

from sluicegate.engine.applying import WEIGHT, Scratch, delta, net, scratch
from sluicegate.engine.identifiers import quote

if TYPE_CHECKING:
    import pyarrow as pa


class Journal:
    """Of one connection, in temporary tables, which DuckDB puts to disk where they are large."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, scratch_tables: Scratch, relations: Collection[str]
    ) -> None:
        """Begin an empty one, within a transaction."""
        self._run = connection.execute
        self._scratch = scratch_tables
        self._relations = relations
        for relation in relations:
            rows = f"SELECT *, CAST(0 AS BIGINT) AS {WEIGHT} FROM {quote(relation)} LIMIT 0"
            self._run(f"CREATE OR REPLACE TEMP TABLE {quote(_name(relation))} AS {rows}")

    @property
    def relations(self) -> Collection[str]:
        """Return whose changes it keeps."""
        return self._relations

    def note(self, changes: "Mapping[str, pa.Table]") -> None:
        """Keep what a step has changed, within its transaction, while that stands in `~d <relation>`."""
        for relation in self._relations:
            if changes[relation].num_rows:
                kept = scratch(_name(relation))
                self._run(f"INSERT INTO {kept} SELECT * FROM {scratch(delta(relation))}")

    def settle(self) -> set[str]:
        """Put the net change of each relation into `~d <relation>`; returns the relations that have one."""
        changed = set()
        for relation in self._relations:
            if self._scratch.make(delta(relation), net(f"SELECT * FROM {scratch(_name(relation))}")):
                changed.add(relation)
            self._run(f"DROP TABLE {scratch(_name(relation))}")
        return changed


def _name(relation: str) -> str:
    return f"~j {relation}"

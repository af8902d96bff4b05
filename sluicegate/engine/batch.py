"""What has been read of some input: rows ready for a table, and what could not be read.

A batch is made off the writer's thread. Its rows have been judged and have the types of their columns, so
that to apply it is a matter of statements over relations; see `loading`.
"""

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sluicegate.engine.values import shorten

if TYPE_CHECKING:
    import pyarrow

KEPT = 1000
"""Errors kept of a batch, as many as an answer shows (contract §4.5); the others are counted."""


@dataclass(frozen=True)
class Run:
    """Changes that may be applied together.

    Both tables have a column `c{i}` for the table's i-th column and `n`, the place of the change in the
    batch. `gone` has the key's columns only where the table has a key.
    """

    rows: "pyarrow.Table | None"
    """What is inserted or updated."""
    gone: "pyarrow.Table | None" = None
    """What is deleted."""
    given: tuple[int, ...] | None = None
    """Of partial updates: the columns that they give, the key among them."""


@dataclass
class Errors:
    """What could not be read: counted, and the first of it kept."""

    count: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)

    def add(self, error: dict[str, Any] | None) -> None:
        """Count one error; keep it if it is known and there are not too many."""
        self.count += 1
        if error is not None and len(self.kept) < KEPT:
            self.kept.append(error)

    def in_order(self) -> list[dict[str, Any]]:
        """Return the errors that are kept, by the place of their record."""
        return sorted(self.kept, key=itemgetter("event_number"))


@dataclass
class Batch:
    """One push or one chunk of a connector."""

    runs: list[Run] = field(default_factory=list)
    records: int = 0
    """Changes in the runs, which is what is counted as records."""
    errors: Errors = field(default_factory=Errors)

    def __len__(self) -> int:
        return self.records


@dataclass
class Rows:
    """Rows to insert, as an ad-hoc query or a generator yields them."""

    table: "pyarrow.Table"
    """Its columns are some of the table's, by name; the others get their default."""
    errors: Errors = field(default_factory=Errors)

    def __len__(self) -> int:
        return int(self.table.num_rows)


def parse_error(
    description: str, event: int, field_name: str | None = None, text: Any = None
) -> dict[str, Any]:
    """Return one entry of a ParseErrors answer."""
    return {
        "description": f"{description} (event #{event})",
        "event_number": event,
        "field": field_name,
        "invalid_bytes": None,
        "invalid_text": None if text is None else shorten(text),
        "suggestion": None,
    }

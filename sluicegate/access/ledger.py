"""How the states of directory and tenants travel and are shown: packed, with a schema number.

The encoded form goes through continue-as-new; the memo carries the same as long as it is small, so that the
front end reads it without any worker, and else sends the reader to a query.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from sluicegate.access import refusals
from sluicegate.lifecycle.limits import LEAP
from sluicegate.lifecycle.values import Packed

SCHEMA = 1
MAX_BYTES = 1_400_000
"""Encoded. A server takes 2 MiB at once; what is larger can neither be read nor begin a new history."""
MEMO_BYTES = 32 << 10
"""Of some three hundred keys; what is larger is read by query."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From one schema to the next."""


class Changed(NamedTuple):
    """A state after a change, and what the one who asked for it is told."""

    state: Any
    answer: dict[str, Any]


class Ledger(Protocol):
    """A state that lives by changes alone."""

    @property
    def revision(self) -> int:
        """Grows with every change, also beyond the end of a workflow."""

    def changed(self, change: Any) -> Changed:
        """Change, or refuse."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Give it as plain JSON."""

    def but(self, **changes: Any) -> Self:
        """Copy with the given fields replaced."""

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """Make it of plain JSON."""


L = TypeVar("L", bound=Ledger)


def encoded(ledger: Ledger) -> dict[str, Any]:
    """Encode for the next run, and for a query."""
    return {"schema": SCHEMA, "packed": Packed.of_json(ledger.model_dump(mode="json")).zlib64}


def decoded(kind: type[L], raw: dict[str, Any], upcasters: tuple[Upcaster, ...]) -> L:
    """Decode what any released version has encoded (I10); keys of a newer one are kept."""
    value = Packed(zlib64=raw["packed"]).json_value
    for upcast in upcasters[raw.get("schema", SCHEMA) - 1 :]:
        value = upcast(value)
    return kind.model_validate(value)


def restored(ledger: L) -> L:
    """Go on from a backup, under a revision that no copy has."""
    return ledger.but(revision=ledger.revision + LEAP)


def check_room(before: Ledger, after: Ledger) -> None:
    """Raise LimitReached where a change makes the state too large; taking something out never does."""
    size = _size(after)
    if size > MAX_BYTES and size > _size(before):
        raise refusals.LimitReached(what="bytes of what is remembered", maximum=MAX_BYTES)


def _size(ledger: Ledger) -> int:
    return len(encoded(ledger)["packed"])


def memo(ledger: Ledger) -> dict[str, Any]:
    """Show the state, or that it has to be asked for."""
    whole = encoded(ledger)
    fits = len(whole["packed"]) <= MEMO_BYTES
    return {"revision": ledger.revision, **(whole if fits else {"overflow": True})}

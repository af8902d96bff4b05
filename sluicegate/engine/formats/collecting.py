"""Collecting: changes that were read become a batch, slice by slice, so that few Python objects live at once.

A slice goes through `columns` and `casting` as soon as it is full. What is refused together, a *chunk*, may
span slices; rows of refused chunks are taken out at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sluicegate.engine.batch import KEPT, Batch, Run, parse_error
from sluicegate.engine.formats import casting, columns
from sluicegate.engine.formats.casting import Staged
from sluicegate.engine.plan import Column, Table
from sluicegate.engine.values import complaint

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SLICE = 10_000
"""Changes that wait as Python objects."""
MOST = 1_000_000
"""Records that may be refused before the rest is left unread: each of them costs, and gains nothing."""
NULL = "is NULL, but the column is NOT NULL"

Signature = tuple[int, ...] | None
"""What tells runs apart: partial updates go by the columns they give, all else goes together."""


class TooMany(Exception):
    """So much has been refused that reading on is of no use."""


@dataclass
class Slice:
    """Changes of a table, in order, as parallel lists."""

    ops: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def pick(self, indices: Sequence[int]) -> "Slice":
        """Return some of the changes."""
        if len(indices) == len(self.ops):
            return self
        return Slice(
            [self.ops[i] for i in indices],
            [self.rows[i] for i in indices],
            [self.events[i] for i in indices],
            [self.chunks[i] for i in indices],
            [self.places[i] for i in indices],
        )


class Collector:
    """Makes one batch of the changes of one table."""

    def __init__(self, table: Table, flavor: str, cursor: "DuckDBPyConnection | None") -> None:
        self._table = table
        self._flavor = flavor
        self._cursor = cursor
        self._waiting = Slice()
        self._count = 0
        self._pieces: list[tuple[Signature, str, pa.Table]] = []
        self._refused: dict[int, dict[str, Any] | None] = {}
        self._batch = Batch()
        self._all: Staged = list(enumerate(table.columns))
        self._keys: Staged = [(i, c) for i, c in self._all if c.name in table.primary_key]
        self._place_of = {column.name: i for i, column in self._all}

    @property
    def cursor(self) -> "DuckDBPyConnection":
        """Return what DuckDB is asked with; raises CursorNeeded where there is none."""
        if self._cursor is None:
            raise casting.CursorNeeded
        return self._cursor

    def add(self, op: str, row: dict[str, Any], event: int, chunk: int) -> None:
        """Take one change; changes of one chunk are taken or refused together."""
        waiting = self._waiting
        waiting.ops.append(op)
        waiting.rows.append(row)
        waiting.events.append(event)
        waiting.chunks.append(chunk)
        waiting.places.append(self._count)
        self._count += 1
        if len(waiting.ops) >= SLICE:
            self.flush()

    def add_typed(self, rows: pa.Table) -> None:
        """Take rows to insert that are typed and judged."""
        self._pieces.append((None, "insert", rows))

    def refuse(self, chunk: int, error: dict[str, Any]) -> None:
        """Refuse a chunk; of several errors in it the first counts. Raises TooMany."""
        if chunk not in self._refused:
            if len(self._refused) >= MOST:
                raise TooMany
            self._refused[chunk] = error if len(self._refused) < KEPT else None
            return
        known = self._refused[chunk]
        if known is not None and error["event_number"] < known["event_number"]:
            self._refused[chunk] = error

    def has_refused(self, chunk: int) -> bool:
        """Tell whether a chunk has been refused already, so that more of it is of no use."""
        return chunk in self._refused

    def give_up(self) -> None:
        """Say that the rest has not been read; what was read counts."""
        told = f"more than {MOST} records cannot be read; the rest of the input has not been read"
        self._batch.errors.add(parse_error(told, MOST + 1))

    def refuse_value(self, column: Column, value: Any, event: int, chunk: int) -> None:
        """Refuse a chunk because of a value that its column cannot hold."""
        told = complaint(column, value, NULL if value is None else "")
        self.refuse(chunk, parse_error(told, event, column.name, value))

    def flush(self) -> None:
        """Turn what waits into typed columns."""
        waiting, self._waiting = self._waiting, Slice()
        signatures = list(map(self._signature, waiting.ops, waiting.rows))
        for signature, run in groupby(range(len(signatures)), signatures.__getitem__):
            self._stage(signature, waiting.pick(list(run)))

    def finish(self) -> Batch:
        """Return the batch; what was refused is counted, one error a chunk."""
        try:
            self.flush()
        except TooMany:
            self.give_up()
        for error in self._refused.values():
            self._batch.errors.add(error)
        for signature, pieces in groupby(self._pieces, itemgetter(0)):
            self._run(signature, [(op, self._accepted(rows)) for _, op, rows in pieces])
        return self._batch

    def _signature(self, op: str, row: dict[str, Any]) -> Signature:
        if op != "update":
            return None
        return tuple(sorted({self._place_of[name] for name in row} | {i for i, _ in self._keys}))

    def _stage(self, signature: Signature, run: Slice) -> None:
        if signature is not None:
            self._piece(signature, "update", run, [(i, self._table.columns[i]) for i in signature])
            return
        gone = [i for i, op in enumerate(run.ops) if op == "delete"]
        kept = range(len(run.ops)) if not gone else [i for i, op in enumerate(run.ops) if op == "insert"]
        if kept:
            self._piece(None, "insert", run.pick(kept), self._all)
        if gone:
            self._piece(None, "delete", run.pick(gone), self._keys or self._all)

    def _piece(self, signature: Signature, op: str, run: Slice, staged: Staged) -> None:
        marks = {"n": run.places, "event": run.events, "chunk": run.chunks}
        arrays = {name: pa.array(values, pa.int64()) for name, values in marks.items()}
        wrong: dict[int, tuple[Column, str]] = {}
        for i, column in staged:
            cells = columns.encode(column, _values(column, run.rows), self._flavor)
            arrays[f"r{i}"] = cells.array
            for index, told in cells.wrong.items():
                wrong.setdefault(index, (column, told))
        for index, (column, told) in wrong.items():
            event, text = run.events[index], run.rows[index].get(column.name)
            self.refuse(run.chunks[index], parse_error(told, event, column.name, text))
        strict = op != "delete" or bool(self._keys)
        typed, misfits = casting.cast(
            self._cursor, pa.table(arrays), staged, casting.from_json, strict=strict
        )
        for index, place in misfits:
            if index not in wrong:
                column = self._table.columns[place]
                value = run.rows[index].get(column.name, column.default)
                self.refuse_value(column, value, run.events[index], run.chunks[index])
        self._pieces.append((signature, op, typed))

    def _accepted(self, rows: pa.Table) -> pa.Table:
        if not self._refused:
            return rows
        refused = pa.array(self._refused, pa.int64())
        return rows.filter(pc.invert(pc.is_in(rows.column("chunk"), value_set=refused)))

    def _run(self, signature: Signature, pieces: list[tuple[str, pa.Table]]) -> None:
        gone = _joined([rows for op, rows in pieces if op == "delete"])
        kept = _joined([rows for op, rows in pieces if op != "delete"])
        if gone is None and kept is None:
            return
        self._batch.records += sum(rows.num_rows for rows in (kept, gone) if rows is not None)
        self._batch.runs.append(Run(kept, gone, signature))


def _joined(pieces: list[pa.Table]) -> pa.Table | None:
    """Return what is left of the pieces as one table, without the marks that nobody needs any more."""
    left = [rows for rows in pieces if rows.num_rows]
    return pa.concat_tables(left).drop_columns(["event", "chunk"]) if left else None


def _values(column: Column, rows: list[dict[str, Any]]) -> list[Any]:
    try:
        return list(map(itemgetter(column.name), rows))
    except KeyError:
        return [row.get(column.name, column.default) for row in rows]

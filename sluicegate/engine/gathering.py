"""Gathering: the small batches that wait for a step become few, so that a crowd costs little more than one.

What is staged and applied together costs a few statements, however many brought it. Batches of a table are
joined where that changes nothing: their order is kept in the numbers `n`, which say what comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, cast

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Batch, Rows, Run
from sluicegate.engine.plan import Table

if TYPE_CHECKING:
    import pyarrow as pa


SMALL = 1000
"""Rows on average below which pieces are put together."""


@dataclass
class Gathered:
    """Arrivals that are staged as one, by their places among all."""

    table: Table
    batch: Batch | Rows
    places: list[int] = field(default_factory=list)


def gather(arrivals: Sequence[Arrival]) -> list[Gathered]:
    """Return what is to be staged; of each table in its order, since tables know nothing of each other."""
    by_table: dict[str, list[int]] = {}
    for place, arrival in enumerate(arrivals):
        by_table.setdefault(arrival.table.physical, []).append(place)
    gathered = []
    for places in by_table.values():
        for is_batch, group in groupby(places, lambda place: isinstance(arrivals[place].batch, Batch)):
            some = list(group)
            gathered += _together(arrivals, some) if is_batch else alone(arrivals, some)
    return gathered


def alone(arrivals: Sequence[Arrival], places: list[int]) -> list[Gathered]:
    """Return some arrivals, each to be staged for itself."""
    return [Gathered(arrivals[place].table, arrivals[place].batch, [place]) for place in places]


def _together(arrivals: Sequence[Arrival], places: list[int]) -> list[Gathered]:
    if len(places) == 1:
        return alone(arrivals, places)
    table = arrivals[places[0]].table
    joints: list[_Joint] = []
    first = 0
    for place in places:
        runs = cast(Batch, arrivals[place].batch).runs
        for run in runs:
            if not joints or not joints[-1].accepts(run):
                joints.append(_Joint(bool(table.primary_key), run.given))
            joints[-1].add(first, run)
        if table.primary_key:
            first += _after(runs)
    records = sum(len(arrivals[place].batch) for place in places)
    return [Gathered(table, Batch([joint.run() for joint in joints], records), places)]


class _Joint:
    """Runs that are applied together."""

    def __init__(self, keyed: bool, given: tuple[int, ...] | None) -> None:
        self._keyed = keyed
        self._given = given
        self._rows: list[pa.Table] = []
        self._gone: list[pa.Table] = []

    def accepts(self, run: Run) -> bool:
        """Tell whether a run may be applied with those before it.

        Without a key what comes and goes is summed: a row that is not there yet must not be taken from a run
        that comes later.
        """
        if run.given != self._given or not (self._keyed or (run.gone is None and not self._gone)):
            return False
        return _like(self._rows, run.rows) and _like(self._gone, run.gone)

    def add(self, first: int, run: Run) -> None:
        """Take a run whose changes come after the number `first`."""
        for pieces, rows in ((self._rows, run.rows), (self._gone, run.gone)):
            if rows is not None:
                pieces.append(_renumbered(rows, first) if first else rows)

    def run(self) -> Run:
        """Return all of them as one."""
        return Run(_concatenated(self._rows), _concatenated(self._gone), self._given)


def _like(pieces: "list[pa.Table]", rows: "pa.Table | None") -> bool:
    return rows is None or not pieces or pieces[0].schema.equals(rows.schema)


def _after(runs: Sequence[Run]) -> int:
    """Return the first number that no change of some runs has."""
    import pyarrow.compute as pc

    tables = [rows for run in runs for rows in (run.rows, run.gone) if rows is not None]
    return max((pc.max(rows.column("n")).as_py() + 1 for rows in tables), default=0)


def _renumbered(rows: "pa.Table", first: int) -> "pa.Table":
    import pyarrow.compute as pc

    place = rows.column_names.index("n")
    return rows.set_column(place, "n", pc.add(rows.column(place), first))


def _concatenated(pieces: "list[pa.Table]") -> "pa.Table | None":
    import pyarrow as pa

    if len(pieces) < 2:
        return pieces[0] if pieces else None
    joined = pa.concat_tables(pieces)
    # To scan many small pieces takes longer than to copy them.
    return joined.combine_chunks() if joined.num_rows < SMALL * len(pieces) else joined

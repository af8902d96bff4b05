"""The writer: a step is one transaction of DuckDB. Runs in a thread, one call at a time.

Before the transaction the arrivals are staged, each for itself, so that what is wrong with one concerns no
other: an error inside a transaction of DuckDB ends all of it. Inside, tables and views change, and the
offsets and the step's number with them.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any

import duckdb

from sluicegate.engine import gathering, states
from sluicegate.engine.applying import Applier, Scratch, Staged
from sluicegate.engine.arrivals import Arrival, Taken
from sluicegate.engine.bootstrap.journal import Journal
from sluicegate.engine.clock import Clock
from sluicegate.engine.holding import Holding
from sluicegate.engine.identifiers import quote
from sluicegate.engine.loading import Loaded, Loader
from sluicegate.engine.plan import NOW, NOW_DDL, SET_NOW, Plan, Table
from sluicegate.engine.stored import Stored
from sluicegate.engine.views.upkeep import Upkeep
from sluicegate.engine.waterlines import Waterlines

if TYPE_CHECKING:
    import pyarrow as pa

    from sluicegate.engine.opening import Migration

STEPS = "~steps"
"""Our own table of one row: steps taken and records processed. No program can name it."""
BEGUN = "~begun"
"""Our own table of one row: when the database was made. A checkpoint keeps it."""
OFFSETS = "~offsets"
"""Our own table of the connectors' positions, as JSON, after the last step that took anything of theirs."""
TRANSACTIONS = "~transactions"
"""Our own table of one row: how many transactions of the API have been started."""

LONGEST_LOG = 16 << 20
"""Bytes of DuckDB's log, after which it is folded into the file: what DuckDB would do by itself."""
SPARE = 2 << 20
"""Bytes that have to be free beyond twice the log, for what DuckDB writes anew of tables that it touches."""


@dataclass(frozen=True)
class Outcome:
    """What a call of the writer has done."""

    step: int
    """The last step that there is."""
    taken: list[Taken | Exception]
    """Of each arrival, in order."""
    stepped: bool = False
    changes: Mapping[str, "pa.Table"] = field(default_factory=dict)
    """Of each watched relation, what has changed."""
    offsets: Mapping[str, Any] = field(default_factory=dict)
    """Positions of connectors that are stored now."""
    views: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the step has spent on each view, by name."""


Exchange = Callable[[duckdb.DuckDBPyConnection, Upkeep, Upkeep], None]
"""Makes the views of another plan, which the second upkeep then maintains instead of the first."""
Brought = Sequence[tuple[Table, Sequence[Staged]]]
"""Staged rows with their tables, in the order in which they are applied."""
SNAPSHOT_ROWS = 10_000
"""Rows of a snapshot that are read at once."""


class Writer:
    """Writes to one database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, log: Path | None = None) -> None:
        """Write over a connection that nobody else uses; `log` is DuckDB's log of it, if it is in a file."""
        self._connection = connection
        self._log = log
        self._run = connection.execute
        self._scratch = Scratch(connection)
        self._loader = Loader(connection, self._scratch)
        self._applier = Applier(connection, self._scratch)
        self._upkeep = Upkeep(connection, self._scratch)
        self._waterlines = Waterlines(connection)
        self._holding = Holding(connection)
        self._clock: Clock | None = None
        self._now = 0
        self._steps = self._records = 0
        self.begun = 0
        self.is_open = True
        self.keeps_file = False
        """Whether the file is being read, so that the log is not folded into it."""
        self.journal: Journal | None = None
        """Where the changes of steps are kept while views are computed beside them."""

    def prepare(
        self,
        plan: Plan,
        clock: Clock,
        program: Stored | None = None,
        migration: "Migration | None" = None,
    ) -> None:
        """Make what is not there yet; a database that was cut short while it was made is completed."""
        with self._transaction():
            if migration is not None:
                migration.apply(self._connection)
            if plan.reads_now:
                self._begin_time(clock)
            self._upkeep.prepare(plan)
            self._waterlines.prepare(plan)
            self._prepare_own()
            states.prepare(self._connection)
            if program is not None:
                states.keep_program(self._connection, program)
        self._steps, self._records = self.stored_progress()
        [(begun,)] = self._run(f'SELECT seconds FROM "{BEGUN}"').fetchall()
        self.begun = int(begun)

    def _prepare_own(self) -> None:
        """Make our own tables where they are not there yet."""
        self._run(f'CREATE TABLE IF NOT EXISTS "{STEPS}" AS SELECT 0::BIGINT AS steps, 0::BIGINT AS records')
        self._run(f'CREATE TABLE IF NOT EXISTS "{BEGUN}" AS SELECT {int(time.time())}::BIGINT AS seconds')
        self._run(f'CREATE TABLE IF NOT EXISTS "{OFFSETS}" (endpoint VARCHAR, position VARCHAR)')
        self._run(f'CREATE TABLE IF NOT EXISTS "{TRANSACTIONS}" AS SELECT 0::BIGINT AS number')

    def begin_journal(self, relations: Collection[str]) -> int:
        """Keep what changes of relations from now on; returns the last step before."""
        with self._transaction():
            journal = Journal(self._connection, self._scratch, relations)
            for relation in relations:
                self._upkeep.watch(relation)
        self.journal = journal
        return self._steps

    def exchange(self, clock: Clock | None, program: Stored, exchange: "Exchange") -> None:
        """Have the views be those of another program from now on; with a clock where it reads the time."""
        fresh = Upkeep(self._connection, self._scratch)
        try:
            with self._transaction():
                if clock is not None:
                    self._begin_time(clock)
                exchange(self._connection, self._upkeep, fresh)
                states.keep_program(self._connection, program)
        finally:
            self._tidy()
        self._upkeep, self.journal = fresh, None

    def _begin_time(self, clock: Clock) -> None:
        """Go on with the time that the views have seen; a new database begins with that of the clock."""
        self._run(NOW_DDL)
        [(stored,)] = self._run(f'SELECT epoch_ms(now) FROM "{NOW}"').fetchall()
        self._clock, self._now = clock, int(stored)
        begun = clock.begin(self._now)
        if not self._now:
            self._run(SET_NOW, [begun])
            self._now = begun

    def stored_progress(self) -> tuple[int, int]:
        """Return how many steps and records are stored."""
        [(steps, records)] = self._run(f'SELECT steps, records FROM "{STEPS}"').fetchall()
        return int(steps), int(records)

    def progress(self) -> tuple[int, int]:
        """Return how many steps and records the database holds."""
        return self._steps, self._records

    def offsets(self) -> dict[str, Any]:
        """Return the position of each connector after the last step that took anything of it."""
        rows = self._run(f'SELECT endpoint, position FROM "{OFFSETS}"').fetchall()
        return {endpoint: json.loads(position) for endpoint, position in rows}

    def keep_position(self, endpoint: str, position: Any) -> None:
        """Store the position of a connector."""
        self._run(f'DELETE FROM "{OFFSETS}" WHERE endpoint = ?', [endpoint])
        self._run(f'INSERT INTO "{OFFSETS}" VALUES (?, ?)', [endpoint, json.dumps(position)])

    def mark(self, endpoint: str, position: Any) -> None:
        """Store the position of a connector between steps."""
        with self._transaction():
            self.keep_position(endpoint, position)

    def take(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Take a step; where there is nothing to write, and it is no later for the views, none."""
        try:
            staged, loaded = self._load(arrivals)
            outcome = self._write(staged, _offsets(arrivals), _records(loaded))
            return replace(outcome, taken=[self._answer(each, self._steps) for each in loaded])
        finally:
            self._tidy()

    def _tidy(self) -> None:
        """Let temporary relations go, and the log where it is long. What lacks memory or room for it is done
        after the next call: the step is committed, and to fail now would have it repeated."""
        with suppress(duckdb.Error):
            self._scratch.clear()
            long = self._log is not None and _size(self._log) > LONGEST_LOG
            if long and not self.keeps_file and self._has_room:
                self._run("CHECKPOINT")

    def begin_transaction(self) -> int:
        """Return the number of a transaction, in which arrivals are held and not taken."""
        number = self._run(f'UPDATE "{TRANSACTIONS}" SET number = number + 1 RETURNING number').fetchall()
        return int(number[0][0])

    def hold(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Hold arrivals for the next `commit`, which will be the next step."""
        try:
            staged, loaded = self._load(arrivals)
            self._holding.add(staged, _offsets(arrivals), _records(loaded))
            step = self._steps + bool(self._holding.records)
            return Outcome(self._steps, [self._answer(each, step) for each in loaded])
        finally:
            self._tidy()

    def commit(self) -> Outcome:
        """Take all that is held as one step."""
        try:
            held = self._holding
            outcome = self._write(held.staged(), held.offsets, held.records)
            held.clear()
            return outcome
        finally:
            self._tidy()

    def fold(self) -> None:
        """Fold the write-ahead log into the file and give blocks of deleted rows back; repeating is fine."""
        self.check_room()
        self._run("CHECKPOINT")

    def try_to_fold(self) -> bool:
        """Fold the log, unless somebody reads what was there before an update: DuckDB does not fold then."""
        try:
            self.fold()
        except duckdb.TransactionException:
            return False
        return True

    def check_room(self) -> None:
        """Raise OSError where the log cannot be folded for lack of room: to try it would end DuckDB."""
        if not self._has_room:
            message = "No space left on device to fold the log of the database into its file"
            raise OSError(errno.ENOSPC, message, str(self._log))

    @property
    def _has_room(self) -> bool:
        return self._log is None or disk_usage(self._log.parent).free > 2 * _size(self._log) + SPARE

    def keep_states(self, found: Mapping[str, Any]) -> None:
        """Store the states of connectors, by name; of others nothing is kept."""
        with self._transaction():
            states.keep(self._connection, found)

    def states(self) -> dict[str, Any]:
        """Return the states of connectors that are stored."""
        return states.kept(self._connection)

    def rehearse(self, plan: Plan) -> "Mapping[str, Any]":
        """Return the profiled statements of each view, of a step that is rolled back."""
        from sluicegate.engine.observing import rehearsal

        return rehearsal.rehearse(self._connection, plan, self._upkeep)

    def waterlines(self) -> list[dict[str, Any]]:
        """Return how far the columns with LATENESS have come."""
        return self._waterlines.told()

    def watch(self, relation: str, *, snapshot: bool) -> "pa.RecordBatchReader | None":
        """Have the changes of a relation told by each step from now on."""
        with self._transaction():
            self._upkeep.watch(relation)
        return self.snapshot(relation) if snapshot else None

    def unwatch(self, relation: str) -> None:
        """End one `watch` of a relation."""
        self._upkeep.unwatch(relation)

    def snapshot(self, relation: str) -> "pa.RecordBatchReader":
        """Return the rows of a relation as they are now, whatever is written while they are read."""
        rows = self._connection.cursor().sql(f"SELECT * FROM {quote(relation)}")
        return rows.to_arrow_reader(SNAPSHOT_ROWS)

    def _load(self, arrivals: Sequence[Arrival]) -> tuple[Brought, list[Loaded | Exception]]:
        """Stage arrivals, those together that may be; returns that, and of each what became of it."""
        staged: list[tuple[Table, Sequence[Staged]]] = []
        answers: dict[int, Loaded | Exception] = {}
        for gathered in gathering.gather(arrivals):
            for places, loaded in self._stage(arrivals, gathered):
                if isinstance(loaded, Exception):
                    answers |= dict.fromkeys(places, loaded)
                    continue
                staged.append((gathered.table, loaded.staged))
                brought = (arrivals[place].batch for place in places)
                each = (Loaded([], len(batch), batch.errors) for batch in brought)
                answers |= zip(places, each, strict=True)
        return staged, [answers[place] for place in range(len(arrivals))]

    def _stage(
        self, arrivals: Sequence[Arrival], gathered: gathering.Gathered
    ) -> list[tuple[list[int], Loaded | Exception]]:
        """Stage what is together, and where that fails each for itself, so that it fails for those alone
        that it is about."""
        try:
            return [(gathered.places, self._loader.load(gathered.table, gathered.batch))]
        except Exception as error:
            if len(gathered.places) > 1:
                each = gathering.alone(arrivals, gathered.places)
                return [outcome for one in each for outcome in self._stage(arrivals, one)]
            arrival = arrivals[gathered.places[0]]
            # To go on would lose it: later offsets are beyond it, or nobody would be told.
            if arrival.offset is not None or arrival.acknowledged:
                raise
            return [(gathered.places, error)]

    def _answer(self, loaded: Loaded | Exception, step: int) -> Taken | Exception:
        return loaded if isinstance(loaded, Exception) else Taken(step, loaded.records, loaded.errors)

    def _write(self, staged: Brought, offsets: Mapping[str, Any], records: int) -> Outcome:
        now = self._clock.read() if self._clock else self._now
        if not offsets and not records and now == self._now:
            return Outcome(self._steps, [])
        changes = self._step(staged, offsets, records, now)
        return Outcome(self._steps, [], True, changes, offsets, self._upkeep.spent)

    def _step(
        self, staged: Brought, offsets: Mapping[str, Any], records: int, now: int
    ) -> "dict[str, pa.Table]":
        try:
            with self._transaction():
                if now != self._now:
                    self._run(SET_NOW, [now])
                touched = self._apply(staged)
                changes = self._upkeep.maintain(
                    touched, self._applier.changes(self._upkeep.told), ticks=now != self._now
                )
                if self.journal is not None:
                    self.journal.note(changes)
                self._keep(offsets, records)
        except BaseException:
            self._applier.forget()
            raise
        self._now = now
        self._steps += 1
        self._records += records
        return changes

    def _apply(self, staged: Brought) -> set[str]:
        """Change the tables; returns those that rows were staged for."""
        brought: dict[str, tuple[Table, list[Staged]]] = {}
        for table, rows_of in staged:
            for rows in rows_of:
                self._waterlines.drop_late(table, rows)
                self._applier.apply(table, rows, captured=self._upkeep.needs(table.physical))
                brought.setdefault(table.physical, (table, []))[1].append(rows)
        for table, all_rows in brought.values():
            self._waterlines.advance(table, all_rows)
        return set(brought)

    def _keep(self, offsets: Mapping[str, Any], records: int) -> None:
        """Write what the step stands for."""
        self._run(f'UPDATE "{STEPS}" SET steps = steps + 1, records = records + {records}')
        for endpoint, position in offsets.items():
            self.keep_position(endpoint, position)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a COMMIT that failed has rolled back by itself
                self._run("ROLLBACK")
            raise


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0


def _records(loaded: Sequence[Loaded | Exception]) -> int:
    return sum(rows.records for rows in loaded if isinstance(rows, Loaded))


def _offsets(arrivals: Sequence[Arrival]) -> dict[str, Any]:
    return {
        arrival.endpoint.name: arrival.offset
        for arrival in arrivals
        if arrival.endpoint is not None and arrival.offset is not None
    }

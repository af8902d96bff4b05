"""Concurrent bootstrap: the views of the program before are served until those that have changed are ready.

    open ──► compute beside the steps ──► catch up, cut over ──► as ever
             ConcurrentBootstrapping      Synchronizing

The pipeline begins with a plan between the two: the tables and inputs of the new one, the views of the old.
Meanwhile the changed views are computed in a transaction of their own, from the state that it began with, and
a journal keeps what steps change of what they read. Between two steps they follow that, and take the place
of the old ones. Until then the database says that it is of the plan between, so a process that ends before
begins again with what is left of the change.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from sluicegate.engine import errors
from sluicegate.engine.bootstrap.comparison import Comparison
from sluicegate.engine.bootstrap.identity import reads
from sluicegate.engine.bootstrap.migration import forget_positions, owe, owing
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import NOW_DDL, Branch, Plan, View
from sluicegate.engine.situation import NO_BACKFILL, Situation
from sluicegate.engine.steps import Steps
from sluicegate.engine.stored import Stored
from sluicegate.engine.views import stores
from sluicegate.engine.views.upkeep import Upkeep, maintained

if TYPE_CHECKING:
    from sluicegate.engine.database import Database
    from sluicegate.engine.writer import Writer

COMPUTING = "ConcurrentBootstrapping"
CATCHING_UP = "Synchronizing"
DELAY = "Bootstrapping"
"""Why no checkpoint is made meanwhile."""


class Transition:
    """Makes a database that of the plan between."""

    def __init__(self, comparison: Comparison, program_version: int) -> None:
        """Begin with the program of a version."""
        self.comparison = comparison
        self.plan = between(comparison)
        self.stored = Stored(self.plan.digest(), program_version, self.plan.to_json())

    def apply(self, connection: duckdb.DuckDBPyConnection) -> None:
        """See `opening.Migration`: what begins anew among connectors forgets where it was."""
        comparison = self.comparison
        begins = comparison.connectors("input", "added", "modified")
        inputs = self.plan.input_connectors.keys() - begins
        forget_positions(connection, keep=inputs | self.plan.output_connectors.keys())
        if comparison.new.reads_now:
            connection.execute(NOW_DDL)


def between(comparison: Comparison) -> Plan:
    """Return the plan with which a pipeline begins while the views of the new one are computed."""
    old, new = comparison.old, comparison.new
    if old is None:
        raise ValueError("there is no program to begin with")
    tables = {table.name: table for table in (*old.tables, *new.tables)}
    begins = comparison.connectors("output", "added", "modified")
    outputs = {name: output for name, output in new.output_connectors.items() if name not in begins}
    return replace(
        new, tables=tuple(tables.values()), views=old.views, indexes=old.indexes, output_connectors=outputs
    )


class Backfill:
    """Computes the changed views of one pipeline beside its steps."""

    def __init__(
        self, transition: Transition, situation: Situation, steps: Steps, database: "Database"
    ) -> None:
        self._comparison = comparison = transition.comparison
        self._situation = situation
        self._steps = steps
        self._cursor = database.cursor()
        views = {view.physical: view for view in comparison.new.views}
        names = comparison.changed("views", "added", "modified")
        self._changed = {view.physical: view for view in views.values() if view.name in names}
        self._needed = [views[name] for name in views if name in maintained(views) and name in self._changed]
        self._began = 0
        self.gone = _physical(comparison, "views", "modified", "removed") | _physical(
            comparison, "tables", "removed"
        )
        """What of the old program nobody may hear of any more; a modified view is another one."""

    def begin(self) -> None:
        """Have it be known, and no checkpoint be made meanwhile."""
        self._situation.backfill = COMPUTING
        self._situation.delay(DELAY)

    async def run(self) -> None:
        """Compute, catch up and cut over."""
        try:
            await self._steps.alone(self._look)
            await asyncio.to_thread(self._compute)
            self._situation.backfill = CATCHING_UP
            await self._steps.exchange(self._cut_over, self.gone)
        finally:
            self._cursor.close()
        self._situation.transition = None
        await asyncio.to_thread(self._situation.settle)

    def over(self) -> None:
        """Have all be as ever."""
        self._situation.backfill = NO_BACKFILL
        self._situation.delay(DELAY, over=True)

    def abandon(self) -> None:
        """Stop computing: the pipeline ends."""
        with suppress(duckdb.ConnectionException):  # it is closed where all has been computed
            self._cursor.interrupt()

    def _look(self, writer: "Writer") -> None:
        """Take a snapshot between two steps, and have the changes after it kept."""
        sources = {
            branch.source for view in self._needed for branch in _branches(view)
        } - self._changed.keys()
        self._began = writer.begin_journal(sources)
        self._cursor.execute("BEGIN")
        self._cursor.execute('SELECT 1 FROM "~steps"').fetchall()  # the snapshot is that of the first look

    def _compute(self) -> None:
        stores.forget(self._cursor)
        for view in self._needed:
            maintenance = view.maintenance
            if maintenance is None or not maintenance.store:
                continue
            known = ", ".join(f"{quote(each.physical)} AS ({self._rows(each)})" for each in self._read(view))
            rows = f"WITH {known} {maintenance.initial}" if known else maintenance.initial
            try:
                self._cursor.execute(f"CREATE OR REPLACE TABLE {quote(unfinished(view))} AS {rows}")
            except duckdb.Error as error:
                raise errors.worker_panic(error, view.name) from error
        self._cursor.execute("COMMIT")

    def _read(self, view: View) -> Iterable[View]:
        """Return the changed views that a view reads, itself or not, in the order of the program."""
        found: set[str] = set()
        waiting = [view]
        while waiting:
            for name in reads(waiting.pop()):
                if name in self._changed and name not in found:
                    found.add(name)
                    waiting.append(self._changed[name])
        return [each for name, each in self._changed.items() if name in found]

    def _rows(self, view: View) -> str:
        """Return the query of a changed view while its name is still that of the old one."""
        maintenance = view.maintenance
        if maintenance is None or not maintenance.store or view not in self._needed:
            return view.query
        return maintenance.shown.replace(quote(maintenance.store), quote(unfinished(view)))

    def _cut_over(self, writer: "Writer") -> None:
        stepped = writer.progress()[0] != self._began
        journal, new = writer.journal, self._comparison.new
        kept = set(new.input_connectors) | set(new.output_connectors)

        def exchange(connection: duckdb.DuckDBPyConnection, before: Upkeep, after: Upkeep) -> None:
            changed = set() if journal is None else journal.settle()
            before.let_go()
            self._replace(connection)
            after.prepare(new)
            after.catch_up(self._changed, changed, anew=stepped or new.reads_now)
            if journal is not None:
                for relation in journal.relations:
                    before.unwatch(relation)
            after.take_over(before, without=self.gone)
            forget_positions(connection, keep=kept)
            owe(connection, owing(self._comparison))

        clock = self._situation.clock if new.reads_now else None
        writer.exchange(clock, self._situation.own(), exchange)

    def _replace(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Drop what is gone, and give what has been computed its name."""
        old = self._comparison.old
        for relation in () if old is None else old.relations:
            if relation.physical not in self.gone:
                continue
            if isinstance(relation, View):
                connection.execute(f"DROP VIEW {quote(relation.physical)}")
                if relation.maintenance is not None and relation.maintenance.store:
                    connection.execute(f"DROP TABLE IF EXISTS {quote(relation.maintenance.store)}")
            else:
                connection.execute(f"DROP TABLE {quote(relation.physical)}")
        for view in self._needed:
            if view.maintenance is not None and view.maintenance.store:
                store = quote(view.maintenance.store)
                connection.execute(f"ALTER TABLE {quote(unfinished(view))} RENAME TO {store}")


def unfinished(view: View) -> str:
    """Return where the rows of a view are computed that has not taken its place yet."""
    return f"{stores.UNFINISHED}{view.physical}"


def _physical(comparison: Comparison, kind: str, *how: str) -> set[str]:
    names = comparison.changed(kind, *how)
    old = comparison.old
    relations = () if old is None else old.tables if kind == "tables" else old.views
    return {relation.physical for relation in relations if relation.name in names}


def _branches(view: View) -> Iterable[Branch]:
    return () if view.maintenance is None else view.maintenance.branches

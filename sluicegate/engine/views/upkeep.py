"""Upkeep: the views of a running pipeline follow its tables, in the transaction of each step.

    tables that changed ──► views in the order of the program ──► changes of those that somebody watches

Only what is needed is maintained: what is materialized or has an output, what somebody listens to, and
whatever these need the changes of. What is maintained from the start is stored in tables of the database,
and what only a listener asks for in temporary ones, from the time on at which it asks.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import duckdb

from sluicegate.engine import errors
from sluicegate.engine.applying import WEIGHT, Scratch, delta, net, scratch
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import Maintenance, Plan, View
from sluicegate.engine.views import stores

if TYPE_CHECKING:
    import pyarrow as pa


Followed = Callable[[str], None]
"""Called with the name of a view that has been maintained."""


class Upkeep:
    """Maintains the views of one database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch_tables: Scratch) -> None:
        """Maintain over a connection, with temporary tables on it."""
        self._connection = connection
        self._run = connection.execute
        self._scratch = scratch_tables
        self._views: dict[str, View] = {}
        self._active: set[str] = set()
        self._temporary: set[str] = set()
        self._sources: set[str] = set()
        self._watchers: Counter[str] = Counter()
        self._followed: Followed | None = None
        self.spent: dict[str, float] = {}
        """Seconds that the last step has spent on each view, by name."""

    def over(
        self, connection: duckdb.DuckDBPyConnection, scratch_tables: Scratch, followed: Followed
    ) -> "Upkeep":
        """Return one that maintains the same views over another connection, and says when it has done one."""
        other = Upkeep(connection, scratch_tables)
        other._views, other._active, other._sources = self._views, self._active, self._sources
        other._followed = followed
        return other

    def prepare(self, plan: Plan) -> None:
        """Make the relations of a plan, as far as they are not there yet."""
        self._views = {view.physical: view for view in plan.views}
        self._active = self._needed()
        for table in plan.tables:
            self._run(table.ddl)
        for view in plan.views:
            self._run(view.ddl)
            maintenance = view.maintenance
            if maintenance is not None and maintenance.store and view.physical in self._active:
                store = quote(maintenance.store)
                self._run(f"CREATE TABLE IF NOT EXISTS {store} AS {maintenance.initial}")
                self._run(f"CREATE OR REPLACE VIEW {quote(view.physical)} AS {maintenance.shown}")
        stores.drop_others(self._connection, self._stores(self._active))
        self._settle()

    @property
    def told(self) -> Collection[str]:
        """Return the relations of which somebody is told what has changed."""
        return self._watchers

    def needs(self, table: str) -> bool:
        """Tell whether the change of a table has to be captured."""
        return table in self._sources

    def watch(self, relation: str) -> None:
        """Have the changes of a relation told, within a transaction that is rolled back where this raises."""
        view = self._views.get(relation)
        if view is not None and view.maintenance is None:
            raise errors.outdated(view.name)
        before = self._active, set(self._temporary)
        self._watchers[relation] += 1
        try:
            self._begin_temporary(self._needed())
        except BaseException:
            # What has been made goes with the transaction.
            self._watchers[relation] -= 1
            self._watchers += Counter()
            self._active, self._temporary = before
            self._settle()
            raise

    def _begin_temporary(self, needed: set[str]) -> None:
        for physical, view in self._views.items():
            maintenance = view.maintenance
            if physical in needed - self._active and maintenance is not None and maintenance.store:
                try:
                    self._run(f"CREATE TEMP TABLE {quote(maintenance.store)} AS {maintenance.initial}")
                except duckdb.Error as error:
                    raise errors.worker_panic(error, view.name) from error
                self._temporary.add(physical)
        self._active = needed
        self._settle()

    def unwatch(self, relation: str) -> None:
        """End one `watch`."""
        self._watchers[relation] -= 1
        self._watchers += Counter()
        self._active = self._needed()
        for store in self._stores(self._temporary - self._active):
            self._run(f"DROP TABLE {scratch(store)}")
        self._temporary &= self._active
        self._settle()

    def maintain(
        self, touched: AbstractSet[str], captured: AbstractSet[str], *, ticks: bool
    ) -> "dict[str, pa.Table]":
        """Have the views follow the tables; returns what changed of each watched relation."""
        dirty, changed = set(touched), set(captured)
        self.spent = {}
        for physical, view in self._views.items():
            maintenance = view.maintenance
            if maintenance is None or not (dirty & set(maintenance.reads) or (ticks and view.reads_now)):
                continue
            dirty.add(physical)
            if physical in self._active and self._timed(view, maintenance, changed):
                changed.add(physical)
        return {relation: self._rows(relation, changed) for relation in self._watchers}

    def catch_up(self, views: Collection[str], changed: Collection[str], *, anew: bool) -> None:
        """Have some views, and no others, follow changes that stand in `~d <relation>`.

        Those that are computed anew are computed if that is asked for.
        """
        known = set(changed)
        for physical, view in self._views.items():
            maintenance = view.maintenance
            if maintenance is None or physical not in self._active or physical not in views:
                continue
            follows = anew if maintenance.kind == "difference" else bool(known & _sources(maintenance))
            if follows and self._timed(view, maintenance, known):
                known.add(physical)

    def let_go(self) -> None:
        """Drop what is stored for listeners only."""
        for store in self._stores(self._temporary):
            self._run(f"DROP TABLE {scratch(store)}")
        self._temporary = set()

    def take_over(self, other: "Upkeep", without: Collection[str]) -> None:
        """Tell whom another one has told, but of some relations."""
        for relation, listeners in other._watchers.items():
            for _ in range(0 if relation in without else listeners):
                self.watch(relation)

    def _timed(self, view: View, maintenance: Maintenance, changed: Collection[str]) -> bool:
        began = time.perf_counter()
        may_have_changed = self._follow(view, maintenance, changed)
        self.spent[view.name] = time.perf_counter() - began
        if self._followed is not None:
            self._followed(view.name)
        return may_have_changed

    def _follow(self, view: View, maintenance: Maintenance, changed: Collection[str]) -> bool:
        """Have one view follow; tells whether it may have changed, and leaves its change in `~d <view>`."""
        try:
            if maintenance.kind == "difference":
                return self._compute_anew(view, maintenance)
            contributions = [branch.sql for branch in maintenance.branches if branch.source in changed]
            if not contributions:
                return False
            union = " UNION ALL ".join(contributions)
            if maintenance.kind == "linear":
                # Nobody needs the change of some: they are computed to find out whether they fail.
                rows = net(union) if view.physical in self._sources else union
                self._scratch.make(delta(view.physical), rows)
            else:
                self._add_up(view, maintenance, union)
        except duckdb.Error as error:
            raise errors.worker_panic(error, view.name) from error
        return True

    def _compute_anew(self, view: View, maintenance: Maintenance) -> bool:
        one = "CAST({} AS BIGINT)"
        new = f"SELECT *, {one.format(1)} AS {WEIGHT} FROM ({maintenance.initial})"
        old = f"SELECT *, {one.format(-1)} FROM {quote(maintenance.store)}"
        changed = self._scratch.make(delta(view.physical), net(f"{new} UNION ALL {old}")) > 0
        if changed:
            stores.apply(self._connection, maintenance.store, view.columns, delta(view.physical))
        return changed

    def _add_up(self, view: View, maintenance: Maintenance, rows: str) -> None:
        before, after = maintenance.fold
        self._scratch.make(f"~g {view.physical}", f"{before}{rows}{after}")
        name, touched = f"~b {view.physical}", maintenance.touched
        if view.physical not in self._sources:
            self._run(maintenance.merge)
            self._scratch.make(name, touched)  # finds out whether a row fails
            return
        self._scratch.make(name, f"SELECT *, CAST(-1 AS BIGINT) AS {WEIGHT} FROM ({touched})")
        self._run(maintenance.merge)
        now = f"SELECT *, CAST(1 AS BIGINT) AS {WEIGHT} FROM ({touched})"
        self._scratch.make(delta(view.physical), net(f"SELECT * FROM {scratch(name)} UNION ALL {now}"))

    def _rows(self, relation: str, changed: Collection[str]) -> "pa.Table":
        rows = f"SELECT *, CAST(0 AS BIGINT) AS {WEIGHT} FROM {quote(relation)} LIMIT 0"
        if relation in changed:
            rows = f"SELECT * FROM {scratch(delta(relation))}"
        return self._connection.sql(rows).to_arrow_table()

    def _settle(self) -> None:
        """Find out whose changes have to be captured."""
        self._sources = set(self._watchers)
        for physical in self._active:
            maintenance = self._views[physical].maintenance
            if maintenance is not None:
                self._sources |= _sources(maintenance)

    def _needed(self) -> set[str]:
        """Return the views that have to be maintained."""
        return maintained(self._views, self._watchers)

    def _stores(self, physical: Iterable[str]) -> set[str]:
        kept = (self._views[name].maintenance for name in physical)
        return {maintenance.store for maintenance in kept if maintenance is not None and maintenance.store}


def _sources(maintenance: Maintenance) -> set[str]:
    return {branch.source for branch in maintenance.branches}


def maintained(views: Mapping[str, View], watched: Iterable[str] = ()) -> set[str]:
    """Return which views have to be maintained, where somebody listens to some relations."""
    needed: set[str] = set()
    wanted = [view.physical for view in views.values() if _wanted(view)]
    wanted += [relation for relation in watched if relation in views]
    while wanted:
        physical = wanted.pop()
        maintenance = views[physical].maintenance
        if physical in needed or maintenance is None:
            continue
        needed.add(physical)
        wanted += [branch.source for branch in maintenance.branches if branch.source in views]
    return needed


def _wanted(view: View) -> bool:
    """Tell whether a view is maintained even if nobody listens.

    A linear view stores nothing; it is computed only to find out whether it fails for a row, which ends the
    pipeline (contract §9.4).
    """
    maintenance = view.maintenance
    if maintenance is None or view.local:
        return False
    if maintenance.kind == "linear":
        return maintenance.fallible
    return view.watched

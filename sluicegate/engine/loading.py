"""Loading: changes of a table become one transaction, which is one step of the pipeline.

Rows travel to DuckDB column by column as JSON arrays and are staged in temporary tables, so that a batch
costs a handful of statements whatever its size. Keys are upheld here: a row replaces the one with its key.
A table without a key holds equal rows as often as they were inserted and not deleted.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb

from sluicegate.engine import cells
from sluicegate.engine.plan import Column, Table
from sluicegate.engine.records import Change, parse_error

STEPS = "~steps"
"""Our own table of one row: steps taken and records processed. No program can name it."""

Staged = list[tuple[int, Column]]
"""Columns of a table with their places; place i is column `c{i}` of a staging table."""


@dataclass
class Loaded:
    """The outcome of a batch."""

    records: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


class _Rejected(Exception):
    """Records that do not fit their columns: event number and chunk to error."""

    def __init__(self, errors: dict[tuple[int, int], dict[str, Any]]) -> None:
        super().__init__()
        self.errors = errors


class NotNull(Exception):
    """A query that inserts NULL where it may not."""


class Loader:
    """Writes to the tables of one database, one transaction at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._staged: set[str] = set()

    def load(self, table: Table, changes: list[Change], *, pandas: bool) -> Loaded:
        """Apply all changes that fit; those that do not, with the rest of their chunk, are reported."""
        loaded = Loaded()
        while changes:
            try:
                self._in_transaction(partial(self._apply, table, changes, pandas=pandas))
            except _Rejected as rejected:
                first: dict[int, dict[str, Any]] = {}
                for (_, chunk), error in sorted(rejected.errors.items(), key=lambda item: item[0]):
                    first.setdefault(chunk, error)
                loaded.errors.extend(first.values())
                changes = [change for change in changes if change.chunk not in first]
                continue
            loaded.records = len(changes)
            break
        return loaded

    def insert_query(self, table: Table, names: Sequence[str], query: str) -> int:
        """Insert the rows of a query, whose columns are given by name; returns how many."""
        count = 0

        def write() -> int:
            nonlocal count
            self._stage_query(table, names, query)
            count = int(self._rows('SELECT count(*) FROM temp."~in"')[0][0])
            self._write(table, deletes=False)
            return count

        self._in_transaction(write)
        return count

    def compact(self) -> None:
        """Fold the write-ahead log into the file and give blocks of deleted rows back; repeating is fine."""
        self._run("CHECKPOINT")

    def _in_transaction(self, write: Callable[[], int]) -> None:
        run = self._connection.execute
        run("BEGIN")
        try:
            records = write()
            run(f'UPDATE "{STEPS}" SET steps = steps + 1, records = records + {records}')
            while self._staged:
                run(f'DROP TABLE temp."{self._staged.pop()}"')
            run("COMMIT")
        except BaseException:
            self._staged.clear()
            with suppress(duckdb.Error):  # a COMMIT that failed has rolled back by itself
                run("ROLLBACK")
            raise

    def _apply(self, table: Table, changes: list[Change], *, pandas: bool) -> int:
        for signature, group in groupby(changes, _signature):
            run = list(group)
            if signature is None:
                self._replace(table, run, pandas=pandas)
            else:
                self._update(table, run, signature, pandas=pandas)
        return len(changes)

    def _replace(self, table: Table, changes: list[Change], *, pandas: bool) -> None:
        inserts = [(n, change) for n, change in enumerate(changes) if change.op == "insert"]
        deletes = [(n, change) for n, change in enumerate(changes) if change.op == "delete"]
        rejected: dict[tuple[int, int], dict[str, Any]] = {}
        for name, rows, columns, strict in (
            ("~in", inserts, _all(table), True),
            ("~out", deletes, _keys(table) or _all(table), bool(table.primary_key)),
        ):
            try:
                if rows or name == "~in":
                    self._stage(name, rows, columns, strict=strict, pandas=pandas)
            except _Rejected as error:
                rejected |= error.errors
        if rejected:
            raise _Rejected(rejected)
        self._write(table, deletes=bool(deletes))

    def _write(self, table: Table, *, deletes: bool) -> None:
        if table.primary_key:
            self._upsert(table, deletes=deletes)
        elif deletes:
            self._weigh(table)
        else:
            self._run(f'INSERT INTO {_name(table)} SELECT {_places(_all(table))} FROM temp."~in"')

    def _upsert(self, table: Table, *, deletes: bool) -> None:
        """Remove all rows with a key that occurs, then insert the last row of each key not deleted later."""
        keys, places = _keys(table), _places(_keys(table))
        gone = f'SELECT {places} FROM temp."~in"'
        later = ""
        if deletes:
            gone += f' UNION SELECT {places} FROM temp."~out"'
            same = " AND ".join(f"o.c{i} = i.c{i}" for i, _ in keys)
            later = f'WHERE NOT EXISTS (SELECT 1 FROM temp."~out" o WHERE {same} AND o.n > i.n)'
        self._run(f"DELETE FROM {_name(table)} t USING ({gone}) s WHERE {_same_key(keys)}")
        self._run(
            f'INSERT INTO {_name(table)} SELECT {_places(_all(table))} FROM temp."~in" i {later} '
            f"QUALIFY row_number() OVER (PARTITION BY {places} ORDER BY n DESC) = 1"
        )

    def _weigh(self, table: Table) -> None:
        """Sum what is inserted and deleted of each row: within a step their order means nothing."""
        columns = _all(table)
        places = _places(columns)
        self._make(
            "~net",
            f"SELECT row_number() OVER () AS id, * FROM "
            f'(SELECT {places}, sum(w)::BIGINT AS w FROM (SELECT {places}, 1 AS w FROM temp."~in" '
            f'UNION ALL SELECT {places}, -1 FROM temp."~out") GROUP BY ALL HAVING sum(w) <> 0)',
        )
        self._run(
            f"INSERT INTO {_name(table)} SELECT {places} FROM "
            f'(SELECT {places}, unnest(range(w)) FROM temp."~net" WHERE w > 0)'
        )
        same = " AND ".join(f"t.{_quoted(c)} IS NOT DISTINCT FROM s.c{i}" for i, c in columns)
        self._run(
            f"DELETE FROM {_name(table)} WHERE rowid IN (SELECT rid FROM (SELECT t.rowid AS rid, -s.w AS w, "
            f"row_number() OVER (PARTITION BY s.id) AS nth FROM {_name(table)} t "
            f'JOIN temp."~net" s ON {same} WHERE s.w < 0) WHERE nth <= w)'
        )

    def _update(self, table: Table, changes: list[Change], given: frozenset[str], *, pandas: bool) -> None:
        keys = _keys(table)
        columns = [(i, c) for i, c in _all(table) if c.name in given or c.name in table.primary_key]
        self._stage("~in", list(enumerate(changes)), columns, strict=True, pandas=pandas)
        values = [f"{_quoted(c)} = s.c{i}" for i, c in columns if c.name not in table.primary_key]
        if values:
            last = (
                f'SELECT * FROM temp."~in" QUALIFY row_number() OVER '
                f"(PARTITION BY {_places(keys)} ORDER BY n DESC) = 1"
            )
            self._run(
                f"UPDATE {_name(table)} t SET {', '.join(values)} FROM ({last}) s WHERE {_same_key(keys)}"
            )

    def _stage(
        self, name: str, rows: list[tuple[int, Change]], columns: Staged, *, strict: bool, pandas: bool
    ) -> None:
        """Make a staging table of typed rows; raises _Rejected for those that do not fit."""
        texts = []
        wrong: dict[int, tuple[Column, str]] = {}
        given = [change.row for _, change in rows]
        for _, column in columns:
            values = _values(column, given)
            encoded = cells.encode(column, values, required=strict and not column.nullable, pandas=pandas)
            texts.append(encoded.text)
            for index, complaint in encoded.wrong.items():
                wrong.setdefault(index, (column, complaint))
        if not wrong:
            self._make(name, _staging(columns), [_order(rows), *texts])
            wrong = self._misfits(name, rows, columns)
        if wrong:
            raise _Rejected(_errors(rows, wrong))

    def _misfits(
        self, name: str, rows: list[tuple[int, Change]], columns: Staged
    ) -> dict[int, tuple[Column, str]]:
        if not any(cells.judged_by_duckdb(column) for _, column in columns):
            return {}
        by_place = dict(columns)
        index_of = {n: index for index, (n, _) in enumerate(rows)}
        wrong = {}
        for n, place in self._rows(f'SELECT n, bad FROM temp."{name}" WHERE bad >= 0 ORDER BY n'):
            column = by_place[place]
            value = rows[index_of[n]][1].row.get(column.name)
            wrong[index_of[n]] = (column, cells.complaint(column, value))
        return wrong

    def _stage_query(self, table: Table, names: Sequence[str], query: str) -> None:
        given = {name: f"CAST(x{i} AS {_typed(table, name)})" for i, name in enumerate(names)}
        absent = [column for column in table.columns if column.name not in given]
        texts = [cells.encode(c, [c.default], required=False, pandas=False).text for c in absent]
        for place, column in enumerate(absent, start=1):
            raw = f"(from_json(${place}, '[\"{cells.loaded_type(column)}\"]')[1])"
            given[column.name] = cells.cast(column, raw)
        values = ", ".join(f"{given[column.name]} AS c{i}" for i, column in _all(table))
        aliases = ", ".join(f"x{i}" for i in range(len(names)))
        self._make(
            "~in",
            f"SELECT row_number() OVER () AS n, {values} FROM ({query}) AS q({aliases})",
            texts,
        )
        for place, column in _all(table):
            if not column.nullable:
                missing = self._rows(f'SELECT count(*) FROM temp."~in" WHERE c{place} IS NULL')
                if missing[0][0]:
                    raise NotNull(f"column '{column.name}' is NOT NULL")

    def _make(self, name: str, query: str, parameters: Sequence[str] = ()) -> None:
        """Make a staging table, which lives until the end of the transaction."""
        self._run(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {query}', parameters)
        self._staged.add(name)

    def _run(self, sql: str, parameters: Sequence[str] = ()) -> None:
        self._connection.execute(sql, list(parameters))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()


def _signature(change: Change) -> frozenset[str] | None:
    """Tell runs apart: partial updates go by the columns they give, all else goes together."""
    return frozenset(change.row) if change.op == "update" else None


def _values(column: Column, rows: list[dict[str, Any]]) -> list[Any]:
    try:
        return list(map(itemgetter(column.name), rows))
    except KeyError:
        return [row.get(column.name, column.default) for row in rows]


def _staging(columns: Staged) -> str:
    loads = "".join(
        f", unnest(from_json(${place}, '[\"{cells.loaded_type(column)}\"]')) AS r{i}"
        for place, (i, column) in enumerate(columns, start=2)
    )
    casts = "".join(f", {cells.cast(column, f'r{i}')} AS c{i}" for i, column in columns)
    judged = "".join(
        f" WHEN r{i} IS NOT NULL AND {cells.cast(column, f'r{i}')} IS NULL THEN {i}"
        for i, column in columns
        if cells.judged_by_duckdb(column)
    )
    bad = f"CASE{judged} ELSE -1 END" if judged else "-1"
    return f"SELECT n{casts}, {bad} AS bad FROM (SELECT unnest(from_json($1, '[\"BIGINT\"]')) AS n{loads})"


def _order(rows: list[tuple[int, Change]]) -> str:
    return json.dumps([n for n, _ in rows])


def _errors(
    rows: list[tuple[int, Change]], wrong: dict[int, tuple[Column, str]]
) -> dict[tuple[int, int], dict[str, Any]]:
    errors = {}
    for index, (column, complaint) in sorted(wrong.items()):
        change = rows[index][1]
        text = change.row.get(column.name)
        errors[change.event, change.chunk] = parse_error(complaint, change.event, column.name, text)
    return errors


def _all(table: Table) -> Staged:
    return list(enumerate(table.columns))


def _keys(table: Table) -> Staged:
    return [(i, column) for i, column in _all(table) if column.name in table.primary_key]


def _places(columns: Staged) -> str:
    return ", ".join(f"c{i}" for i, _ in columns)


def _same_key(keys: Staged) -> str:
    return " AND ".join(f"t.{_quoted(column)} = s.c{i}" for i, column in keys)


def _typed(table: Table, name: str) -> str:
    return next(column.type for column in table.columns if column.name == name)


def _quoted(column: Column) -> str:
    return '"' + column.name.replace('"', '""') + '"'


def _name(table: Table) -> str:
    return '"' + table.physical.replace('"', '""') + '"'

"""Cataloguing: what the compile step knows of its relations when it settles how a view is maintained.

Beside each relation stands an empty table for its change, so that what a step will do can be rehearsed: what
does not run then is not planned.
"""

from collections.abc import Sequence

import duckdb
from sqlglot import exp

from sluicegate.engine.applying import WEIGHT, delta
from sluicegate.engine.binding import Binder
from sluicegate.engine.identifiers import quote
from sluicegate.engine.plan import View
from sluicegate.engine.views import classification
from sluicegate.engine.views.classification import Catalog, Columns
from sluicegate.engine.views.linear import Unsuited


class Cataloguer:
    """Takes the relations of a program in their order."""

    def __init__(self, binder: Binder) -> None:
        """Look at relations in the binder's database."""
        self._binder = binder
        self._tables: set[str] = set()
        self._views: dict[str, View] = {}
        self._unsteady: frozenset[str] | None = None

    def table(self, physical: str) -> None:
        """Take a table that the database has."""
        self._tables.add(physical)
        self._prepare(physical)

    def view(self, view: View, query: exp.Expr, columns: Columns) -> View:
        """Take a view that the database has; return it with how it is maintained."""
        if self._unsteady is None:
            self._unsteady = self._binder.unsteady()
        catalog = Catalog(
            self._views, frozenset(self._tables), self._unsteady, self._describe, self._rehearse
        )
        known = classification.classify(view, query, columns, catalog)
        self._views[view.physical] = known
        self._prepare(view.physical)
        return known

    def _prepare(self, physical: str) -> None:
        rows = f"SELECT *, CAST(1 AS BIGINT) AS {WEIGHT} FROM {quote(physical)} LIMIT 0"
        self._binder.make(f"CREATE TEMP TABLE {quote(delta(physical))} AS {rows}")

    def _describe(self, query: str) -> Columns:
        try:
            return self._binder.described(query)
        except duckdb.Error as error:
            raise Unsuited(_reason(error)) from error

    def _rehearse(self, statements: Sequence[str]) -> None:
        try:
            self._binder.rehearse(statements)
        except duckdb.Error as error:
            raise Unsuited(_reason(error)) from error


def _reason(error: duckdb.Error) -> str:
    return f"DuckDB cannot take it apart: {str(error).splitlines()[0]}"

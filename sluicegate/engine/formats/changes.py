"""Changes: what an element of a JSON stream does to a table, by update format (contract §5.1, §9.7)."""

from collections.abc import Callable
from typing import Any

from sluicegate.engine.plan import Table
from sluicegate.engine.values import shorten

HEAVIEST = 1_000_000
"""Rows that the weights of one body may stand for: beyond it a small body would make a large table."""
INSERT_DELETE = {"insert", "delete", "update", "table"}
OPERATIONS = {"c", "u", "d", "r"}
"""Of Debezium: create, update, delete, read. What is done follows from `before` and `after`."""

Changes = list[tuple[str, dict[str, Any]]]


class Malformed(Exception):
    """Something that cannot be read."""


class Changing:
    """Reads elements of one stream into changes of one table."""

    def __init__(self, table: Table, update_format: str) -> None:
        self._table = table
        self._order = [column.name for column in table.columns]
        self._known = set(self._order)
        self._folded = {column.name: column.name for column in table.columns if not column.case_sensitive}
        self._weight = 0
        formats: dict[str, Callable[[Any], Changes]] = {
            "raw": self._raw,
            "insert_delete": self._insert_delete,
            "weighted": self._weighted,
            "debezium": self._debezium,
        }
        self.changes = formats[update_format]

    def _raw(self, element: Any) -> Changes:
        return [("insert", self._row(element))]

    def _insert_delete(self, element: Any) -> Changes:
        if not isinstance(element, dict) or not element or not INSERT_DELETE.issuperset(element):
            raise Malformed("expected an object with the key insert, delete or update")
        if element.get("update") is not None and not self._table.primary_key:
            raise Malformed("update needs a table with a PRIMARY KEY")
        ops = ("delete", "insert", "update")
        return [(op, self._row(element[op])) for op in ops if element.get(op) is not None]

    def _weighted(self, element: Any) -> Changes:
        weight = element.get("weight") if isinstance(element, dict) else None
        if not isinstance(weight, int) or isinstance(weight, bool) or "data" not in element:
            raise Malformed("expected an object with the keys weight, an integer, and data")
        row = self._row(element["data"])
        if self._weight + abs(weight) > HEAVIEST:
            raise Malformed(f"the weights of one request or chunk sum up to more than {HEAVIEST}")
        self._weight += abs(weight)
        return [("insert" if weight > 0 else "delete", row)] * abs(weight)

    def _debezium(self, element: Any) -> Changes:
        payload = element.get("payload") if isinstance(element, dict) else None
        if not isinstance(payload, dict) or payload.get("op") not in OPERATIONS:
            raise Malformed("expected an object with a payload whose op is c, u, d or r")
        rows = (("delete", payload.get("before")), ("insert", payload.get("after")))
        return [(op, self._row(row)) for op, row in rows if row is not None]

    def _row(self, value: Any) -> dict[str, Any]:
        """Return a record with the columns' own names as keys: names without quotes match in any case."""
        if isinstance(value, list):
            if len(value) != len(self._order):
                raise Malformed(f"expected {len(self._order)} values, got {len(value)}")
            return dict(zip(self._order, value, strict=True))
        if not isinstance(value, dict):
            raise Malformed(f"expected an object, got {shorten(value)}")
        if self._known.issuperset(value):
            return value
        renamed = (
            (key if key in self._known else self._folded.get(key.lower(), key), value[key]) for key in value
        )
        return {key: item for key, item in renamed if key in self._known}

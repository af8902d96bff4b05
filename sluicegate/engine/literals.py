"""Literals: a handful of plain rows, written into the statements of a step.

To show DuckDB an Arrow table and to take it away again costs more than a statement does. For a request of one
row that was a third of its step.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sluicegate.engine.plan import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 4
LONGEST = 1000
"""Characters of the rows: a step may repeat them several times, and each is parsed."""
PLAIN = {"integer", "float", "boolean", "text", "decimal"}
"""Kinds of columns whose values need no more than quotes."""
MOMENTS = {"DATE", "TIME", "TIMESTAMP"}
"""Types of which the same is true; a zone would have to be one that Python and DuckDB understand alike."""


class Written(NamedTuple):
    """Rows in SQL."""

    relation: str
    """A subquery, typed."""
    values: str
    """What may follow INSERT INTO the table; a third cheaper than to select from the relation."""


def write(table: Table, rows: "pa.Table") -> Written | None:
    """Return rows in SQL, None where they are too many or not plain."""
    if rows.num_rows > ROWS:
        return None
    columns = {f"c{i}": column for i, column in enumerate(table.columns)}
    types = {name: columns[name].type if name in columns else "BIGINT" for name in rows.column_names}
    if not all(map(_is_plain, (columns[name] for name in types if name in columns))):
        return None
    literal = [{name: _literal(row[name]) for name in types} for row in rows.to_pylist()]
    lines = [", ".join(f"CAST({row[name]} AS {types[name]})" for name in types) for row in literal]
    relation = f"(SELECT * FROM (VALUES ({'), ('.join(lines)})) AS q({', '.join(types)}))"
    if len(relation) > LONGEST or "\0" in relation:
        return None
    plain = (", ".join(row[name] for name in columns if name in row) for row in literal)
    return Written(relation, f"VALUES ({'), ('.join(plain)})")


def _is_plain(column: Column) -> bool:
    return column.kind in PLAIN or column.type in MOMENTS


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, Decimal):  # which by itself has an exponent where it is small
        value = format(value, "f")
    return "'" + str(value).replace("'", "''") + "'"

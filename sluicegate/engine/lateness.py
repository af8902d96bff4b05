"""LATENESS: which rows come too late, and the statements that remember how far a column has come.

The waterline moves at the end of a step, so all rows of one step are measured by the same one.
"""

from sluicegate.engine.plan import Lateness
from sluicegate.engine.waterlines import memory


def lateness(physical: str, column: str, kind: str, bound: str) -> Lateness:
    """Return what the steps need for one column of a table; `bound` is DuckDB's text of its lateness."""
    remembered = memory(physical, column)
    return Lateness(
        column=column,
        ddl=f"CREATE TABLE IF NOT EXISTS {remembered} AS SELECT CAST(NULL AS {kind}) AS furthest",
        late=f"{{value}} < (SELECT furthest - {bound} FROM {remembered})",
        advance=f"UPDATE {remembered} SET furthest = greatest(furthest, (SELECT max(value) FROM ({{rows}})))",
    )

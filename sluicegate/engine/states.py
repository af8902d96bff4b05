"""What a database holds beside rows and positions: the program it is of, and the states of connectors.

Both are tables of our own that no program can name; so they are in every checkpoint, and outlive crashes.
"""

import json
from collections.abc import Mapping
from typing import Any

import duckdb

from sluicegate.engine.stored import Stored

PROGRAM = "~program"
"""One row: the program that the relations are of."""
STATES = "~states"
"""Of each connector what it goes on with, as JSON."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make what is not there yet, within a transaction."""
    connection.execute(
        f'CREATE TABLE IF NOT EXISTS "{PROGRAM}" (version BIGINT, digest VARCHAR, plan VARCHAR)'
    )
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{STATES}" (endpoint VARCHAR, state VARCHAR)')


def keep_program(connection: duckdb.DuckDBPyConnection, program: Stored) -> None:
    """Store which program the relations are of, within the transaction that has made them so."""
    if _program(connection) != program:
        connection.execute(f'DELETE FROM "{PROGRAM}"')
        row = [program.program_version, program.digest, json.dumps(program.plan)]
        connection.execute(f'INSERT INTO "{PROGRAM}" VALUES (?, ?, ?)', row)


def program_of(connection: duckdb.DuckDBPyConnection) -> Stored | None:
    """Return the program of a database, None where an earlier release has made it."""
    known = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND NOT temporary"
    if not connection.execute(known, [PROGRAM]).fetchall():
        return None
    return _program(connection)


def _program(connection: duckdb.DuckDBPyConnection) -> Stored | None:
    for version, digest, plan in connection.execute(
        f'SELECT version, digest, plan FROM "{PROGRAM}"'
    ).fetchall():
        return Stored(digest, version, json.loads(plan))
    return None


def keep(connection: duckdb.DuckDBPyConnection, found: Mapping[str, Any]) -> None:
    """Store the states of connectors, and of no others, within a transaction."""
    connection.execute(f'DELETE FROM "{STATES}"')
    for endpoint, state in found.items():
        connection.execute(f'INSERT INTO "{STATES}" VALUES (?, ?)', [endpoint, json.dumps(state)])


def kept(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return the states of connectors by name."""
    rows = connection.execute(f'SELECT endpoint, state FROM "{STATES}"').fetchall()
    return {endpoint: json.loads(state) for endpoint, state in rows}

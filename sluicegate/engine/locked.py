"""The settings that keep SQL of strangers away from files, network, extensions and Python."""

from typing import Any

import duckdb

SETTINGS: dict[str, Any] = {
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "allow_persistent_secrets": False,
    # What a query's own connection may still be told, by us: no statement of a user is a SET.
    "allowed_configs": ["operator_memory_limit"],
    # As in the Calcite family: integers divide to integers, NULL is the largest value.
    "integer_division": True,
    "default_null_order": "nulls_last_on_asc_first_on_desc",
}


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Fix the time zone, close all ways out, then fix all settings for good."""
    connection.execute("SET TimeZone = 'UTC'")
    # Not among the settings above: with no access, the folder for temporary files cannot be set any more, and
    # DuckDB takes the settings of an opening in an order of its own.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")

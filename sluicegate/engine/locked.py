"""The settings that keep SQL of strangers away from files, network, extensions and Python."""

from typing import Any

import duckdb

SETTINGS: dict[str, Any] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    # As in the Calcite family: integers divide to integers, NULL is the largest value.
    "integer_division": True,
    "default_null_order": "nulls_last_on_asc_first_on_desc",
}


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Fix the time zone, then all settings for good."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")

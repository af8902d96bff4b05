"""What a query reaches, as DuckDB itself reads it: the last look at a statement before it runs.

The statement has been rewritten by then, and was read by another parser than the one that will run it. Here
DuckDB says what it understood, as a tree, and every function and relation in it must be one that is allowed.
So no difference between the two parsers, and no name that only DuckDB knows, lets anything through.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from sluicegate.engine.allowed import FUNCTIONS, TABLE_FUNCTIONS

SOURCES = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT"}
"""What a query may read from, in DuckDB's words."""
READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""Queries that read: a WITH may hold others."""
TOO_DEEP = "the query is nested too deeply: write it as several queries, or with WITH"


class Forbidden(Exception):
    """A query uses what it may not have; `position` is where in its text, in bytes, if that is known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


def check(
    connection: duckdb.DuckDBPyConnection, sql: str, relations: Collection[str], ours: Collection[str] = ()
) -> None:
    """Raise Forbidden unless a query calls allowed functions and reads the given relations only.

    `ours` are relations of the engine that it may read too.
    """
    [(text,)] = connection.execute("SELECT CAST(json_serialize_sql($1) AS VARCHAR)", [sql]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError as error:
        raise Forbidden(TOO_DEEP) from error
    if tree["error"]:
        position = tree.get("position")
        raise Forbidden(str(tree["error_message"]), int(position) if position is not None else None)
    common = {entry["key"] for node in _nodes(tree) for entry in node.get("cte_map", {}).get("map", ())}
    readable = {name.lower() for name in (*relations, *common) if not name.startswith("~")} | set(ours)
    for node in _nodes(tree):
        _check_kind(node)
        if "sample" in node and "alias" in node:
            _check_source(node, readable)
        elif "function_name" in node:
            _check_function(node, FUNCTIONS)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a tree, each before those within it."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _check_kind(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in READING:
        raise Forbidden("A query may only read relations")


def _check_source(node: dict[str, Any], readable: Collection[str]) -> None:
    if node["type"] not in SOURCES:
        raise Forbidden("A query may only read relations", _place(node))
    if node["type"] == "TABLE_FUNCTION":
        _check_function(node["function"], TABLE_FUNCTIONS)
    if node["type"] != "BASE_TABLE":
        return
    name = node["table_name"]
    if node.get("schema_name") or node.get("catalog_name") or name.lower() not in readable:
        raise Forbidden(f"Object '{name}' not found", _place(node))


def _check_function(node: dict[str, Any], allowed: Collection[str]) -> None:
    name = node["function_name"]
    if node.get("schema") or node.get("catalog") or name.lower() not in allowed:
        raise Forbidden(f"The function '{name}' is not available", _place(node))


def _place(node: dict[str, Any]) -> int | None:
    position = node.get("query_location")
    return position if isinstance(position, int) and position < 1 << 40 else None

"""Values as JSON, written by DuckDB: the expression that keeps a value's meaning, by type (contract §5.4).

`to_json` alone would write NaN, which is no JSON, a time without its T, and bytes as an escaped text.
"""

from typing import Any

from sluicegate.engine.identifiers import quote

TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns")
BYTE = "CAST('0x' || hex({0})[2*{1}+1 : 2*{1}+2] AS INTEGER)"
BYTES = "list_transform(range(octet_length({0})), lambda {1}: " + BYTE + ")"
FLAT = {
    "float": "CASE WHEN isfinite({0}) THEN CAST({0} AS VARCHAR)::JSON END",
    "double": "CASE WHEN isfinite({0}) THEN CAST({0} AS VARCHAR)::JSON END",
    "blob": BYTES,
    "timestamp with time zone": "replace(CAST({0} AS VARCHAR), ' ', 'T')",
    **dict.fromkeys(TIMES, "replace(CAST({0} AS VARCHAR), ' ', 'T')"),
    "json": "CAST({0} AS VARCHAR)",
    "variant": "CAST({0} AS JSON)::VARCHAR",
}
"""Scalar types that need help; a VARIANT comes as the text of its JSON."""


def as_json(value: str, kind: Any, depth: int = 0) -> str:
    """Return the expression whose `to_json` is what a client reads for a value of DuckDB's type."""
    inner = f"v{depth}"
    if str(kind) == "JSON":
        return FLAT["json"].format(value)
    if kind.id in ("list", "array"):
        [child] = [part for name, part in kind.children if name == "child"]
        written = as_json(inner, child, depth + 1)
        return value if written == inner else f"list_transform({value}, lambda {inner}: {written})"
    if kind.id == "struct":
        return _struct(value, kind, depth)
    if kind.id == "tuple":
        parts = enumerate((part for _, part in kind.children), start=1)
        cells = [as_json(f"struct_extract_at({value}, {i})", part, depth + 1) for i, part in parts]
        return f"CASE WHEN {value} IS NOT NULL THEN json_array({', '.join(cells)}) END"
    if kind.id == "map":
        children = dict(kind.children)
        written = as_json(f"{inner}.value", children["value"], depth + 1)
        if written == f"{inner}.value":
            return value
        pair = f"{{k: CAST({inner}.key AS VARCHAR), v: {written}}}"
        return f"map_from_entries(list_transform(map_entries({value}), lambda {inner}: {pair}))"
    return FLAT.get(kind.id, "{0}").format(value, f"b{depth}")


def _struct(value: str, kind: Any, depth: int) -> str:
    fields = [(name, f"{value}.{quote(name)}", part) for name, part in kind.children]
    written = [(name, plain, as_json(plain, part, depth + 1)) for name, plain, part in fields]
    if all(plain == expression for _, plain, expression in written):
        return value
    pairs = ", ".join(f"{quote(name)}: {expression}" for name, _, expression in written)
    return f"CASE WHEN {value} IS NOT NULL THEN {{{pairs}}} END"


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"

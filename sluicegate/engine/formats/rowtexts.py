"""SQL that writes values as text: JSON by flavor, and fields of CSV (contract §5.3, §9.7).

DECIMAL and UUID are strings, dates and times ISO-like, bytes arrays of numbers, a MAP an object, a VARIANT
the JSON that it is; what JSON does not have (NaN, infinity) is null.
"""

from collections.abc import Callable, Mapping
from typing import Any

import duckdb

from sluicegate.engine.formats.flavors import FLAVORS, Flavor

QUOTE = '"'
NUMBERS = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint"),
    *("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"),
}
Text = Callable[[str, Any, Flavor], str]


def json_object(types: Mapping[str, str], flavor: Flavor) -> str:
    """Return the expression of a row as the text of a JSON object; `types` has the type by the column."""
    return _object({name: (_quoted(name), _type(kind)) for name, kind in types.items()}, flavor)


def plain(name: str, kind: str, flavor: Flavor) -> str:
    """Return the expression of a column as text, a string without quotes around it."""
    return f"(CAST({_present(_quoted(name), _type(kind), flavor)} AS JSON) ->> '$')"


def csv_field(name: str, kind: str, delimiter: str) -> str:
    """Return the expression of a column as a field of CSV: NULL is nothing, what is nested is JSON."""
    value, of = _quoted(name), _type(kind)
    text = f"CAST({value} AS VARCHAR)"
    if of.id in ("list", "array", "struct", "map", "blob"):
        text = _json(value, of, FLAVORS["default"])
    special = "|".join(f"contains(t, {literal(sign)})" for sign in (delimiter, QUOTE, "\n", "\r"))
    special = special.replace("|", " OR ")
    wrapped = f"'{QUOTE}' || replace(t, '{QUOTE}', '{QUOTE * 2}') || '{QUOTE}'"
    return (
        f"coalesce(list_transform([{text}], lambda t: CASE WHEN {special} THEN {wrapped} ELSE t END)[1], '')"
    )


def literal(text: str) -> str:
    """Return a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _type(kind: str) -> Any:
    """Return a type that tells its parts; what they are is not known to its annotations."""
    return duckdb.sqltype(kind)


def _quoted(name: str) -> str:
    return QUOTE + name.replace(QUOTE, QUOTE * 2) + QUOTE


def _present(value: str, kind: Any, flavor: Flavor) -> str:
    return f"coalesce({_json(value, kind, flavor)}, 'null')"


def _json(value: str, kind: Any, flavor: Flavor) -> str:
    """Return the expression of a value as the text of JSON; it is NULL where the value is, or has none."""
    if kind.id in NUMBERS:
        return f"CAST({value} AS VARCHAR)"
    return _TEXTS.get(kind.id, _string)(value, kind, flavor)


def _string(value: str, kind: Any, _: Flavor) -> str:
    return f"'{QUOTE}' || CAST({value} AS VARCHAR) || '{QUOTE}'"


def _text(value: str, kind: Any, flavor: Flavor) -> str:
    is_json = str(kind) == "JSON" and not flavor.variant_is_text
    return f"CAST({value} AS VARCHAR)" if is_json else f"CAST(to_json(CAST({value} AS VARCHAR)) AS VARCHAR)"


def _float(value: str, _: Any, __: Flavor) -> str:
    return f"CASE WHEN isfinite({value}) THEN CAST({value} AS VARCHAR) END"


def _date(value: str, kind: Any, flavor: Flavor) -> str:
    if flavor.date is None or not flavor.writes_dates_as_numbers:
        return _string(value, kind, flavor)
    return f"CAST({value} - DATE '1970-01-01' AS VARCHAR)"


def _time(value: str, kind: Any, flavor: Flavor) -> str:
    if flavor.time is None:
        return _string(value, kind, flavor)
    return f"CAST(epoch_us({value}) // {flavor.time} AS VARCHAR)"


def _timestamp(value: str, _: Any, flavor: Flavor) -> str:
    if flavor.timestamp is not None:
        return f"CAST(epoch_us({value}) // {flavor.timestamp} AS VARCHAR)"
    text = f"CAST({value} AS VARCHAR)"
    if flavor.rfc3339:
        text = f"replace({text}, ' ', 'T') || '{flavor.zone}'"
    return f"'{QUOTE}' || {text} || '{QUOTE}'"


def _instant(value: str, _: Any, flavor: Flavor) -> str:
    if flavor.timestamp is not None:
        return f"CAST(epoch_us({value}) // {flavor.timestamp} AS VARCHAR)"
    text = f"replace(CAST(make_timestamp(epoch_us({value})) AS VARCHAR), ' ', 'T')"
    return f"'{QUOTE}' || {text} || 'Z{QUOTE}'"


def _bytes(value: str, _: Any, flavor: Flavor) -> str:
    if flavor.binary in ("hex", "postgres"):
        mark = "0x" if flavor.binary == "hex" else "\\\\x"
        return f"'{QUOTE}{mark}' || lower(hex({value})) || '{QUOTE}'"
    number = f"CAST(CAST('0x' || hex({value})[2 * i + 1 : 2 * i + 2] AS INTEGER) AS VARCHAR)"
    numbers = f"list_transform(range(octet_length({value})), lambda i: {number})"
    return f"'[' || array_to_string({numbers}, ',') || ']'"


def _list(value: str, kind: Any, flavor: Flavor) -> str:
    name = _fresh(value)
    element = _present(name, kind.children[0][1], flavor)
    return f"'[' || array_to_string(list_transform({value}, lambda {name}: {element}), ',') || ']'"


def _struct(value: str, kind: Any, flavor: Flavor) -> str:
    fields = {name: (f"struct_extract({value}, {literal(name)})", of) for name, of in kind.children}
    return f"CASE WHEN {value} IS NOT NULL THEN {_object(fields, flavor)} END"


def _map(value: str, kind: Any, flavor: Flavor) -> str:
    name = _fresh(value)
    key = f"CAST(to_json(CAST({name}.key AS VARCHAR)) AS VARCHAR)"
    element = f"{key} || ':' || {_present(f'{name}.value', kind.children[1][1], flavor)}"
    entries = f"list_transform(map_entries({value}), lambda {name}: {element})"
    return f"'{{' || array_to_string({entries}, ',') || '}}'"


def _object(fields: Mapping[str, tuple[str, Any]], flavor: Flavor) -> str:
    keys = (f"CAST(to_json({literal(name)}) AS VARCHAR)" for name in fields)
    values = (_present(value, kind, flavor) for value, kind in fields.values())
    pairs = " || ',' || ".join(f"{key} || ':' || {value}" for key, value in zip(keys, values, strict=True))
    return f"'{{' || {pairs} || '}}'"


def _fresh(value: str) -> str:
    """Return a name for the parameter of a lambda that no expression around it uses."""
    return f"x{value.count('lambda') + len(value)}"


_TEXTS: dict[str, Text] = {
    "varchar": _text,
    "float": _float,
    "double": _float,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamp with time zone": _instant,
    "blob": _bytes,
    "list": _list,
    "array": _list,
    "struct": _struct,
    "map": _map,
}

"""Functions of programs that DuckDB spells otherwise: a table of calls and the DuckDB expressions they mean.

A call is replaced where it is parsed, so whoever reads a tree sees DuckDB's functions only. Arguments stand
in an expression by the names that the left side gives them; a variable of a lambda begins with `~`, which
no column can be called. The meanings are listed in docs/sql.md.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlglot import exp, maybe_parse

ELEMENT_ERROR = "ELEMENT: the array has more than one element"
INSERT_ERROR = "ARRAY_INSERT: the position 0 does not exist, positions begin at 1"

STRINGS = {
    "ASCII(s)": "greatest(unicode(s), 0)",
    "CHARACTER_LENGTH(s)": "length(s)",
    "CHR(n)": (
        "CASE WHEN n > 0 AND n < 1114112 THEN chr(CAST(greatest(n, 1) AS INTEGER)) "
        "WHEN n IS NOT NULL THEN '' END"
    ),
    "INITCAP(s)": (
        "array_to_string(list_transform(regexp_extract_all(s, '[[:alnum:]\\x{80}-\\x{10FFFF}]+"
        "|[^[:alnum:]\\x{80}-\\x{10FFFF}]+'), "
        'lambda "~x": upper(left("~x", 1)) || lower(substring("~x", 2))), \'\')'
    ),
    "INITCAP_SPACES(s)": (
        "array_to_string(list_transform(string_split(s, ' '), "
        'lambda "~x": upper(left("~x", 1)) || lower(substring("~x", 2))), \' \')'
    ),
    "LEN(s)": "length(s)",
    "REGEXP_REPLACE(s, p)": "regexp_replace(s, p, '', 'g')",
    "REGEXP_REPLACE(s, p, r)": (
        "regexp_replace(s, p, regexp_replace(r, '\\$\\{?([0-9])\\}?', '\\\\\\1', 'g'), 'g')"
    ),
    "REPEAT(s, n)": "CASE WHEN n > 0 THEN repeat(s, n) WHEN n IS NOT NULL AND s IS NOT NULL THEN '' END",
    "RLIKE(s, p)": "regexp_matches(s, p)",
    "SPLIT(s)": "CASE WHEN s = '' THEN [] ELSE string_split(s, ',') END",
    "SPLIT(s, d)": "CASE WHEN s = '' THEN [] WHEN d = '' THEN [s] ELSE string_split(s, d) END",
    "SPLIT_PART(s, d, n)": "CASE WHEN d = '' THEN CASE WHEN abs(n) = 1 THEN s ELSE '' END "
    "ELSE split_part(s, d, n) END",
    "TO_HEX(b)": "lower(hex(b))",
    "BIN2UTF8(b)": "TRY(decode(b))",
    "TO_INT(b)": "CAST(CAST('0x' || hex(b) AS BIGINT) AS INTEGER)",
}
ARRAYS = {
    "ARRAY_APPEND(a, e)": "CASE WHEN a IS NOT NULL THEN list_append(a, e) END",
    "ARRAY_COMPACT(a)": 'list_filter(a, lambda "~x": "~x" IS NOT NULL)',
    "ARRAY_CONTAINS(a, e)": "list_contains(a, e)",
    "ARRAY_DISTINCT(a)": 'list_filter(a, lambda "~x", "~i": list_position(a, "~x") = "~i")',
    "ARRAY_EXCEPT(a, b)": (
        'CASE WHEN b IS NOT NULL THEN list_filter(a, lambda "~x", "~i": '
        'list_position(a, "~x") = "~i" AND list_position(b, "~x") IS NULL) END'
    ),
    "ARRAY_EXISTS(a, f)": (
        "CASE WHEN list_contains(list_transform(a, f), TRUE) THEN TRUE "
        'WHEN len(list_filter(list_transform(a, f), lambda "~x": "~x" IS NULL)) > 0 THEN NULL '
        "WHEN a IS NOT NULL THEN FALSE END"
    ),
    "ARRAY_INSERT(a, n, e)": (
        f"CASE WHEN a IS NULL OR n IS NULL THEN NULL WHEN n = 0 THEN error('{INSERT_ERROR}') "
        "WHEN n > len(a) THEN list_concat(list_resize(a, n - 1), [e]) "
        "WHEN n > 0 THEN list_concat(list_slice(a, 1, n - 1), [e], list_slice(a, n, len(a))) "
        "WHEN -n > len(a) THEN list_concat([e], list_resize(list_slice(a, 1, 0), -n - 1 - len(a)), a) "
        "ELSE list_concat(list_slice(a, 1, len(a) + n + 1), [e], list_slice(a, len(a) + n + 2, len(a))) END"
    ),
    "ARRAY_INTERSECT(a, b)": (
        'CASE WHEN b IS NOT NULL THEN list_filter(a, lambda "~x", "~i": '
        'list_position(a, "~x") = "~i" AND list_position(b, "~x") IS NOT NULL) END'
    ),
    "ARRAY_JOIN(a, s)": "array_to_string(a, s)",
    "ARRAY_JOIN(a, s, n)": 'array_to_string(list_transform(a, lambda "~x": '
    'coalesce(CAST("~x" AS VARCHAR), n)), s)',
    "ARRAY_LENGTH(a)": "CAST(len(a) AS INTEGER)",
    "ARRAY_MAX(a)": "list_max(a)",
    "ARRAY_MIN(a)": "list_min(a)",
    "ARRAY_POSITION(a, e)": (
        "CASE WHEN a IS NOT NULL AND e IS NOT NULL THEN CAST(coalesce(list_position(a, e), 0) AS BIGINT) END"
    ),
    "ARRAY_PREPEND(a, e)": "CASE WHEN a IS NOT NULL THEN list_prepend(e, a) END",
    "ARRAY_REMOVE(a, e)": (
        'CASE WHEN e IS NOT NULL THEN list_filter(a, lambda "~x": "~x" IS DISTINCT FROM e) END'
    ),
    "ARRAY_REPEAT(e, n)": (
        'CASE WHEN n IS NOT NULL THEN list_transform(range(greatest(n, 0)), lambda "~x": e) END'
    ),
    "ARRAY_REVERSE(a)": "list_reverse(a)",
    "ARRAY_SIZE(a)": "CAST(len(a) AS INTEGER)",
    "ARRAY_TO_STRING(a, s)": "array_to_string(a, s)",
    "ARRAY_TO_STRING(a, s, n)": 'array_to_string(list_transform(a, lambda "~x": '
    'coalesce(CAST("~x" AS VARCHAR), n)), s)',
    "ARRAY_UNION(a, b)": (
        'list_filter(list_concat(a, b), lambda "~x", "~i": '
        'list_position(list_concat(a, b), "~x") = "~i" AND a IS NOT NULL AND b IS NOT NULL)'
    ),
    "ARRAYS_OVERLAP(a, b)": "list_has_any(a, b)",
    "ELEMENT(a)": f"CASE WHEN len(a) > 1 THEN error('{ELEMENT_ERROR}') ELSE a[1] END",
    "SEQUENCE(a, b)": "CASE WHEN a IS NOT NULL AND b IS NOT NULL "
    'THEN list_transform(generate_series(a, b), lambda "~x": CAST("~x" AS INTEGER)) END',
    "SORT_ARRAY(a)": "list_sort(a, 'ASC', 'NULLS FIRST')",
    "SORT_ARRAY(a, up)": "CASE WHEN up THEN list_sort(a, 'ASC', 'NULLS FIRST') "
    "ELSE list_reverse(list_sort(a, 'ASC', 'NULLS FIRST')) END",
    "TRANSFORM(a, f)": "list_transform(a, f)",
}
MAPS = {
    "MAP_CONTAINS_KEY(m, k)": "map_contains(m, k)",
    "MAP_KEYS(m)": "list_sort(map_keys(m))",
    "MAP_VALUES(m)": ('list_transform(list_sort(map_keys(m)), lambda "~x": m["~x"])'),
}
VARIANTS = {
    "PARSE_JSON(s)": "json(TRY_CAST(CAST(s AS VARCHAR) AS JSON))",
    "TO_JSON(v)": "CAST(to_json(v) AS VARCHAR)",
    "VARIANTNULL()": "CAST('null' AS JSON)",
    "TYPEOF(v)": (
        "CASE json_type(v) WHEN 'NULL' THEN 'VARIANT' WHEN 'UBIGINT' THEN 'BIGINT UNSIGNED' "
        "WHEN 'DOUBLE' THEN 'DECIMAL' WHEN 'OBJECT' THEN 'MAP' ELSE json_type(v) END"
    ),
}
NUMBERS = {
    "BROUND(x, n)": "round_even(x, n)",
    "COTH(x)": "1 / tanh(CAST(x AS DOUBLE))",
    "CSC(x)": "1 / sin(CAST(x AS DOUBLE))",
    "CSCH(x)": "1 / sinh(CAST(x AS DOUBLE))",
    "DIV_NULL(x, y)": "x / nullif(y, 0)",
    "FINITE_OR_NULL(x)": "CASE WHEN isfinite(x) THEN x END",
    "IS_INF(x)": "isinf(x)",
    "IS_NAN(x)": "isnan(x)",
    "LOG(x)": "ln(x)",
    "LOG(x, b)": "ln(x) / ln(b)",
    "SEC(x)": "1 / cos(CAST(x AS DOUBLE))",
    "SECH(x)": "1 / cosh(CAST(x AS DOUBLE))",
    "TRUNCATE(x)": "trunc(x)",
    "TRUNCATE(x, n)": "trunc(x, n)",
}
TIMES = {
    "DAYOFWEEK(d)": "dayofweek(d) + 1",
    "DOW(d)": "dayofweek(d) + 1",
    "DOY(d)": "dayofyear(d)",
    "FORMAT_DATE(f, d)": "strftime(d, f)",
    "FORMAT_TIME(f, t)": "strftime(DATE '1970-01-01' + t, f)",
    "FORMAT_TIMESTAMP(f, t)": "strftime(t, f)",
    "MAKE_DATE(y, m, d)": "make_date(y, m, d)",
    "MAKE_TIME(h, m, s)": "make_time(h, m, s)",
    "MAKE_TIMESTAMP(y, m, d, h, mi, s)": "make_timestamp(y, m, d, h, mi, s)",
    "PARSE_DATE(f, s)": "CAST(try_strptime(trim(s), trim(f)) AS DATE)",
    "PARSE_TIME(f, s)": "CAST(try_strptime(trim(s), trim(f)) AS TIME)",
    "PARSE_TIMESTAMP(f, s)": "try_strptime(trim(s), trim(f))",
}
AGGREGATES = {
    "COUNTIF(c)": "count_if(c)",
    "EVERY(c)": "bool_and(c)",
    "LOGICAL_AND(c)": "bool_and(c)",
    "LOGICAL_OR(c)": "bool_or(c)",
    "SOME(c)": "bool_or(c)",
}
MEANINGS = {**STRINGS, **ARRAYS, **MAPS, **VARIANTS, **NUMBERS, **TIMES, **AGGREGATES}

REFUSED = {
    "GUNZIP": "GUNZIP is not available: unpack the data before it is ingested",
    "XXHASH": "XXHASH is not available: use MD5",
    "REGR_SXX": "REGR_SXX is not available: write REGR_COUNT(y, x) * VAR_POP(x)",
    "REGR_SYY": "REGR_SYY is not available: write REGR_COUNT(y, x) * VAR_POP(y)",
    "VARIANT_MERGE": "VARIANT_MERGE is not available: merge the fields with CASE or COALESCE",
    "RAND": "RAND is not available: a view must give the same rows for the same input",
    "RANDOM": "RANDOM is not available: a view must give the same rows for the same input",
    "UUID": "UUID() is not available: a view must give the same rows for the same input",
}
"""Functions that no expression of DuckDB stands for, and what to do instead."""

NATIVE = "native"
"""Mark of nodes that are in DuckDB's own words, and mean what DuckDB means."""
ATOMS = (exp.Column, exp.Literal, exp.Func, exp.Paren, exp.Subquery, exp.Identifier, exp.Boolean, exp.Null)


class Refused(Exception):
    """A call that has no meaning here; the text says what to write instead."""


def builders() -> Mapping[str, Callable[[list[Any]], exp.Expr]]:
    """Return what the parser calls for each function of the table."""
    meanings: dict[str, dict[int, tuple[list[str], str]]] = {}
    for call, body in MEANINGS.items():
        name, _, listed = call.rstrip(")").partition("(")
        parameters = [part.strip() for part in listed.split(",") if part.strip()]
        meanings.setdefault(name, {})[len(parameters)] = (parameters, body)
    return {name: _builder(name, by_count) for name, by_count in meanings.items()}


def meaning(body: str, arguments: Mapping[str, exp.Expr]) -> exp.Expr:
    """Return a DuckDB expression with arguments put in for its names."""
    tree = substituted(_parsed(body), arguments)
    return tree if isinstance(tree, ATOMS) else exp.Paren(this=tree)


def substituted(body: exp.Expr, arguments: Mapping[str, exp.Expr]) -> exp.Expr:
    """Return a copy of an expression with arguments in the place of its unqualified names."""
    tree = body.copy()
    for column in list(tree.find_all(exp.Column)):
        argument = arguments.get(column.name) or arguments.get(column.name.lower())
        if argument is not None and not column.args.get("table"):
            replacement = enclosed(argument.copy())
            if column is tree:
                return replacement
            column.replace(replacement)
    return tree


def enclosed(tree: exp.Expr) -> exp.Expr:
    """Put an expression in parentheses where it may need them."""
    return tree if isinstance(tree, (*ATOMS, exp.Lambda)) else exp.Paren(this=tree)


@cache
def _parsed(body: str) -> exp.Expr:
    parsed: exp.Expr = maybe_parse(body, dialect="duckdb")
    for node in parsed.walk():
        if not isinstance(node, exp.Div):  # a quotient is that of its arguments' types
            node.meta[NATIVE] = True
    return parsed


def _builder(name: str, by_count: Mapping[int, tuple[list[str], str]]) -> Callable[[list[Any]], exp.Expr]:
    def build(arguments: list[Any]) -> exp.Expr:
        found = by_count.get(len(arguments))
        if found is None:  # DuckDB, or our own check, says what is wrong with it
            return exp.Anonymous(this=name, expressions=arguments)
        parameters, body = found
        return meaning(body, dict(zip(parameters, arguments, strict=True)))

    return build

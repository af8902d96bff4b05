"""Groups of DuckDB's types, as sqlglot names them."""

from sqlglot import exp

Type = exp.DataType.Type

INTEGERS = {
    *(Type.TINYINT, Type.SMALLINT, Type.INT, Type.BIGINT, Type.INT128),
    *(Type.UTINYINT, Type.USMALLINT, Type.UINT, Type.UBIGINT, Type.UINT128),
}
DECIMAL = Type.DECIMAL
FLOATS = {Type.FLOAT, Type.DOUBLE}
NUMBERS = {*INTEGERS, DECIMAL, *FLOATS}
TEXTS = {Type.VARCHAR, Type.TEXT, Type.CHAR, Type.NCHAR, Type.NVARCHAR}
TIMES = {Type.DATE, Type.TIME, Type.TIMESTAMP, Type.TIMESTAMPNTZ, Type.TIMESTAMPTZ}
TIMESTAMPS = {Type.TIMESTAMP, Type.TIMESTAMPNTZ, Type.TIMESTAMPTZ}
LISTS = {Type.LIST, Type.ARRAY}
NESTED = {*LISTS, Type.MAP, Type.STRUCT}

DIGITS = {
    **{Type.TINYINT: 3, Type.SMALLINT: 5, Type.INT: 10, Type.BIGINT: 19, Type.INT128: 38},
    **{Type.UTINYINT: 3, Type.USMALLINT: 5, Type.UINT: 10, Type.UBIGINT: 20, Type.UINT128: 38},
}
"""Decimal digits that the values of an integer type have at most."""


def sizes(kind: exp.DataType) -> tuple[int, int]:
    """Return precision and scale of a type of exact numbers."""
    if kind.this != DECIMAL:
        return DIGITS[kind.this], 0
    numbers = [int(part.name) for part in kind.expressions]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (38, 0)

"""CAST as programs mean it: fractions are cut off, odd dates are NULL, a VARIANT becomes anything or NULL."""

from collections.abc import Callable

from sqlglot import exp

from sluicegate.engine import columntypes
from sluicegate.engine.columntypes import Resolve
from sluicegate.engine.functions import enclosed, meaning
from sluicegate.engine.kinds import DECIMAL, FLOATS, INTEGERS, NESTED, NUMBERS, TEXTS, TIMES, TIMESTAMPS, Type

Kind = Callable[[], exp.DataType | None]

BLOBS = {Type.BINARY, Type.VARBINARY, Type.BLOB}
TEXT_OF_VARIANT = "json_extract_string(v, '$')"
NUMBER_OF_VARIANT = "trunc(TRY_CAST(json_extract_string(v, '$') AS DECIMAL(38, 15)))"
MILLISECONDS = "epoch_ms(CAST(x AS BIGINT))"
OF_TIMESTAMP = "epoch_ms(x)"


def cast(node: exp.Cast, kind: Kind, resolve: Resolve) -> exp.Expr | None:
    """Return what a CAST or TRY_CAST means; None where DuckDB means the same."""
    written = columntypes.expand(node.to, resolve)
    target = exp.DataType.build(columntypes.to_duckdb(written, resolve), dialect="duckdb")
    node.set("to", target)
    source = kind()
    if written.this in (Type.JSON, Type.VARIANT):
        return _to_variant(node, source)
    if source is None:
        return _sized(node, written)
    if source.this is Type.JSON:
        return _sized(_from_variant(node, target), written, always=True)
    return _plain(node, source, target) or _sized(node, written)


def _to_variant(node: exp.Cast, source: exp.DataType | None) -> exp.Expr | None:
    if source is not None and source.this is Type.JSON:
        return None
    return exp.Anonymous(this="to_json", expressions=[node.this])


def _from_variant(node: exp.Cast, target: exp.DataType) -> exp.Expr:
    if target.this in NESTED:
        return exp.TryCast(this=node.this, to=target)
    body = NUMBER_OF_VARIANT if target.this in INTEGERS else TEXT_OF_VARIANT
    text = meaning(body, {"v": node.this})
    return text if target.this in TEXTS else exp.TryCast(this=text, to=target)


def _plain(node: exp.Cast, source: exp.DataType, target: exp.DataType) -> exp.Expr | None:
    """Return the cast between two types that DuckDB does otherwise or not at all."""
    value: exp.Expr | None = None
    if target.this in INTEGERS and source.this in {DECIMAL, *FLOATS}:
        value = exp.Anonymous(this="trunc", expressions=[node.this])
    elif target.this in NUMBERS and source.this in TIMESTAMPS:
        value = meaning(OF_TIMESTAMP, {"x": node.this})
    elif target.this in TIMESTAMPS and source.this in NUMBERS:
        return meaning(MILLISECONDS, {"x": node.this})
    elif target.this in BLOBS and source.this in TEXTS:
        return exp.Anonymous(this="encode", expressions=[node.this])
    elif target.this in TIMES and source.this in TEXTS and not _is_fine(node, target):
        return exp.TryCast(this=node.this, to=target)
    return None if value is None else type(node)(this=value, to=target)


def _is_fine(node: exp.Cast, target: exp.DataType) -> bool:
    """Tell whether a constant is what it is taken for, which DuckDB then checks at compile time."""
    text = node.this.name if isinstance(node.this, exp.Literal) else ""
    return target.this in TIMES and text[:1].isdigit() and text[-1:].isdigit()


def _sized(node: exp.Expr, written: exp.DataType, *, always: bool = False) -> exp.Expr | None:
    """Cut a text to its length, and fill up a CHAR."""
    lengths = [part.name for part in written.expressions if written.this in TEXTS]
    if not lengths:
        return node if always else None
    word = "rpad" if written.this in (Type.CHAR, Type.NCHAR) else "left"
    length = exp.Literal.number(lengths[0])
    filling = [exp.Literal.string(" ")] if word == "rpad" else []
    return exp.Anonymous(this=word, expressions=[enclosed(node.copy()), length, *filling])

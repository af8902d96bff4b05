"""Words for looking into JSON that ad-hoc queries of the reference have, in words of DuckDB (contract §5.4).

    json_get(text, key, ...)        the value under the keys, as JSON; a key is a name, or a place from 0
    json_get_str, json_get_int, json_get_float, json_get_bool
                                    the same, NULL where it is of another type
    json_as_text(text, key, ...)    the same as a text, whatever its type
    json_contains(text, key, ...)   whether there is a value, which may be null

What is no JSON has nothing in it. A key that is not a literal is computed for each row.
"""

from collections.abc import Callable

from sqlglot import exp

TYPED = {
    "json_get_str": (("VARCHAR",), "VARCHAR"),
    "json_get_int": (("BIGINT", "UBIGINT"), "BIGINT"),
    "json_get_float": (("DOUBLE", "BIGINT", "UBIGINT"), "DOUBLE"),
    "json_get_bool": (("BOOLEAN",), "BOOLEAN"),
}
"""The types as DuckDB's json_type names them, and the type that comes out."""


def rewrite(query: exp.Expr) -> None:
    """Replace the words in a query, in place."""
    for call in list(query.find_all(exp.Func))[::-1]:
        written = _written(call)
        if written is not None:
            call.replace(written)


def _written(call: exp.Expr) -> exp.Expr | None:
    name = call.name.lower() if isinstance(call, exp.Anonymous) else call.key
    keys = list(call.expressions) if isinstance(call, exp.Anonymous) else list(call.iter_expressions())
    if len(keys) < 2 or name not in {*TYPED, *_PLAIN}:
        return None
    document = _call("TRY_CAST", keys[0])
    pointer = _pointer(keys[1:])
    if name in _PLAIN:
        return _PLAIN[name](document, pointer)
    kinds, kind = TYPED[name]
    is_kind = exp.In(
        this=_call("json_type", document, pointer), expressions=[exp.Literal.string(one) for one in kinds]
    )
    value = exp.TryCast(this=_call("json_extract_string", document, pointer), to=exp.DataType.build(kind))
    return exp.Paren(this=exp.Case(ifs=[exp.If(this=is_kind, true=value)]))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    if name == "TRY_CAST":
        return exp.TryCast(this=arguments[0].copy(), to=exp.DataType.build("JSON"))
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def _contains(document: exp.Expr, pointer: exp.Expr) -> exp.Expr:
    return exp.Coalesce(this=_call("json_exists", document, pointer), expressions=[exp.Boolean(this=False)])


_PLAIN: dict[str, Callable[[exp.Expr, exp.Expr], exp.Expr]] = {
    "json_get": lambda document, pointer: _call("json_extract", document, pointer),
    "json_get_json": lambda document, pointer: _call("json_extract", document, pointer),
    "json_as_text": lambda document, pointer: _call("json_extract_string", document, pointer),
    "json_contains": _contains,
}


def _pointer(keys: list[exp.Expr]) -> exp.Expr:
    """Return the JSON pointer (RFC 6901) of keys."""
    if all(isinstance(key, exp.Literal) for key in keys):
        return exp.Literal.string("".join(f"/{_escaped(key.name)}" for key in keys))
    pointer: exp.Expr = exp.Literal.string("")
    for key in keys:
        text: exp.Expr = exp.Cast(this=key.copy(), to=exp.DataType.build("VARCHAR"))
        for plain, escape in (("~", "~0"), ("/", "~1")):
            text = _call("replace", text, exp.Literal.string(plain), exp.Literal.string(escape))
        for part in (exp.Literal.string("/"), text):
            pointer = exp.DPipe(this=pointer, expression=part)
    return exp.Paren(this=pointer)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")

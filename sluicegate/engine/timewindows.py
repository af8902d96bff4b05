"""The table functions TUMBLE, HOP and SESSION as queries: which time windows a row lies in.

TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset]))
TABLE(HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset]))
TABLE(SESSION(TABLE t, DESCRIPTOR(ts) [, DESCRIPTOR(key)], size))
"""

from collections.abc import Mapping, Sequence

from sqlglot import exp, parse_one
from sqlglot.tokenizer_core import Token, TokenType

NAMES = {"TUMBLE", "HOP", "SESSION"}
PARAMETERS = {
    "TUMBLE": ("data", "timecol", "size", "offset"),
    "HOP": ("data", "timecol", "slide", "size", "offset"),
    "SESSION": ("data", "timecol", "key", "size"),
}


def tokens(given: Sequence[Token]) -> list[Token]:
    """Drop the word TABLE and the parentheses around a call, and TABLE before its first argument."""
    rest = list(given)
    at = 0
    while at < len(rest):
        if _opens_call(rest, at):
            close = _closing(rest, at + 1)
            if close is not None:
                del rest[close]
            del rest[at : at + 2]
            called = rest[at]  # SESSION is a word of its own in other dialects
            rest[at] = Token(
                *(TokenType.VAR, called.text),
                line=called.line,
                col=called.col,
                start=called.start,
                end=called.end,
            )
        elif _is_table_argument(rest, at):
            del rest[at]
        at += 1
    return rest


def table(node: exp.Table) -> exp.Expr | None:
    """Return the query that a call stands for, in the place of the call."""
    call = node.this
    if not isinstance(call, exp.Anonymous) or call.name.upper() not in NAMES:
        return None
    arguments = _arguments(call)
    build = {"TUMBLE": _tumble, "HOP": _hop, "SESSION": _session}[call.name.upper()]
    try:
        query = build(arguments)
    except KeyError:
        return None  # a call of another form is refused like any unknown table function
    alias = node.args.get("alias")
    return exp.Subquery(this=query, alias=alias.copy() if alias else None)


def _opens_call(given: Sequence[Token], at: int) -> bool:
    words = [token.text.upper() for token in given[at : at + 4]]
    return words[:2] == ["TABLE", "("] and words[2:3] != [] and words[2] in NAMES and words[3:] == ["("]


def _is_table_argument(given: Sequence[Token], at: int) -> bool:
    before = given[at - 1].text if at else ""
    named = given[at].token_type is TokenType.TABLE and before in ("(", "=>")
    return named and at + 1 < len(given) and given[at + 1].text != "("


def _closing(given: Sequence[Token], opening: int) -> int | None:
    depth = 0
    for index in range(opening, len(given)):
        kind = given[index].token_type
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if depth == 0:
            return index
    return None


def _arguments(call: exp.Anonymous) -> Mapping[str, exp.Expr]:
    names = PARAMETERS[call.name.upper()]
    given = call.expressions
    if call.name.upper() == "SESSION" and len(given) == 3 and not isinstance(given[0], exp.Kwarg):
        names = ("data", "timecol", "size")
    found = {}
    for name, argument in zip(names, given, strict=False):
        named = isinstance(argument, exp.Kwarg)
        found[argument.this.name.lower() if named else name] = argument.expression if named else argument
    return found


def _source(arguments: Mapping[str, exp.Expr]) -> str:
    return str(arguments["data"].sql(dialect="duckdb"))


def _columns(descriptor: exp.Expr) -> str:
    return ", ".join(part.sql(dialect="duckdb") for part in descriptor.expressions)


def _sql(arguments: Mapping[str, exp.Expr], name: str) -> str:
    return str(arguments[name].sql(dialect="duckdb"))


def _tumble(arguments: Mapping[str, exp.Expr]) -> exp.Expr:
    time, size = _columns(arguments["timecol"]), _sql(arguments, "size")
    offset = _sql(arguments, "offset") if "offset" in arguments else "INTERVAL '0' SECOND"
    start = f"time_bucket({size}, {time}, TIMESTAMP '1970-01-01 00:00:00' + {offset})"
    return parse_one(
        f"SELECT *, {start} AS window_start, {start} + {size} AS window_end FROM {_source(arguments)} "
        f"WHERE {time} IS NOT NULL",
        dialect="duckdb",
    )


def _hop(arguments: Mapping[str, exp.Expr]) -> exp.Expr:
    """Begin with the last window that a row lies in and go back by the slide as often as it lies in one."""
    time, size, slide = _columns(arguments["timecol"]), _sql(arguments, "size"), _sql(arguments, "slide")
    offset = _sql(arguments, "offset") if "offset" in arguments else "INTERVAL '0' SECOND"
    last = f"time_bucket({slide}, {time}, TIMESTAMP '1970-01-01 00:00:00' + {offset})"
    count = f"ceil(epoch_us({size}) / epoch_us({slide})::DOUBLE)::BIGINT"
    windows = (
        f'SELECT *, {last} - {slide} * "~n" AS window_start, {last} - {slide} * "~n" + {size} AS window_end '
        f'FROM {_source(arguments)}, UNNEST(range({count})) AS "~hops"("~n")'
    )
    return parse_one(
        f'SELECT * EXCLUDE ("~n") FROM ({windows}) AS "~windows" WHERE window_end > {time}',
        dialect="duckdb",
    )


def _session(arguments: Mapping[str, exp.Expr]) -> exp.Expr:
    """Number the gaps before each row of a key; rows with the same number are one session."""
    time, size = _columns(arguments["timecol"]), _sql(arguments, "size")
    key = f"PARTITION BY {_columns(arguments['key'])} " if "key" in arguments else ""
    session = f'PARTITION BY {_columns(arguments["key"])}, "~session"' if key else 'PARTITION BY "~session"'
    gaps = (
        f"SELECT *, CASE WHEN {time} < lag({time}) OVER ({key}ORDER BY {time}) + {size} THEN 0 ELSE 1 END "
        f'AS "~gap" FROM {_source(arguments)} WHERE {time} IS NOT NULL'
    )
    numbered = f'SELECT *, sum("~gap") OVER ({key}ORDER BY {time}) AS "~session" FROM ({gaps}) AS "~gaps"'
    return parse_one(
        f'SELECT * EXCLUDE ("~gap", "~session"), min({time}) OVER ({session}) AS window_start, '
        f'max({time}) OVER ({session}) + {size} AS window_end FROM ({numbered}) AS "~sessions"',
        dialect="duckdb",
    )

"""The grammar: DuckDB's, with the words of the Calcite family that sqlglot does not know."""

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.dialect import build_default_decimal_type
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import TokenType

from sluicegate.engine import functions

UNITS = {
    *("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"),
    *("DECADE", "CENTURY", "MILLENNIUM", "MILLISECOND", "MICROSECOND"),
}
ANSI_UNIT = "SQL_TSI_"
"""What may precede a unit's name."""


class Lateness(exp.Expression, exp.ColumnConstraintKind):
    """`LATENESS expression` on a column."""


class Watermark(exp.Expression, exp.ColumnConstraintKind):
    """`WATERMARK expression` on a column."""


class Interned(exp.Expression, exp.ColumnConstraintKind):
    """`INTERNED` on a column: a hint that means nothing here."""

    arg_types: ClassVar = {}


def unit(node: Any) -> str | None:
    """Return the time unit that a word names."""
    if not isinstance(node, exp.Column | exp.Var | exp.Literal):
        return None
    name = node.name.upper().removeprefix(ANSI_UNIT)
    return name if name in UNITS else None


def _difference(args: list[Any]) -> exp.Expr:
    """Build TIMESTAMPDIFF, which counts the whole units that have passed."""
    name = unit(args[0]) if len(args) == 3 else None
    if name is None:
        return exp.Anonymous(this="timestampdiff", expressions=args)
    word = exp.Literal.string(name.lower())
    passed = exp.Anonymous(this="date_sub", expressions=[word, *args[1:]])
    return exp.Cast(this=passed, to=exp.DataType.build("INT"))


def _addition(args: list[Any]) -> exp.Expr:
    name = unit(args[0]) if len(args) == 3 else None
    if name is None:
        return exp.Anonymous(this="timestampadd", expressions=args)
    amount = functions.enclosed(args[1])
    return exp.Paren(this=exp.Add(this=args[2], expression=exp.Interval(this=amount, unit=exp.var(name))))


def _truncation(args: list[Any]) -> exp.Expr:
    if len(args) == 2 and unit(args[1]):
        args = [exp.Literal.string(unit(args[1])), args[0]]
    return exp.Anonymous(this="date_trunc", expressions=args)


def _time_truncation(args: list[Any]) -> exp.Expr:
    if len(args) != 2 or not unit(args[1]):
        return exp.Anonymous(this="time_trunc", expressions=args)
    body = f"CAST(date_trunc('{unit(args[1])}', DATE '1970-01-01' + t) AS TIME)"
    return functions.meaning(body, {"t": args[0]})


def _shift(node: type[exp.Binary]) -> Callable[[list[Any]], exp.Expr]:
    def build(args: list[Any]) -> exp.Expr:
        if len(args) != 2:
            return exp.Anonymous(this=f"date_{node.__name__.lower()}", expressions=args)
        return exp.Paren(this=node(this=functions.enclosed(args[0]), expression=args[1]))

    return build


def _part(args: list[Any]) -> exp.Expr:
    if len(args) != 2 or not isinstance(args[0], exp.Column | exp.Literal):
        return exp.Anonymous(this="date_part", expressions=args)
    return exp.Extract(this=exp.var(args[0].name.upper()), expression=args[1])


def _extreme(word: str) -> Callable[[list[Any]], exp.Expr]:
    """Build GREATEST or LEAST, which are NULL where an argument is."""

    def build(args: list[Any]) -> exp.Expr:
        call = exp.Anonymous(this=word, expressions=args)
        if len(args) < 2:
            return call
        absent = exp.or_(*(exp.Is(this=functions.enclosed(a.copy()), expression=exp.Null()) for a in args))
        return exp.Case(ifs=[exp.If(this=absent, true=exp.Null())], default=call)

    return build


def _extreme_of_known(word: str) -> Callable[[list[Any]], exp.Expr]:
    return lambda args: exp.Anonymous(this=word, expressions=args)


def _count(args: list[Any]) -> exp.Expr:
    if len(args) < 2:
        return exp.Count(this=args[0] if args else exp.Star(), big_int=True)
    known = exp.and_(*(exp.Is(this=functions.enclosed(a), expression=exp.Null()).not_() for a in args))
    case = exp.Case(ifs=[exp.If(this=known, true=exp.Literal.number(1))])
    return exp.Count(this=case, big_int=True)


class Parser(DuckDBParser):
    """DuckDB's parser, which builds the DuckDB expression that a function of programs means."""

    FUNCTIONS: ClassVar = {
        **DuckDBParser.FUNCTIONS,
        **functions.builders(),
        "COUNT": _count,
        "DATEDIFF": _difference,
        "DATE_ADD": _shift(exp.Add),
        "DATE_PART": _part,
        "DATE_SUB": _shift(exp.Sub),
        "DATE_TRUNC": _truncation,
        "GREATEST": _extreme("greatest"),
        "GREATEST_IGNORE_NULLS": _extreme_of_known("greatest"),
        "LEAST": _extreme("least"),
        "LEAST_IGNORE_NULLS": _extreme_of_known("least"),
        "SUBSTR": lambda args: exp.Anonymous(this="substr", expressions=args),
        "TIMESTAMPADD": _addition,
        "TIMESTAMPDIFF": _difference,
        "TIMESTAMP_TRUNC": _truncation,
        "TIME_TRUNC": _time_truncation,
    }
    FUNCTION_PARSERS: ClassVar = {
        name: parse
        for name, parse in DuckDBParser.FUNCTION_PARSERS.items()
        if name not in functions.builders()
    }
    # A DECIMAL without digits is the widest, without a fraction.
    TYPE_CONVERTERS: ClassVar = {
        exp.DataType.Type.DECIMAL: build_default_decimal_type(precision=38, scale=0),
    }
    CONSTRAINT_PARSERS: ClassVar = {
        **DuckDBParser.CONSTRAINT_PARSERS,
        "INTERNED": lambda self: self.expression(Interned()),
        "LATENESS": lambda self: self.expression(Lateness(this=self._parse_bitwise())),
        "WATERMARK": lambda self: self.expression(Watermark(this=self._parse_bitwise())),
    }

    def _parse_bracket(self, this: exp.Expr | None = None) -> exp.Expr | None:
        """Keep an index as it is written, whatever type sqlglot takes its operand for."""
        bracket = super()._parse_bracket(this)
        for node in bracket.find_all(exp.Bracket) if bracket is not None else ():
            node.set("offset", 1)
        return bracket

    def _parse_map(self) -> exp.ToMap | exp.Map:
        """Read `MAP[key, value, …]` besides DuckDB's forms."""
        if not self._match(TokenType.L_BRACKET):
            return super()._parse_map()
        parts = self._parse_csv(self._parse_disjunction)
        self._match(TokenType.R_BRACKET)
        keys, values = (exp.Array(expressions=parts[start::2]) for start in (0, 1))
        if len(keys.expressions) != len(values.expressions):
            self.raise_error("MAP[…] needs a value for each key")
        return self.expression(exp.Map(keys=keys, values=values))


class Dialect(DuckDB):
    """DuckDB's grammar, with types that keep their lengths and FLOAT of double precision."""

    INDEX_OFFSET = 0

    class Tokenizer(DuckDB.Tokenizer):
        """The tokens of the dialect."""

        HEX_STRINGS: ClassVar = [("x'", "'"), ("X'", "'")]
        KEYWORDS: ClassVar = {
            # PREPARE and EXECUTE would make one text of all that follows them.
            **{k: v for k, v in DuckDB.Tokenizer.KEYWORDS.items() if k not in ("PREPARE", "EXECUTE")},
            "CHAR": TokenType.CHAR,
            "FLOAT": TokenType.DOUBLE,
            "MAP": TokenType.MAP,
            "MATCH_CONDITION": TokenType.MATCH_CONDITION,
            "VARCHAR": TokenType.VARCHAR,
            "VARIANT": TokenType.VARIANT,
        }

    Parser = Parser

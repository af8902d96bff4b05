"""Types and functions that a program defines, both put in where they are used.

CREATE TYPE name AS (field type, …)          a row type, whose name also makes its values
CREATE TYPE name AS type                     another name of a type
CREATE FUNCTION name(parameter type, …) RETURNS type AS expression
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sluicegate.engine import columntypes, dialect, syntax
from sluicegate.engine.columntypes import UnknownType
from sluicegate.engine.dialect import Source, Statement
from sluicegate.engine.functions import enclosed, meaning, substituted
from sluicegate.engine.messages import NOT_IMPLEMENTED, ProgramError
from sluicegate.engine.relations import exact

NO_BODY = (
    "A function needs a body here, CREATE FUNCTION name(parameter type, …) RETURNS type AS expression: "
    "the built-in engine runs SQL only and cannot compile functions written in Rust"
)
FROM_JSON = "jsonstring_as_"
"""Functions of this name have no body: they read a type of the program from JSON."""


@dataclass(frozen=True)
class Function:
    """A function: its parameters with their types, its result, its body."""

    parameters: tuple[tuple[str, exp.DataType], ...]
    result: exp.DataType
    body: exp.Expr


class Definitions:
    """What a program has defined so far."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._types: dict[str, exp.DataType] = {}
        self._functions: dict[str, Function] = {}

    def resolve(self, name: str) -> exp.DataType | None:
        """Return the type of a name."""
        return self._types.get(name) or self._types.get(name.lower())

    def type(self, statement: Statement) -> None:
        """Take a CREATE TYPE; raises ProgramError and sqlglot's ParseError."""
        rest = [token for token in statement.tokens if token.token_type is not TokenType.ALIAS]
        if len(rest) < 4:
            raise ProgramError("CREATE TYPE needs a type after AS", self._source.of(statement.original))
        if rest[3].token_type is TokenType.L_PAREN:
            schema = self._schema(statement, rest)
            fields = schema.expressions
            kind = exp.DataType(this=exp.DataType.Type.STRUCT, expressions=fields, nested=True)
        else:
            kind = self._type(statement, rest[3:])
        try:
            columntypes.to_duckdb(kind, self.resolve)
        except UnknownType as error:
            raise ProgramError(str(error), self._source.of(statement.original)) from error
        self._types[_name(rest[2])] = kind

    def function(self, statement: Statement) -> None:
        """Take a CREATE FUNCTION; raises ProgramError and sqlglot's ParseError."""
        given = statement.tokens
        words = [token.text.upper() for token in given]
        span = self._source.of(statement.original)
        if "RETURNS" not in words:
            raise ProgramError(NO_BODY, span, NOT_IMPLEMENTED)
        returns = words.index("RETURNS")
        body_at = next(
            (i for i in range(returns, len(given)) if given[i].token_type is TokenType.ALIAS), len(given)
        )
        parameters = self._parameters(statement, given[:returns])
        result = self._type(statement, given[returns + 1 : body_at])
        name = _name(given[2])
        if body_at < len(given):
            body = self._expression(statement, given[body_at + 1 :])
        elif name.startswith(FROM_JSON) and len(parameters) == 1:
            argument = exp.column(parameters[0][0])
            body = exp.Cast(this=meaning("json(TRY_CAST(s AS JSON))", {"s": argument}), to=result)
        else:
            raise ProgramError(NO_BODY, span, NOT_IMPLEMENTED)
        self._functions[name] = Function(parameters, result, self.expanded(body))

    def expanded(self, tree: exp.Expr) -> exp.Expr:
        """Return a tree with calls of the program's functions, and of its types, put in."""
        for call in reversed(list(tree.find_all(exp.Anonymous))):
            found = self._call(call)
            if found is not None and call is tree:
                return found
            if found is not None:
                call.replace(found)
        return tree

    def _call(self, call: exp.Anonymous) -> exp.Expr | None:
        name = call.name.lower()
        if kind := self._types.get(name):
            row = exp.Anonymous(this="row", expressions=[part.copy() for part in call.expressions])
            return exp.Cast(this=row, to=kind.copy())
        function = self._functions.get(name)
        if function is None or len(function.parameters) != len(call.expressions):
            return None
        arguments = {
            parameter: exp.Cast(this=argument.copy(), to=kind.copy())
            for (parameter, kind), argument in zip(function.parameters, call.expressions, strict=True)
        }
        return exp.Cast(this=enclosed(substituted(function.body, arguments)), to=function.result.copy())

    def _parameters(
        self, statement: Statement, tokens: Sequence[Token]
    ) -> tuple[tuple[str, exp.DataType], ...]:
        if [token.text for token in tokens[3:]] == ["(", ")"]:
            return ()
        columns = self._schema(statement, tokens).expressions
        found = [(exact(column.this), column.args.get("kind")) for column in columns]
        return tuple((name, kind) for name, kind in found if kind is not None)

    def _type(self, statement: Statement, tokens: Sequence[Token]) -> exp.DataType:
        """Read a type as that of the only column of a table."""
        head = [syntax.replaced(statement.tokens[0], *word) for word in _TABLE_OF_ONE]
        schema = self._parsed(
            statement, [*head, *tokens, syntax.replaced(tokens[-1], TokenType.R_PAREN, ")")]
        )
        kind = schema.this.expressions[0].args.get("kind") if isinstance(schema.this, exp.Schema) else None
        if not isinstance(kind, exp.DataType):
            raise ProgramError("This is no type", self._source.of(list(tokens)))
        return kind

    def _schema(self, statement: Statement, tokens: Sequence[Token]) -> exp.Schema:
        rest = list(tokens)
        rest[1] = syntax.replaced(rest[1], TokenType.TABLE, "TABLE")
        tree = self._parsed(statement, rest)
        if not isinstance(tree.this, exp.Schema):
            text = "A list of names and types in parentheses is expected"
            raise ProgramError(text, self._source.of(statement.original), NOT_IMPLEMENTED)
        return tree.this

    def _expression(self, statement: Statement, tokens: Sequence[Token]) -> exp.Expr:
        head = syntax.replaced(tokens[0], TokenType.SELECT, "SELECT")
        selected = self._parsed(statement, [head, *tokens]).args["expressions"][0]
        body: exp.Expr = selected.unalias()
        return body

    def _parsed(self, statement: Statement, tokens: list[Token]) -> exp.Expr:
        given = Statement(statement.original, tokens, [], local=False, materialized=False)
        return dialect.parse(given, self._source.text)


_TABLE_OF_ONE = [
    (TokenType.CREATE, "CREATE"),
    (TokenType.TABLE, "TABLE"),
    (TokenType.VAR, "t"),
    (TokenType.L_PAREN, "("),
    (TokenType.VAR, "c"),
]


def _name(token: Token) -> str:
    return token.text if token.token_type is TokenType.IDENTIFIER else token.text.lower()

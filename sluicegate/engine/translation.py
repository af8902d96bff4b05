"""The query of a view, from the words of the program to DuckDB's, with DuckDB's names."""

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from sluicegate.engine import dialect, functions, nowtime, recursion, syntax
from sluicegate.engine.binding import Binder
from sluicegate.engine.columntypes import UnknownType
from sluicegate.engine.definitions import Definitions
from sluicegate.engine.dialect import Source, Statement
from sluicegate.engine.messages import NOT_IMPLEMENTED, ProgramError
from sluicegate.engine.relations import Unreachable, exact, localize
from sluicegate.engine.typed import Rewriter


class NotCreated(Exception):
    """A view that is declared and read, but not created."""


class Forgotten(Exception):
    """A statement that depends on one already reported."""


class Translator:
    """Translates the queries of one program."""

    def __init__(
        self, source: Source, binder: Binder, definitions: Definitions, physical: dict[str, str]
    ) -> None:
        """Translate for a binder that knows relations by these names, from theirs to those inside DuckDB."""
        self._source = source
        self._binder = binder
        self._definitions = definitions
        self._recursive: dict[str, list[str]] = {}
        self.physical = physical
        self.failed: set[str] = set()
        """What statements that are already reported would have made."""

    def declare(self, statement: Statement) -> None:
        """Take a DECLARE RECURSIVE VIEW: the view's columns, before it is created."""
        head = [*statement.tokens[:1], *statement.tokens[2:]]
        head[0] = syntax.replaced(head[0], TokenType.CREATE, "CREATE")
        head[1] = syntax.replaced(head[1], TokenType.TABLE, "TABLE")
        given = Statement(statement.original, head, [], local=False, materialized=False)
        tree = dialect.parse(given, self._source.text)
        if not isinstance(tree.this, exp.Schema):
            text = "DECLARE RECURSIVE VIEW needs the names and types of the view's columns in parentheses"
            raise ProgramError(text, self._source.of(statement.original), NOT_IMPLEMENTED)
        self._recursive[exact(tree.this.this.this)] = [exact(part.this) for part in tree.this.expressions]

    def translate(self, query: exp.Expr, name: str, statement: Statement) -> exp.Expr:
        """Return the query in DuckDB's words and with DuckDB's names."""
        span = self._source.of(statement.original)
        self._refuse(query, statement)
        query = self._definitions.expanded(query)
        if name in self._recursive and recursion.reads(query, name):
            try:
                query = recursion.closed(query, name, self._recursive[name])
            except recursion.NotAUnion as error:
                raise ProgramError(recursion.NOT_A_UNION, span, NOT_IMPLEMENTED) from error
        try:
            self._localize(query, statement)
            nowtime.bind(query)
            Rewriter(self._binder.type_of, self._definitions.resolve).rewrite(query)
        except UnknownType as error:
            raise ProgramError(str(error), span) from error
        return query

    def _refuse(self, query: exp.Expr, statement: Statement) -> None:
        """Refuse calls that nothing can stand for, at the place of the call."""
        for call in query.find_all(exp.Func):
            name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
            text = functions.REFUSED.get(name.upper())
            if text is not None:
                tokens = [token for token in statement.original if token.text.upper() == name.upper()]
                raise ProgramError(text, self._source.of(tokens[:1] or statement.original), NOT_IMPLEMENTED)

    def _localize(self, query: exp.Expr, statement: Statement) -> None:
        try:
            localize(query, self._lookup)
        except NotCreated as error:
            raise ProgramError(str(error), self._source.of(statement.original), NOT_IMPLEMENTED) from error
        except Unreachable as error:
            meta = error.node.meta
            span = self._source.of(statement.original)
            if "start" in meta:
                span = self._source.span(meta["start"], meta["end"])
            raise ProgramError(str(error), span) from error

    def _lookup(self, name: str) -> str | None:
        if name in self.failed:
            raise Forgotten
        if name in self._recursive and name not in self.physical:
            raise NotCreated(recursion.NOT_YET.format(name))
        return self.physical.get(name)

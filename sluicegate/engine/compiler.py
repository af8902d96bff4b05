"""The compile step: from a program's text to a plan that is ready to run, or to all that is wrong with it."""

from typing import Any

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from sluicegate.engine import columntypes, connectors, dialect
from sluicegate.engine.binding import Binder
from sluicegate.engine.columntypes import UnknownType, quote
from sluicegate.engine.declaration import TableReader, create_table
from sluicegate.engine.dialect import Source, Span, Statement
from sluicegate.engine.messages import (
    CONNECTOR_ERROR,
    NOT_IMPLEMENTED,
    PARSE_ERROR,
    Message,
    ProgramError,
    shown,
)
from sluicegate.engine.plan import Plan, Table, View
from sluicegate.engine.relations import QUERIES, Unreachable, exact, localize, name_columns, physical_name
from sluicegate.protocol import CompileRequest, CompileResponse

ALLOWED = "A program consists of CREATE TABLE, CREATE VIEW and CREATE TYPE statements"
RUST_REFUSED = "error: the built-in engine runs SQL only; it cannot compile functions written in Rust\n"
TOO_DEEP = "The statement is nested too deeply"
WIDE_INTEGERS = {"HUGEINT", "UHUGEINT"}
"""What DuckDB's SUM of integers yields; the SQL of programs says BIGINT."""


class Forgotten(Exception):
    """A statement that depends on one already reported."""


def compile_program(request: CompileRequest) -> CompileResponse:
    """Compile a program; every error that can be found is in the answer."""
    compiler = Compiler(request.program_code)
    compiler.run()
    messages = [message.to_json(compiler.source) for message in shown(compiler.messages)]
    failed = any(not message.warning for message in compiler.messages)
    sql = {"exit_code": int(failed), "messages": messages}
    if failed:
        return CompileResponse(sql)
    if request.udf_rust.strip() or request.udf_toml.strip():
        given = "\n".join(part for part in (request.udf_rust, request.udf_toml) if part.strip())
        return CompileResponse(sql, {"exit_code": 1, "stdout": "", "stderr": RUST_REFUSED + given})
    info = {"schema": compiler.schema, "udf_stubs": "", "input_connectors": {}, "output_connectors": {}}
    plan = Plan(tuple(compiler.tables), tuple(compiler.views)).to_json()
    return CompileResponse(sql, {"exit_code": 0, "stdout": "", "stderr": ""}, info, plan)


class Compiler:
    """Takes a program statement by statement, and goes on after an error."""

    def __init__(self, text: str) -> None:
        self.source = Source(text)
        self.messages: list[Message] = []
        self.tables: list[Table] = []
        self.views: list[View] = []
        self.schema: dict[str, list[Any]] = {"inputs": [], "outputs": []}
        self._types: dict[str, exp.DataType] = {}
        self._physical: dict[str, str] = {}
        self._failed: set[str] = set()
        self._binder = Binder()

    def run(self) -> None:
        """Compile all statements."""
        try:
            found = list(dialect.statements(self.source.text))
        except TokenError as error:
            self._report(ProgramError(_first_line(error), self._end(), PARSE_ERROR))
            return
        for statement in found:
            try:
                self._statement(statement)
            except ProgramError as error:
                self._report(error)
                self._forget(statement)
            except RecursionError:
                self._report(ProgramError(TOO_DEEP, self.source.of(statement.original)))
                self._forget(statement)
            except Forgotten:
                self._forget(statement)

    def _statement(self, statement: Statement) -> None:
        words = [token.text.upper() for token in statement.tokens[:2]]
        if words == ["CREATE", "TYPE"]:
            self._type(statement)
            return
        tree = self._parse(statement)
        if not isinstance(tree, exp.Create) or tree.kind not in ("TABLE", "VIEW"):
            beginning = " ".join(token.text for token in statement.original[:2])
            text = f"{ALLOWED}; a statement that begins with '{beginning}' is not one of them"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        if tree.args.get("replace") or tree.args.get("exists") or tree.args.get("properties"):
            text = f"Only CREATE {tree.kind} is supported, without OR REPLACE, IF NOT EXISTS or other words"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        self._check_connectors(statement, tree)
        if tree.kind == "TABLE":
            self._table(statement, tree)
        else:
            self._view(statement, tree)

    def _type(self, statement: Statement) -> None:
        """Read `CREATE TYPE name AS (…)` as the columns of a table."""
        rest = [token for token in statement.tokens if token.token_type is not TokenType.ALIAS]
        rest[1] = dialect.replaced(rest[1], TokenType.TABLE, "TABLE")
        tree = self._parse(Statement(statement.original, rest, [], local=False, materialized=False))
        if not isinstance(tree.this, exp.Schema):
            text = "Only row types are supported: CREATE TYPE name AS (field type, …)"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        row = exp.DataType(this=exp.DataType.Type.STRUCT, expressions=tree.this.expressions, nested=True)
        try:
            columntypes.to_duckdb(row, self._resolve)
        except UnknownType as error:
            raise ProgramError(str(error), self.source.of(statement.original)) from error
        self._types[exact(tree.this.this.this)] = row

    def _resolve(self, name: str) -> exp.DataType | None:
        return self._types.get(name) or self._types.get(name.lower())

    def _table(self, statement: Statement, tree: exp.Create) -> None:
        if not isinstance(tree.this, exp.Schema) or tree.expression:
            text = "CREATE TABLE needs a list of columns in parentheses, and no query"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        name, quoted, physical = self._name(tree.this.this)
        reader = TableReader(statement, self.source, self._binder, self._resolve)
        declared = reader.read(tree.this)
        ddl = create_table(physical, declared)
        self._binder.execute(ddl, self.source.of(statement.original))
        materialized = _truthy(statement, "materialized")
        key = tuple(declared.primary_key)
        self.tables.append(Table(name, quoted, physical, materialized, key, tuple(declared.columns), ddl))
        self._physical[name] = physical
        self.messages.extend(declared.warnings)
        self.schema["inputs"].append(
            {
                "name": name,
                "case_sensitive": quoted,
                "fields": declared.fields,
                "materialized": materialized,
                "properties": self._properties(statement),
                "primary_key": list(key) or None,
            }
        )

    def _view(self, statement: Statement, tree: exp.Create) -> None:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        name, quoted, physical = self._name(target)
        query = tree.expression
        if not isinstance(query, QUERIES):
            raise ProgramError("CREATE VIEW needs a query after AS", self.source.of(statement.original))
        quoted_columns = _quoted_names(query)
        listed = [part.find(exp.Identifier) for part in getattr(tree.this, "expressions", [])]
        name_columns(query, lambda index, _: f"EXPR${index}")
        self._localize(query, statement)
        head = f"CREATE OR REPLACE VIEW {quote(physical)} "
        if listed:
            quoted_columns |= {exact(part) for part in listed if part is not None and part.args.get("quoted")}
            head += f"({', '.join(quote(exact(part)) for part in listed if part is not None)}) "
        sql = query.sql(dialect="duckdb", identify=True)
        ddl, columns = self._bind(physical, head, sql, statement)
        materialized = statement.materialized or _truthy(statement, "materialized")
        names = tuple(column for column, _ in columns)
        fields = self._fields(columns, quoted_columns, statement)
        self.views.append(View(name, quoted, physical, materialized, statement.local, names, ddl))
        self._physical[name] = physical
        if not statement.local:
            self.schema["outputs"].append(
                {
                    "name": name,
                    "case_sensitive": quoted,
                    "fields": fields,
                    "materialized": materialized,
                    "properties": self._properties(statement),
                    "primary_key": None,
                }
            )

    def _bind(
        self, physical: str, head: str, sql: str, statement: Statement
    ) -> tuple[str, list[tuple[str, str]]]:
        """Make the view in DuckDB, with sums of integers brought back to BIGINT."""
        span = self.source.of(statement.original)
        self._binder.create_view(head + "AS ", sql, statement, self.source)
        columns = self._binder.columns(quote(physical), span)
        wide = [column for column, kind in columns if kind in WIDE_INTEGERS]
        if wide:
            casts = ", ".join(f"CAST({quote(column)} AS BIGINT) AS {quote(column)}" for column in wide)
            names = ", ".join(quote(column) for column, _ in columns)
            sql = f"SELECT * REPLACE ({casts}) FROM ({sql}) AS {quote('~wide')}({names})"
            self._binder.execute(f"{head}AS {sql}", span)
            columns = self._binder.columns(quote(physical), span)
        return f"{head}AS {sql}", columns

    def _fields(
        self, columns: list[tuple[str, str]], quoted: set[str], statement: Statement
    ) -> list[dict[str, Any]]:
        """Describe the columns of a view, whose types DuckDB has worked out."""
        known = {
            column.name for table in self.tables for column in table.columns if column.case_sensitive
        } | {
            field["name"]
            for view in self.schema["outputs"]
            for field in view["fields"]
            if field["case_sensitive"]
        }
        fields = []
        for name, kind in columns:
            try:
                parsed = exp.DataType.build(kind.strip('"'), dialect="duckdb")
                wire = columntypes.to_wire(parsed, columntypes.no_user_types)
            except (UnknownType, ParseError) as error:
                text = f"Column '{name}' has the type {kind}, which a view cannot have"
                raise ProgramError(text, self.source.of(statement.original)) from error
            sensitive = name in quoted or name in known or name != name.lower()
            note = {"lateness": None, "default": None, "unused": False, "watermark": None}
            fields.append({"name": name, "case_sensitive": sensitive, "columntype": wire, **note})
        return fields

    def _parse(self, statement: Statement) -> exp.Expr:
        try:
            return dialect.parse(statement, self.source.text)
        except ParseError as error:
            raise ProgramError(*self._syntax(error, statement), PARSE_ERROR) from error

    def _syntax(self, error: ParseError, statement: Statement) -> tuple[str, Span]:
        details = error.errors[0] if error.errors else {}
        start = statement.tokens[-1]
        for token in statement.original:
            ends = (token.line, token.col) == (details.get("line"), details.get("col"))
            start = token if ends else start
        return f"{details.get('description') or _first_line(error)} at '{start.text}'", self.source.of(
            [start]
        )

    def _localize(self, query: exp.Expr, statement: Statement) -> None:
        try:
            localize(query, self._lookup)
        except Unreachable as error:
            meta = error.node.meta
            span = self.source.of(statement.original)
            if "start" in meta:
                span = self.source.span(meta["start"], meta["end"])
            raise ProgramError(str(error), span) from error

    def _lookup(self, name: str) -> str | None:
        if name in self._failed:
            raise Forgotten
        return self._physical.get(name)

    def _name(self, target: exp.Expr) -> tuple[str, bool, str]:
        identifier = target.this
        name, quoted = exact(identifier), bool(identifier.args.get("quoted"))
        physical = physical_name(name)
        span = self._end()
        if "start" in identifier.meta:
            span = self.source.span(identifier.meta["start"], identifier.meta["end"])
        if target.args.get("db"):
            raise ProgramError("Relations have no schema or catalogue", span)
        if name in self._physical:
            raise ProgramError(f"An object with name '{name}' already exists", span)
        if physical.lower() in (taken.lower() for taken in self._physical.values()):
            raise ProgramError(f"The name '{name}' is too close to that of another relation", span)
        return name, quoted, physical

    def _check_connectors(self, statement: Statement, tree: exp.Create) -> None:
        target = tree.find(exp.Table)
        for pair in statement.properties:
            if pair.key.text == "connectors":
                problem = connectors.problem(target.name if target else "", pair.value.text)
                if problem:
                    raise ProgramError(problem, self.source.of([pair.value]), CONNECTOR_ERROR)

    def _properties(self, statement: Statement) -> dict[str, Any]:
        return {
            pair.key.text: {
                "value": pair.value.text,
                "key_position": _position(self.source.of([pair.key])),
                "value_position": _position(self.source.of([pair.value])),
            }
            for pair in statement.properties
        }

    def _report(self, error: ProgramError) -> None:
        self.messages.append(Message.of(error))

    def _forget(self, statement: Statement) -> None:
        """Remember what a failed statement would have made, so that its readers raise no further error."""
        for token in statement.tokens[2:3]:
            quoted = token.token_type is TokenType.IDENTIFIER
            self._failed.add(token.text if quoted else token.text.lower())
        self._failed -= set(self._physical)

    def _end(self) -> Span:
        last = max(len(self.source.text) - 1, 0)
        return self.source.span(last, last)


def _truthy(statement: Statement, key: str) -> bool:
    return any(pair.key.text == key and pair.value.text.lower() == "true" for pair in statement.properties)


def _position(span: Span) -> dict[str, int]:
    return {
        "start_line_number": span.start_line,
        "start_column": span.start_column,
        "end_line_number": span.end_line,
        "end_column": span.end_column,
    }


def _quoted_names(query: exp.Expr) -> set[str]:
    names = set()
    for selected in query.selects if isinstance(query, exp.Query) else ():
        identifier = selected.args.get("alias") or selected.this
        if isinstance(identifier, exp.Identifier) and identifier.args.get("quoted"):
            names.add(identifier.name)
    return names


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

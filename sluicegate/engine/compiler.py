"""The compile step: from a program's text to a plan that is ready to run, or to all that is wrong with it."""

from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from sluicegate.engine import binding, columntypes, connectors, dataflow, dialect, nullability
from sluicegate.engine.binding import Binder
from sluicegate.engine.columntypes import UnknownType
from sluicegate.engine.connectors import ConnectorProblem
from sluicegate.engine.declaration import TableReader, create_table, properties, truthy
from sluicegate.engine.definitions import Definitions
from sluicegate.engine.dialect import Source, Span, Statement
from sluicegate.engine.identifiers import quote
from sluicegate.engine.messages import (
    CONNECTOR_ERROR,
    NOT_IMPLEMENTED,
    PARSE_ERROR,
    Message,
    ProgramError,
    shown,
)
from sluicegate.engine.notes import Notes
from sluicegate.engine.plan import Index, Plan, Table, View
from sluicegate.engine.relations import QUERIES, exact, name_columns, physical_name, quoted_names
from sluicegate.engine.translation import Forgotten, Translator
from sluicegate.engine.views.cataloguing import Cataloguer
from sluicegate.protocol import CompileRequest, CompileResponse

ALLOWED = (
    "A program consists of CREATE TABLE, CREATE VIEW, CREATE TYPE, CREATE FUNCTION, CREATE INDEX, "
    "DECLARE RECURSIVE VIEW and LATENESS statements"
)
RUST_REFUSED = "error: the built-in engine runs SQL only; it cannot compile functions written in Rust\n"
NOT_UNDERSTOOD = "This statement has a clause that is not understood; docs/sql.md lists those that are"
TOO_DEEP = "The statement is nested too deeply"
WIDE_INTEGERS = {"HUGEINT", "UHUGEINT"}
"""What DuckDB's SUM of integers yields; the SQL of programs says BIGINT."""


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
    inputs, outputs = compiler.connectors["TABLE"], compiler.connectors["VIEW"]
    connected: dict[str, Any] = {"input_connectors": inputs, "output_connectors": outputs}
    info = {"schema": compiler.schema, "udf_stubs": "", **connected}
    late = _late(compiler.schema["outputs"])
    plan = Plan(
        tuple(compiler.tables), tuple(compiler.views), tuple(compiler.indexes), **connected, late_views=late
    )
    info["dataflow"] = dataflow.graph(plan, compiler.spans, compiler.source)
    return CompileResponse(sql, {"exit_code": 0, "stdout": "", "stderr": ""}, info, plan.to_json())


class Compiler:
    """Takes a program statement by statement, and goes on after an error."""

    def __init__(self, text: str) -> None:
        self.source = Source(text)
        self.messages: list[Message] = []
        self.tables: list[Table] = []
        self.views: list[View] = []
        self.schema: dict[str, list[Any]] = {"inputs": [], "outputs": []}
        self.connectors: dict[str, dict[str, Any]] = {"TABLE": {}, "VIEW": {}}
        self.spans: dict[str, Span] = {}
        """Where each relation is declared, by its physical name."""
        self._physical: dict[str, str] = {}
        self._definitions = Definitions(self.source)
        self._binder = Binder(self._physical)
        self._cataloguer = Cataloguer(self._binder)
        self._notes = Notes(self.source, self.messages)
        self._translator = Translator(self.source, self._binder, self._definitions, self._physical)
        self._never_null: dict[str, frozenset[str]] = {}
        self._failed = self._translator.failed

    @property
    def indexes(self) -> list[Index]:
        """Return the unique keys of views."""
        return self._notes.indexes

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
                self._refuse(statement, TOO_DEEP)
            except duckdb.Error as error:
                self._refuse(statement, binding.complaint(error))
            except (LookupError, ValueError):  # of a call that lacks what its meaning needs
                self._refuse(statement, NOT_UNDERSTOOD)
            except Forgotten:
                self._forget(statement)
        self._notes.write(self.schema, self.views, self._failed)

    def _statement(self, statement: Statement) -> None:
        words = [token.text.upper() for token in statement.tokens[:2]]
        special = {
            ("CREATE", "TYPE"): self._definitions.type,
            ("CREATE", "FUNCTION"): self._definitions.function,
            ("DECLARE", "RECURSIVE"): self._translator.declare,
            ("LATENESS", *words[1:]): self._notes.lateness,
            ("SET", *words[1:]): self._notes.setting,
        }.get(tuple(words))
        if special is not None:
            self._defined(special, statement)
            return
        tree = self._parse(statement)
        if isinstance(tree, exp.Create) and tree.kind == "INDEX":
            self._notes.index(statement, tree, self.views)
            return
        if not isinstance(tree, exp.Create) or tree.kind not in ("TABLE", "VIEW"):
            beginning = " ".join(token.text for token in statement.original[:2])
            text = f"{ALLOWED}; a statement that begins with '{beginning}' is not one of them"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        if tree.args.get("replace") or tree.args.get("exists") or tree.args.get("properties"):
            text = f"Only CREATE {tree.kind} is supported, without OR REPLACE, IF NOT EXISTS or other words"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        self._connect(statement, tree)
        if tree.kind == "TABLE":
            self._table(statement, tree)
        else:
            self._view(statement, tree)

    def _defined(self, take: Callable[[Statement], None], statement: Statement) -> None:
        try:
            take(statement)
        except ParseError as error:
            raise ProgramError(*self._syntax(error, statement), PARSE_ERROR) from error

    def _table(self, statement: Statement, tree: exp.Create) -> None:
        if not isinstance(tree.this, exp.Schema) or tree.expression:
            text = "CREATE TABLE needs a list of columns in parentheses, and no query"
            raise ProgramError(text, self.source.of(statement.original), NOT_IMPLEMENTED)
        name, quoted, physical = self._name(tree.this.this)
        self._definitions.expanded(tree)
        reader = TableReader(statement, self.source, self._binder, self._definitions.resolve)
        declared = reader.read(tree.this, physical)
        ddl = create_table(physical, declared)
        self._binder.execute(ddl, self.source.of(statement.original))
        self._cataloguer.table(physical)
        materialized = truthy(statement, "materialized")
        key = tuple(declared.primary_key)
        self.tables.append(
            Table(
                *(name, quoted, physical, materialized, key, tuple(declared.columns), ddl),
                lateness=tuple(declared.lateness),
                append_only=truthy(statement, "append_only"),
            )
        )
        self._physical[name] = physical
        self.spans[physical] = self.source.of(statement.original)
        self._never_null[physical] = frozenset(c.name for c in declared.columns if not c.nullable)
        self.messages.extend(declared.warnings)
        self.schema["inputs"].append(
            {
                "name": name,
                "case_sensitive": quoted,
                "fields": declared.fields,
                "materialized": materialized,
                "properties": properties(statement, self.source),
                "primary_key": list(key) or None,
            }
        )

    def _view(self, statement: Statement, tree: exp.Create) -> None:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        name, quoted, physical = self._name(target)
        query: exp.Expr = tree.expression
        if not isinstance(query, QUERIES):
            raise ProgramError("CREATE VIEW needs a query after AS", self.source.of(statement.original))
        quoted_columns = quoted_names(query)
        listed = [part.find(exp.Identifier) for part in getattr(tree.this, "expressions", [])]
        name_columns(query, lambda index, _: f"EXPR${index}")
        query = self._translator.translate(query, name, statement)
        head = f"CREATE OR REPLACE VIEW {quote(physical)} "
        if listed:
            quoted_columns |= {exact(part) for part in listed if part is not None and part.args.get("quoted")}
            head += f"({', '.join(quote(exact(part)) for part in listed if part is not None)}) "
        ddl, columns = self._bind(physical, head, query.sql(dialect="duckdb", identify=True), statement)
        materialized = statement.materialized or truthy(statement, "materialized")
        names = tuple(column for column, _ in columns)
        sure = nullability.never_null(query, self._never_null)
        certain = {n for n, c in zip(names, sure, strict=True) if c} if len(sure) == len(names) else set()
        self._never_null[physical] = frozenset(certain)
        fields = self._fields(columns, quoted_columns, statement)
        for field in fields:
            field["columntype"]["nullable"] = field["name"] not in certain
        watched = materialized or _has_connectors(statement)
        shown = ", ".join(map(quote, names))
        plain = f"SELECT * FROM ({ddl.removeprefix(f'{head}AS ')}) AS {quote('~q')}({shown})"
        view = View(name, quoted, physical, materialized, statement.local, names, ddl, plain, watched)
        self.views.append(self._cataloguer.view(view, query, columns))
        self._physical[name] = physical
        self.spans[physical] = self.source.of(statement.original)
        if not statement.local:
            self.schema["outputs"].append(
                {
                    "name": name,
                    "case_sensitive": quoted,
                    "fields": fields,
                    "materialized": materialized,
                    "properties": properties(statement, self.source),
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
        for column, _ in columns:
            if column.startswith("~"):
                raise ProgramError(f"Column '{column}': names that begin with ~ are taken", span)
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
            tree = dialect.parse(statement, self.source.text)
        except ParseError as error:
            raise ProgramError(*self._syntax(error, statement), PARSE_ERROR) from error
        words = tuple(token.text.upper() for token in statement.tokens[:2])
        if isinstance(tree, exp.Command) and words in (("CREATE", "TABLE"), ("CREATE", "VIEW")):
            raise ProgramError(NOT_UNDERSTOOD, self.source.of(statement.original), NOT_IMPLEMENTED)
        return tree

    def _syntax(self, error: ParseError, statement: Statement) -> tuple[str, Span]:
        details = error.errors[0] if error.errors else {}
        start = statement.tokens[-1]
        for token in statement.original:
            ends = (token.line, token.col) == (details.get("line"), details.get("col"))
            start = token if ends else start
        return f"{details.get('description') or _first_line(error)} at '{start.text}'", self.source.of(
            [start]
        )

    def _name(self, target: exp.Expr) -> tuple[str, bool, str]:
        identifier = target.this
        name, quoted = exact(identifier), bool(identifier.args.get("quoted"))
        physical = physical_name(name)
        span = self._end()
        if "start" in identifier.meta:
            span = self.source.span(identifier.meta["start"], identifier.meta["end"])
        if target.args.get("db"):
            raise ProgramError("Relations have no schema or catalogue", span)
        if name.startswith("~"):
            raise ProgramError("Names that begin with '~' belong to the engine: use another name", span)
        if name in self._physical:
            raise ProgramError(f"An object with name '{name}' already exists", span)
        if physical.lower() in (taken.lower() for taken in self._physical.values()):
            raise ProgramError(f"The name '{name}' is too close to that of another relation", span)
        return name, quoted, physical

    def _connect(self, statement: Statement, tree: exp.Create) -> None:
        target, kind = tree.find(exp.Table), str(tree.kind)
        if target is None:
            return
        name = exact(target.this)
        stream = quote(name) if target.this.args.get("quoted") else name
        for pair in statement.properties:
            if pair.key.text != "connectors":
                continue
            try:
                materialized = statement.materialized or truthy(statement, "materialized")
                output = kind == "VIEW"
                endpoints = connectors.read(
                    name, stream, pair.value.text, output=output, materialized=materialized
                )
            except ConnectorProblem as problem:
                span = self.source.of([pair.value])
                raise ProgramError(str(problem), span, CONNECTOR_ERROR) from problem
            self.connectors[kind] |= endpoints

    def _report(self, error: ProgramError) -> None:
        self.messages.append(Message.of(error))

    def _refuse(self, statement: Statement, text: str) -> None:
        """Report what is wrong with a whole statement, and forget it."""
        self._report(ProgramError(text, self.source.of(statement.original)))
        self._forget(statement)

    def _forget(self, statement: Statement) -> None:
        """Remember what a failed statement would have made, so that its readers raise no further error."""
        for token in statement.tokens[2:3]:
            quoted = token.token_type is TokenType.IDENTIFIER
            self._failed.add(token.text if quoted else token.text.lower())
        self._failed -= set(self._physical)

    def _end(self) -> Span:
        last = max(len(self.source.text) - 1, 0)
        return self.source.span(last, last)


def _late(views: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(view["name"] for view in views if any(field["lateness"] for field in view["fields"]))


def _has_connectors(statement: Statement) -> bool:
    return any(
        pair.key.text == "connectors" and pair.value.text.strip() not in ("", "[]")
        for pair in statement.properties
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

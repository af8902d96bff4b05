"""What a CREATE TABLE declares: columns, keys, defaults, and what is kept only as a note."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from sluicegate.engine import columntypes, defaults, grammar
from sluicegate.engine.binding import Binder
from sluicegate.engine.columntypes import Resolve, UnknownType
from sluicegate.engine.dialect import Source, Span, Statement
from sluicegate.engine.identifiers import quote
from sluicegate.engine.lateness import lateness
from sluicegate.engine.messages import NOT_IMPLEMENTED, Message, ProgramError
from sluicegate.engine.plan import Column, Lateness
from sluicegate.engine.relations import exact, localize
from sluicegate.engine.typed import Rewriter

CONSTANT_FUNCTIONS = (exp.Cast, exp.TryCast, exp.Array, exp.ParseJSON, exp.Unhex, exp.Map, exp.Struct)
METADATA_CALL = "CONNECTOR_METADATA"
NOTE = "{word} is kept in the schema and has no effect in the built-in engine"


@dataclass
class Declared:
    """A table as read from the program."""

    columns: list[Column] = field(default_factory=list)
    fields: list[dict[str, Any]] = field(default_factory=list)
    primary_key: list[str] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)
    lateness: list[Lateness] = field(default_factory=list)


@dataclass
class _Constraints:
    nullable: bool = True
    key: bool = False
    default: exp.Expr | None = None
    notes: dict[str, str] = field(default_factory=dict)


class TableReader:
    """Reads the columns and constraints of one CREATE TABLE."""

    def __init__(self, statement: Statement, source: Source, binder: Binder, resolve: Resolve) -> None:
        self._statement = statement
        self._source = source
        self._binder = binder
        self._resolve = resolve
        self._whole = source.of(statement.original)

    def read(self, schema: exp.Schema, physical: str) -> Declared:
        """Return the columns and keys of the table, by its name in DuckDB; raises ProgramError."""
        declared = Declared()
        definitions = [part for part in schema.expressions if isinstance(part, exp.ColumnDef)]
        for part in schema.expressions:
            if not isinstance(part, exp.ColumnDef):
                self._table_constraint(part, declared)
        for definition in definitions:
            self._column(definition, declared)
        self._check_key(declared)
        self._check_lateness(physical, declared)
        return declared

    def _check_lateness(self, physical: str, declared: Declared) -> None:
        """Make the statements of each column with LATENESS; its bound is what can be subtracted from it."""
        for column, described in zip(declared.columns, declared.fields, strict=True):
            bound = described["lateness"]
            if bound is None:
                continue
            probe = f"SELECT CAST(NULL AS {column.type}) - {bound} < CAST(NULL AS {column.type})"
            self._binder.execute(probe, self._whole)
            declared.lateness.append(lateness(physical, column.name, column.type, bound))

    def place(self, node: exp.Expr | None) -> Span:
        """Return where a node stands, the whole statement where nothing is known."""
        for part in node.walk() if node is not None else ():
            if "start" in part.meta:
                return self._source.span(part.meta["start"], part.meta["end"])
        return self._whole

    def _table_constraint(self, part: exp.Expr, declared: Declared) -> None:
        if isinstance(part, exp.Constraint):
            part = part.expressions[0]
        if isinstance(part, exp.PrimaryKey):
            if declared.primary_key:
                raise ProgramError("PRIMARY KEY is declared twice", self.place(part))
            declared.primary_key = [exact(name) for name in _identifiers(part)]
        elif isinstance(part, exp.ForeignKey):
            self._note("FOREIGN KEY", part, declared)
        else:
            raise ProgramError(f"'{part.sql()}' is not supported", self.place(part), NOT_IMPLEMENTED)

    def _column(self, definition: exp.ColumnDef, declared: Declared) -> None:
        name, quoted = exact(definition.this), bool(definition.this.args.get("quoted"))
        self._check_name(name, definition, declared)
        constraints = self._constraints(definition, declared)
        if constraints.key:
            if declared.primary_key:
                raise ProgramError("PRIMARY KEY is declared twice", self.place(definition))
            declared.primary_key = [name]
        nullable = constraints.nullable and name not in declared.primary_key
        kind = definition.args.get("kind")
        if kind is None:
            raise ProgramError(f"Column '{name}' has no type", self.place(definition))
        try:
            word = columntypes.to_duckdb(kind, self._resolve)
            wire = columntypes.to_wire(kind, self._resolve, nullable=nullable)
            reading = columntypes.to_kind(kind, self._resolve)
        except UnknownType as error:
            raise ProgramError(str(error), self.place(definition)) from error
        default = constraints.default
        computed = None if default is None else self._computed(default, word)
        value = None if default is None else self._value(default, word, reading)
        declared.columns.append(Column(name, quoted, word, reading, nullable, value, computed))
        declared.fields.append(
            {
                "name": name,
                "case_sensitive": quoted,
                "columntype": wire,
                "lateness": constraints.notes.get("LATENESS"),
                "default": None if default is None else default.sql(dialect="duckdb"),
                "unused": False,
                "watermark": constraints.notes.get("WATERMARK"),
            }
        )

    def _check_name(self, name: str, definition: exp.ColumnDef, declared: Declared) -> None:
        if name.startswith("~"):
            raise ProgramError(f"Column '{name}': names that begin with ~ are taken", self.place(definition))
        for column in declared.columns:
            if column.name.lower() == name.lower():
                same = column.name == name
                reason = "is declared twice" if same else f"differs from '{column.name}' in case only"
                raise ProgramError(f"Column '{name}' {reason}", self.place(definition))

    def _constraints(self, definition: exp.ColumnDef, declared: Declared) -> _Constraints:
        read = _Constraints()
        written = [part for part in definition.args.get("constraints") or [] if not _is_hint(part)]
        for constraint in written:
            kind = constraint.kind
            if isinstance(kind, exp.NotNullColumnConstraint):
                read.nullable = bool(kind.args.get("allow_null"))
            elif isinstance(kind, exp.PrimaryKeyColumnConstraint):
                read.key = True
            elif isinstance(kind, exp.DefaultColumnConstraint):
                read.default = kind.this
            elif isinstance(kind, grammar.Lateness):
                self._check_constant(kind.this, "LATENESS")
                read.notes["LATENESS"] = kind.this.sql(dialect="duckdb")
            elif isinstance(kind, grammar.Watermark):
                read.notes["WATERMARK"] = kind.this.sql(dialect="duckdb")
                self._note("WATERMARK", definition, declared)
            elif isinstance(kind, exp.Reference | exp.ForeignKey):
                self._note("FOREIGN KEY", definition, declared)
            else:
                text = f"'{constraint.sql()}' is not supported on a column"
                raise ProgramError(text, self.place(definition), NOT_IMPLEMENTED)
        return read

    def _computed(self, default: exp.Expr, word: str) -> str | None:
        """Take the connector's metadata out of a default, so that what is left is its value without any."""
        calls = [call for call in default.find_all(exp.Anonymous) if call.name.upper() == METADATA_CALL]
        if not calls:
            return None
        whole = exp.Select(expressions=[default.copy()])
        for call in list(whole.find_all(exp.Anonymous)):
            if call.name.upper() == METADATA_CALL:
                call.replace(exp.column(defaults.METADATA, quoted=True))
        source = exp.Select(
            expressions=[exp.alias_(exp.cast(exp.null(), "JSON"), defaults.METADATA, quoted=True)]
        )
        whole.set("from_", exp.From(this=exp.Subquery(this=source)))
        Rewriter(self._binder.type_of, self._resolve).rewrite(whole)
        for call in calls:
            call.replace(exp.cast(exp.null(), "JSON"))
        expression = whole.args["expressions"][0].sql(dialect="duckdb", identify=True)
        return f"CAST({expression} AS {word})"

    def _check_constant(self, value: exp.Expr, what: str) -> None:
        for node in value.walk():
            computed = isinstance(node, exp.Func) and not isinstance(node, CONSTANT_FUNCTIONS)
            if computed or isinstance(node, exp.Column | exp.Query):
                raise ProgramError(f"A {what} must be a constant", self.place(value))

    def _value(self, default: exp.Expr, word: str, reading: str) -> Any:
        """Work out a constant default, as the JSON value that stands for it."""
        self._check_constant(default, "DEFAULT")
        localize(default, lambda _: None)
        typed = f"CAST({default.sql(dialect='duckdb', identify=True)} AS {word})"
        query = f"SELECT {defaults.to_json(typed, reading)}"
        return defaults.of_json(self._binder.execute(query, self.place(default))[0][0], reading)

    def _check_key(self, declared: Declared) -> None:
        names = {column.name for column in declared.columns}
        for name in declared.primary_key:
            if name not in names:
                raise ProgramError(f"PRIMARY KEY column '{name}' does not exist", self._whole)

    def _note(self, word: str, part: exp.Expr, declared: Declared) -> None:
        text = NOTE.format(word=word)
        declared.warnings.append(Message(self.place(part), "Ignored", text, warning=True))


def create_table(physical: str, declared: Declared) -> str:
    """Return the DuckDB statement that makes a table; keys are upheld by ingress, not by an index."""
    columns = (
        f"{quote(column.name)} {column.type}{'' if column.nullable else ' NOT NULL'}"
        for column in declared.columns
    )
    return f"CREATE TABLE IF NOT EXISTS {quote(physical)} ({', '.join(columns)})"


def properties(statement: Statement, source: Source) -> dict[str, Any]:
    """Return what a statement's WITH clause says, with the places of keys and values."""
    return {
        pair.key.text: {
            "value": pair.value.text,
            "key_position": _position(source.of([pair.key])),
            "value_position": _position(source.of([pair.value])),
        }
        for pair in statement.properties
    }


def truthy(statement: Statement, key: str) -> bool:
    """Tell whether a statement's WITH clause sets a key to true."""
    return any(pair.key.text == key and pair.value.text.lower() == "true" for pair in statement.properties)


def _position(span: Span) -> dict[str, int]:
    return {
        "start_line_number": span.start_line,
        "start_column": span.start_column,
        "end_line_number": span.end_line,
        "end_column": span.end_column,
    }


def _is_hint(constraint: exp.ColumnConstraint) -> bool:
    return isinstance(constraint.kind, grammar.Interned)


def _identifiers(key: exp.PrimaryKey) -> Iterator[exp.Expr]:
    for part in key.expressions:
        found = part.find(exp.Identifier)
        if found is not None:
            yield found

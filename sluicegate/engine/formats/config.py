"""Configuration of formats: what a request or a connector says of its bytes (contract §9.7).

Both come as a name and a JSON object. What cannot be understood is a …ConfigParseError; what is understood
and makes no sense is an Invalid…Configuration; what is only for the other direction …FormatNotSupported.
Keys that are not known are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluicegate.engine.errors import EngineError
from sluicegate.engine.formats.flavors import FLAVORS
from sluicegate.engine.plan import Table

INPUTS = ("csv", "json", "parquet", "raw")
OUTPUTS = ("csv", "json", "parquet")
UPDATE_FORMATS = ("insert_delete", "weighted", "debezium", "snowflake", "raw", "redis")
READ = ("insert_delete", "weighted", "debezium", "raw")
WRITTEN = ("insert_delete", "debezium", "snowflake", "redis")
KEYED = ("debezium", "redis")
"""Update formats whose messages have a key."""


@dataclass(frozen=True)
class Json:
    """How JSON is read."""

    update_format: str = "insert_delete"
    flavor: str = "default"
    array: bool = False
    single_line: bool = False


@dataclass(frozen=True)
class Csv:
    """How CSV is read."""

    delimiter: str = ","
    headers: bool = False
    quote: str = '"'
    escape: str | None = None
    double_quote: bool = True
    quoting: bool = True
    comment: str | None = None
    flexible: bool = True
    trim: str = "none"


@dataclass(frozen=True)
class Parquet:
    """Parquet describes itself."""


@dataclass(frozen=True)
class Raw:
    """How bytes become values of one column."""

    column: int
    lines: bool = False


InputFormat = Json | Csv | Parquet | Raw


@dataclass(frozen=True)
class JsonOutput:
    """How JSON is written."""

    update_format: str = "insert_delete"
    flavor: str = "default"
    array: bool = False
    records: int = 10_000
    key_fields: tuple[str, ...] | None = None
    key_separator: str = ":"


@dataclass(frozen=True)
class CsvOutput:
    """How CSV is written."""

    delimiter: str = ","
    records: int = 10_000


@dataclass(frozen=True)
class ParquetOutput:
    """How Parquet is written."""

    records: int = 100_000


OutputFormat = JsonOutput | CsvOutput | ParquetOutput


@dataclass(frozen=True)
class _Given:
    """A configuration as it came, read key by key."""

    endpoint: str
    side: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise self.unreadable(f"'{key}' must be true or false, not {value!r}")
        return value

    def one_of(self, key: str, known: tuple[str, ...], default: str) -> str:
        value = self.config.get(key, default)
        if value not in known:
            raise self.unreadable(f"'{key}' is {value!r}; it can be {', '.join(known)}")
        return str(value)

    def count(self, key: str, default: int) -> int:
        value = self.config.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.unreadable(f"'{key}' must be a number that is not negative, not {value!r}")
        return max(1, value)

    def character(self, key: str, default: str | None) -> str | None:
        value = self.config.get(key, default)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) != 1 or not value.isascii():
            raise self.unreadable(f"'{key}' must be one ASCII character, not {value!r}")
        return value

    def delimiter(self) -> str:
        value = self.config.get("delimiter", ",")
        if not isinstance(value, str) or len(value) != 1:
            raise self.unreadable(f"'delimiter' must be one character, not {value!r}")
        return value if value.isascii() else ","

    def unreadable(self, reason: str) -> EngineError:
        details = {"endpoint_name": self.endpoint, "error": reason, "config": dict(self.config)}
        message = f"Error parsing {self.side} configuration of '{self.endpoint}': {reason}"
        return EngineError(400, f"ConfigError.{self.side.capitalize()}ConfigParseError", message, details)

    def senseless(self, reason: str) -> EngineError:
        message = f"Invalid {self.side} configuration of '{self.endpoint}': {reason}"
        code = f"ConfigError.Invalid{self.side.capitalize()}Configuration"
        return EngineError(400, code, message, {"endpoint_name": self.endpoint, "error": reason})

    def unsupported(self, reason: str) -> EngineError:
        way = "Input" if self.side == "parser" else "Output"
        message = f"{way} format of '{self.endpoint}' is not supported: {reason}"
        details = {"endpoint_name": self.endpoint, "error": reason}
        return EngineError(400, f"ConfigError.{way}FormatNotSupported", message, details)

    def unknown(self, name: str, known: tuple[str, ...]) -> EngineError:
        way = "input" if self.side == "parser" else "output"
        message = f"Unknown {way} format '{name}': the built-in engine has {', '.join(known)}"
        details = {"endpoint_name": self.endpoint, "format_name": name}
        return EngineError(400, f"ConfigError.Unknown{way.capitalize()}Format", message, details)


def reading(endpoint: str, name: str, config: Any, table: Table) -> InputFormat:
    """Return how the bytes of an endpoint are read into a table; raises what its configuration deserves."""
    given = _given(endpoint, "parser", config)
    if name == "json":
        return _json(given)
    if name == "csv":
        return _csv(given)
    if name == "parquet":
        return Parquet()
    if name == "raw":
        return _raw(given, table)
    raise given.unknown(name, INPUTS)


def writing(endpoint: str, name: str, config: Any, columns: tuple[str, ...]) -> OutputFormat:
    """Return how rows with these columns are written; raises what the configuration deserves."""
    given = _given(endpoint, "encoder", config)
    if name == "json":
        return _json_output(given, columns)
    if name == "csv":
        return CsvOutput(given.delimiter(), given.count("buffer_size_records", CsvOutput.records))
    if name == "parquet":
        return ParquetOutput(given.count("buffer_size_records", ParquetOutput.records))
    if name in INPUTS:
        raise given.unsupported(f"'{name}' is for input only; use {', '.join(OUTPUTS)}")
    raise given.unknown(name, OUTPUTS)


def keyed(endpoint: str, update_format: str, where: str) -> EngineError:
    """Return the refusal of messages with a key where there is no place for one."""
    reason = f"update_format '{update_format}' has keys, for which {where} has no place; use insert_delete"
    return _Given(endpoint, "encoder").senseless(reason)


def _given(endpoint: str, side: str, config: Any) -> _Given:
    if config is not None and not isinstance(config, Mapping):
        raise _Given(endpoint, side).unreadable(f"it must be an object, not {config!r}")
    return _Given(endpoint, side, config or {})


def _json(given: _Given) -> Json:
    update_format = given.one_of("update_format", UPDATE_FORMATS, "insert_delete")
    if update_format not in READ:
        raise given.unsupported(f"update_format '{update_format}' is for output; use {', '.join(READ)}")
    return Json(
        update_format=update_format,
        flavor=given.one_of("json_flavor", tuple(FLAVORS), "default"),
        array=given.flag("array", default=False),
        single_line=given.one_of("lines", ("multiple", "single"), "multiple") == "single",
    )


def _csv(given: _Given) -> Csv:
    found = Csv(
        delimiter=given.delimiter(),
        headers=given.flag("headers", default=False),
        quote=given.character("quote", '"') or '"',
        escape=given.character("escape", None),
        double_quote=given.flag("double_quote", default=True),
        quoting=given.flag("quoting", default=True),
        comment=given.character("comment", None),
        flexible=given.flag("flexible", default=True),
        trim=given.one_of("trim", ("none", "headers", "fields", "all"), "none"),
    )
    special = [found.delimiter, found.quote, *filter(None, (found.escape, found.comment))]
    if set(special) & {"\r", "\n"} or len(set(special)) < len(special):
        reason = "delimiter, quote, escape and comment must differ from each other and from a line's end"
        raise given.senseless(reason)
    return found


def _raw(given: _Given, table: Table) -> Raw:
    lines = given.one_of("mode", ("blob", "lines"), "blob") == "lines"
    name = given.config.get("column_name")
    if name is None:
        if len(table.columns) != 1:
            raise given.senseless(f"'column_name' is required: table '{table.name}' has several columns")
        place = 0
    else:
        place = _place(given, table, name)
    column = table.columns[place]
    if column.kind not in ("text", "binary"):
        raise given.senseless(f"column '{column.name}' must be VARCHAR or VARBINARY, not {column.type}")
    return Raw(place, lines)


def _place(given: _Given, table: Table, name: Any) -> int:
    if not isinstance(name, str):
        raise given.unreadable(f"'column_name' must be a string, not {name!r}")
    for place, column in enumerate(table.columns):
        if column.name == name or (not column.case_sensitive and column.name == name.lower()):
            return place
    raise given.senseless(f"table '{table.name}' has no column '{name}'")


def _json_output(given: _Given, columns: tuple[str, ...]) -> JsonOutput:
    update_format = given.one_of("update_format", UPDATE_FORMATS, "insert_delete")
    if update_format not in WRITTEN:
        raise given.unsupported(f"update_format '{update_format}' is for input; use {', '.join(WRITTEN)}")
    key_fields = _key_fields(given, update_format, columns)
    if update_format == "redis" and key_fields is None:
        raise given.senseless("update_format 'redis' needs 'key_fields'")
    flavor = given.config.get("json_flavor")
    own = {"snowflake": "snowflake", "debezium": "kafka_connect_json_converter"}
    default = own.get(update_format, "default")
    return JsonOutput(
        update_format=update_format,
        flavor=default if flavor is None else given.one_of("json_flavor", tuple(FLAVORS), default),
        array=given.flag("array", default=False),
        records=given.count("buffer_size_records", JsonOutput.records),
        key_fields=key_fields,
    )


def _key_fields(given: _Given, update_format: str, columns: tuple[str, ...]) -> tuple[str, ...] | None:
    names = given.config.get("key_fields")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise given.unreadable(f"'key_fields' must be a list of strings, not {names!r}")
    if update_format not in KEYED:
        raise given.senseless(f"'key_fields' is only for update_format {' or '.join(KEYED)}")
    if not names:
        raise given.senseless("'key_fields' is empty: at least one key column must be given")
    found = []
    for name in names:
        match = name if name in columns else name.lower()
        if match not in columns:
            raise given.senseless(f"'key_fields' names the unknown column '{name}'")
        found.append(match)
    return tuple(found)

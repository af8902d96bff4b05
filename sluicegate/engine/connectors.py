"""Connectors in WITH clauses: from their JSON text to the endpoints of a program (contract §9.2, §9.6).

What every connector has is checked here, at compile time. What a transport or a format wants is checked by
them when the pipeline starts, since references to secrets stand for their values only there.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from sluicegate.engine.transports import registry

NAME = re.compile(r"[a-zA-Z0-9_-]{1,100}")
LARGEST = (1 << 64) - 1
"""The largest number of the wire's unsigned integers."""
COMPUTED = ("preprocessor", "postprocessor")
"""Keys that need code in Rust, which this engine does not run."""
NO_INDEX = "has 'index', for which none of the formats of this engine has a use: leave it out"
NO_SNAPSHOT = "has 'send_snapshot', but the view is not materialized: write CREATE MATERIALIZED VIEW"
WITHOUT_CONFIG = {"null_output", "empty_input"}


class ConnectorProblem(Exception):
    """What is wrong with the connectors of a relation."""


def read(
    relation: str, stream: str, text: str, *, output: bool, materialized: bool = True
) -> dict[str, dict[str, Any]]:
    """Return the endpoint objects of a relation by their names; raises ConnectorProblem.

    `stream` is the relation's name as SQL has it, with quotes where it needs them.
    """
    endpoints: dict[str, dict[str, Any]] = {}
    for index, connector in enumerate(_listed(relation, text)):
        name = connector.get("name")
        name = f"unnamed-{index}" if name is None else name
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConnectorProblem(
                f"Connector name {json.dumps(name)} of '{relation}' is not valid: a name is 1 to 100 "
                "letters, digits, '_' and '-'"
            )
        endpoint = f"{relation}.{name}"
        if endpoint in endpoints:
            raise ConnectorProblem(f"'{relation}' has two connectors named '{name}'; rename one of them")
        reader = _Reader(f"Connector '{name}' of '{relation}'", connector)
        endpoints[endpoint] = {"stream": stream, **reader.read(output=output)}
        if output and not materialized and endpoints[endpoint]["send_snapshot"]:
            reader.refuse(NO_SNAPSHOT)
    return endpoints


def _listed(relation: str, text: str) -> list[Mapping[str, Any]]:
    try:
        connectors = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConnectorProblem(f"Connectors of '{relation}' are not valid JSON: {error}") from error
    if not isinstance(connectors, list) or not all(isinstance(item, dict) for item in connectors):
        raise ConnectorProblem(f"Connectors of '{relation}' must be a JSON list of objects")
    return connectors


class _Reader:
    """Reads the common keys of one connector; keys that are not common are ignored."""

    def __init__(self, who: str, given: Mapping[str, Any]) -> None:
        self._who = who
        self._given = given

    def read(self, *, output: bool) -> dict[str, Any]:
        """Return the endpoint object without its stream."""
        for key in COMPUTED:
            if self._given.get(key) is not None:
                self.refuse(f"has '{key}', which the built-in engine does not support")
        if self._given.get("index") is not None:
            self.refuse(NO_INDEX)
        if self._value("soft_delete", False, _is_flag, "true or false"):
            self.refuse("has 'soft_delete', which the built-in engine does not support")
        endpoint = {
            "transport": self._transport(output=output),
            "format": self._format(),
            "index": None,
            "send_snapshot": self._value("send_snapshot", False, _is_flag, "true or false"),
            "enable_output_buffer": self._value("enable_output_buffer", False, _is_flag, "true or false"),
            "max_output_buffer_time_millis": self._count("max_output_buffer_time_millis", LARGEST),
            "max_output_buffer_size_records": self._count("max_output_buffer_size_records", 10_000_000),
            "max_queued_records": self._count("max_queued_records", 1_000_000),
            "paused": self._value("paused", False, _is_flag, "true or false"),
            "labels": self._value("labels", [], _is_texts, "a list of strings"),
            "start_after": self._start_after(),
        }
        optional = ("max_batch_size", "max_worker_batch_size", "max_queued_bytes")
        return endpoint | {
            key: self._count(key, None) for key in optional if self._given.get(key) is not None
        }

    def _transport(self, *, output: bool) -> dict[str, Any]:
        transport = self._given.get("transport")
        if not isinstance(transport, dict) or not isinstance(transport.get("name"), str):
            self.refuse("has no transport with a name")
        name = transport["name"]
        if complaint := registry.complaint(name, output=output):
            self.refuse(complaint)
        config = transport.get("config")
        if name in WITHOUT_CONFIG and config is None:
            return {"name": name}
        if not isinstance(config, dict):
            self.refuse(f"has the transport '{name}' without its config, which is an object")
        return {"name": name, "config": config}

    def _format(self) -> dict[str, Any] | None:
        found = self._given.get("format")
        if found is None:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            self.refuse("has a format without a name")
        config = found.get("config")
        if config is not None and not isinstance(config, dict):
            self.refuse("has a format whose config is not an object")
        return {"name": found["name"], "config": config or {}}

    def _start_after(self) -> list[str] | None:
        found = self._given.get("start_after")
        if isinstance(found, str):
            return [found]
        if found is not None and not _is_texts(found):
            self.refuse("has a 'start_after' that is neither a label nor a list of labels")
        return found

    def _count(self, key: str, default: int | None) -> Any:
        return self._value(key, default, _is_count, "an integer that is not negative")

    def _value(self, key: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
        found = self._given.get(key)
        if found is None:
            return default
        if not fits(found):
            self.refuse(f"has {json.dumps(found)} as '{key}', which must be {expected}")
        return found

    def refuse(self, why: str) -> NoReturn:
        """Say what is wrong with the connector."""
        raise ConnectorProblem(f"{self._who} {why}")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

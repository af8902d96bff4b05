"""Which transports there are, by the tag that the wire has for each.

A further transport is a module with a class that keeps `protocol`, and its line here. The module is imported
when a pipeline has such a connector, since what it stands on is heavy.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Transport:
    """Where the code of a transport is."""

    module: str
    maker: str
    formats: bool = True
    """Whether its connectors name a format; the others bring typed rows, or need none."""

    def load(self) -> Any:
        """Import the code and return its class."""
        return getattr(import_module(f"sluicegate.engine.transports.{self.module}"), self.maker)


INPUTS = {
    "datagen": Transport("datagen.source", "DatagenSource", formats=False),
    "file_input": Transport("files", "FileSource"),
    "url_input": Transport("urls", "UrlSource"),
    "s3_input": Transport("s3", "S3Source"),
    "empty_input": Transport("empty", "EmptySource", formats=False),
}
OUTPUTS = {
    "file_output": Transport("files", "FileSink"),
    "null_output": Transport("empty", "NullSink", formats=False),
}

_PUSH = "push the rows to the pipeline's HTTP ingress instead"
_PULL = "read the view with HTTP egress or a query instead"
_OBJECTS = "write Parquet files and read them with s3_input or url_input instead"
OTHER_INPUTS = {
    **dict.fromkeys(("kafka_input", "nats_input", "pub_sub_input"), _PUSH),
    **dict.fromkeys(("postgres_input", "postgres_cdc_input"), _PUSH),
    **dict.fromkeys(("delta_table_input", "iceberg_input"), _OBJECTS),
    "nexmark": "use datagen, or push the rows to the pipeline's HTTP ingress, instead",
    **dict.fromkeys(("http_input", "ad_hoc_input", "clock_input"), "the engine makes those by itself"),
}
OTHER_OUTPUTS = {
    **dict.fromkeys(("kafka_output", "postgres_output", "redis_output", "dynamodb_output"), _PULL),
    "delta_table_output": _PULL,
    "http_output": "the engine makes those by itself",
}
"""Transports of the wire that this engine does not have, and what to do instead."""


def complaint(name: str, *, output: bool) -> str | None:
    """Say why a relation cannot have a transport, None where it can."""
    here, there = (OUTPUTS, INPUTS) if output else (INPUTS, OUTPUTS)
    others, wrong_way = (OTHER_OUTPUTS, OTHER_INPUTS) if output else (OTHER_INPUTS, OTHER_OUTPUTS)
    if name in here:
        return None
    kind = "output" if output else "input"
    supported = f"the {kind} transports of this engine are {', '.join(sorted(here))}"
    if name in there or name in wrong_way:
        return f"has the transport '{name}': a {'view' if output else 'table'} needs an {kind}; {supported}"
    if name in others:
        return f"has the transport '{name}', which this engine does not support: {others[name]}; {supported}"
    return f"has the unknown transport '{name}'; {supported}"

"""The configuration of datagen: plans and fields. Every object of it refuses keys that it does not know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluicegate.engine.transports.datagen.words import STRATEGIES
from sluicegate.engine.transports.options import Options
from sluicegate.engine.transports.protocol import BadConfig

GENERAL = ("increment", "uniform", "zipf")
CHUNK = 10_000
"""Rows made at once where nothing is configured."""
LARGEST_CHUNK = 1_000_000
"""Rows held in memory at once, however many are asked for."""
SIGNED = 1 << 63


@dataclass(frozen=True)
class Field:
    """How the values of one column, or of a part of it, are made."""

    where: str = "the field"
    strategy: str = "increment"
    range: list[Any] | None = None
    scale: int | None = None
    exponent: int = 1
    values: list[Any] | None = None
    null_percentage: int = 0
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    value: "Field | None" = None

    @property
    def factor(self) -> int:
        """Return the scale, 1 where none is given."""
        return 1 if self.scale is None else self.scale


@dataclass(frozen=True)
class RowPlan:
    """Some rows that are made alike."""

    rate: int | None
    limit: int | None
    chunk: int
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Settings:
    """The configuration of a connector."""

    plans: tuple[RowPlan, ...]
    seed: int | None


def read(config: Mapping[str, Any]) -> Settings:
    """Read a configuration; raises BadConfig."""
    options = Options("datagen", config, only=("plan", "workers", "seed", "transaction_size"))
    options.count("workers", 1, least=1)  # one process makes the rows in any case
    together = options.count("transaction_size", 0)
    plans = options.items("plan")
    raw = [{}] if plans is None else plans
    return Settings(
        tuple(_plan(f"plan {number} of datagen", plan, together) for number, plan in enumerate(raw)),
        options.count("seed", None),
    )


def _plan(where: str, raw: Any, together: int) -> RowPlan:
    options = Options(where, raw, only=("rate", "limit", "worker_chunk_size", "fields"))
    rate = options.count("rate", None) or None
    chunk = options.count("worker_chunk_size", min(rate or CHUNK, CHUNK), least=1)
    # A step is a transaction, so rows that belong to one are made as one chunk.
    chunk = min(max(chunk, together), LARGEST_CHUNK)
    return RowPlan(rate, options.count("limit", None), chunk, _fields(where, options.get("fields")))


def _fields(where: str, raw: Any) -> dict[str, Field]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise BadConfig(f"the fields of {where} must be an object")
    return {name: _field(f"field '{name}' of {where}", item) for name, item in raw.items()}


def _field(where: str, raw: Any) -> Field:
    keys = ("strategy", "range", "scale", "e", "values", "null_percentage", "fields", "key", "value")
    options = Options(where, raw, only=keys)
    strategy = options.text("strategy") or "increment"
    if strategy not in GENERAL and strategy not in STRATEGIES:
        raise BadConfig(f"{where} has the unknown strategy '{strategy}'")
    span = options.items("range")
    if span is not None and len(span) != 2:
        raise BadConfig(f"{where} has a range that is not a pair")
    scale = options.integer("scale")
    if scale is not None and not -SIGNED <= scale < SIGNED:
        raise BadConfig(f"{where} has a scale that does not fit 64 bits")
    values = options.items("values")
    if values == []:
        raise BadConfig(f"{where} has no values to choose from; leave 'values' out or list some")
    exponent = options.count("e", 1)
    if options.get("key") is not None:
        _field(f"the key of {where}", options.get("key"))  # maps are made empty, but must be described well
    value = options.get("value")
    return Field(
        where,
        strategy,
        span,
        scale,
        exponent,
        values,
        options.count("null_percentage", 0),
        _fields(where, options.get("fields")),
        None if value is None else _field(f"the value of {where}", value),
    )

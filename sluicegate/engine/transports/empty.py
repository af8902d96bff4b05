"""Transports that carry nothing."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sluicegate.engine.transports.protocol import Chunk, Gate, Surroundings


class EmptySource:
    """Ends at once."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Need no configuration."""

    async def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Give nothing, once the connector is active."""
        await gate.opens()
        nothing: tuple[Chunk, ...] = ()
        for chunk in nothing:
            yield chunk


class NullSink:
    """Throws away what it is given."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Need no configuration."""

    async def write(self, data: bytes) -> None:
        """Write nowhere."""

    async def close(self) -> None:
        """Hold nothing."""

"""What the engine and a transport say to each other.

A *source* is made from the `config` of its connector and what surrounds it. Its `chunks` give the input from
an offset on: each chunk is whole records with the offset after it, which the engine stores in the transaction
of the step that takes the chunk. So a source that is given a stored offset goes on exactly after what was
taken, however the process ended. An offset is JSON that only the source itself understands.

    class Source:                                    class Sink:
        def __init__(self, config, surroundings)         def __init__(self, config, surroundings)
        def chunks(self, offset, gate)                   async def write(self, data)
                                                         async def close(self)

`chunks` ends where the input ends. It is asked for the next chunk only while the connector is active and
there is room for more; a source that holds a connection learns from the gate that nobody will ask for a
while. What goes wrong is raised: `Unavailable` may go away, so the engine asks again later for what follows
the last offset; `Fatal` does not. Whatever else is raised counts as fatal.

A source reads files and the network by itself, under the rules of its surroundings. What blocks is done in a
thread. Cancelling the generator is how it is told to end, and everything that it holds is let go of then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Table


class Fatal(Exception):
    """The connector cannot go on."""


class Unavailable(Exception):
    """The other side does not answer as it should; it may do so later."""


class BadConfig(EngineError):
    """The configuration of a connector is wrong: the pipeline does not start."""

    def __init__(self, message: str, code: str = "ConfigError.InvalidTransportConfig") -> None:
        super().__init__(400, code, message, {"error": message})


@dataclass(frozen=True)
class Chunk:
    """Whole records of the input, and where the input goes on after them."""

    data: Any
    """Bytes in the connector's format, or a pyarrow.Table with the columns of the relation."""
    offset: Any
    first: bool = True
    """Whether the bytes are the beginning of a file or object, where a header may stand."""
    size: int = 0
    """Bytes that the chunk counts for, where the data are rows."""
    problem: str | None = None
    """What went wrong before the offset; there are no data then, and the input goes on after it."""


class Splitter(Protocol):
    """Finds where records end; one for each file or object."""

    def feed(self, data: bytes) -> None:
        """Take what has been read."""

    def piece(self) -> bytes | None:
        """Return whole records, as many as make up a chunk, or None where more has to come first."""

    def rest(self) -> bytes | None:
        """Return what is left at the end of the input, if anything."""


class Gate:
    """Whether the connector is active: the pipeline runs, and so does the connector."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether chunks are asked for."""
        return self._open.is_set()

    def set(self, *, active: bool) -> None:
        """Open or close it."""
        if active:
            self._open.set()
        else:
            self._open.clear()

    async def opens(self, seconds: float | None = None) -> bool:
        """Wait until it is open; False where that takes longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True)
class Surroundings:
    """What a transport is given beside its configuration."""

    relation: Table | None = None
    """The table that a source feeds; None for a sink."""
    splitter: Callable[[], Splitter] | None = None
    """Makes the splitter of the connector's format."""
    folders: tuple[Path, ...] = ()
    """Folders in which files may be read and written."""
    networks: tuple[str, ...] = ()
    """Networks, other than public ones, that may be reached."""
    most: int | None = None
    """Rows that a chunk may have; for bytes the splitter sees to it."""


class Source(Protocol):
    """Where the rows of a table come from."""

    def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Give the input after an offset, from its beginning where there is none."""


class Sink(Protocol):
    """Where the changes of a view go to."""

    async def write(self, data: bytes) -> None:
        """Take what the encoder made of the changes of one step; it is safe when this returns."""

    async def close(self) -> None:
        """Let go of everything."""

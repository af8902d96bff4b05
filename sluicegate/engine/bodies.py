"""How much of the bodies of requests may be in memory before a step has taken it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sluicegate.engine.errors import EngineError

MOST = 256 << 20
"""Bytes of all requests together."""


class Bodies:
    """The bodies of all requests that are read, wait, or are taken: so many bytes of them, and no more."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Yield what counts bytes for the length of the block, and raises where there is no room for them."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if self._held + size > self._most:
                message = f"More than {self._most >> 20} MiB of input wait already; try again later"
                raise EngineError(503, "TooMuchInputWaits", message)
            mine += size
            self._held += size

        try:
            yield hold
        finally:
            self._held -= mine

"""Cuts a stream of bytes where records end, and knows the position in bytes after each cut."""

from collections.abc import AsyncIterator

from sluicegate.engine.transports.protocol import Splitter

LARGEST = 64 << 20
"""The most bytes that may be read at once."""
PIECE = 1 << 20
"""Bytes read at once where nothing is configured."""


async def whole_records(
    pieces: AsyncIterator[bytes], splitter: Splitter, at: int
) -> AsyncIterator[tuple[bytes, int]]:
    """Yield runs of whole records and the position after each; the stream begins at position `at`."""
    async for piece in pieces:
        splitter.feed(piece)
        while records := splitter.piece():
            at += len(records)
            yield records, at
    records = splitter.rest()
    if records or (records is not None and not at):  # a whole that is empty; not one that was read before
        yield records, at + len(records)

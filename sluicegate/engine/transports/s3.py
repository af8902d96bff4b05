"""Objects of S3: one, or all whose keys begin alike, in the order of their keys (contract §9.6).

An offset is `{"key", "at", "etag"}`: so many bytes of an object have been read, or all where `at` is null.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError, GenericError, NotFoundError, PreconditionError
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore import GetOptions

from sluicegate.engine.transports import framing, objectstore
from sluicegate.engine.transports.objectstore import FIRST_PAUSE, LONGEST_PAUSE
from sluicegate.engine.transports.options import Options
from sluicegate.engine.transports.outbound import Outbound
from sluicegate.engine.transports.protocol import BadConfig, Chunk, Fatal, Gate, Splitter, Surroundings

FETCHES = 8
RETRIES = 5


class _Changed(Exception):
    """The object is another one than the one that was begun."""


class S3Source:
    """Reads objects."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Read the configuration; raises BadConfig."""
        options = Options("s3_input", config)
        self._bucket = options.required_text("bucket_name")
        self._region = options.required_text("region")
        self._key, self._prefix = options.text("key"), options.text("prefix")
        if (self._key is None) == (self._prefix is None):
            raise BadConfig("s3_input needs either 'key' or 'prefix', and not both")
        self._endpoint = options.text("endpoint_url")
        self._fetches = options.count("max_concurrent_fetches", FETCHES, least=1)
        self._retries = options.count("max_retries", RETRIES)
        self._credentials = _credentials(options)
        self._surroundings = surroundings

    async def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Read what follows in the object that was begun, then those after it."""
        assert self._surroundings.splitter is not None
        await gate.opens()
        await objectstore.check(self._endpoint, self._surroundings.networks)
        outbound = Outbound(self._surroundings.networks)
        try:
            store = self._store(await outbound.start())
            async for reading in self._readings(store, offset or {}, gate):
                async for chunk in reading.chunks(self._surroundings.splitter()):
                    yield chunk
        except (NotFoundError, FileNotFoundError) as error:
            raise Fatal(f"there is no such object or bucket: {objectstore.said(error)}") from error
        except BaseError as error:
            raise Fatal(f"the object store refuses: {objectstore.said(error)}") from error
        finally:
            await outbound.close()

    def _store(self, proxy: str) -> S3Store:
        config: dict[str, Any] = {"region": self._region, **self._credentials}
        if self._endpoint is not None:
            config["endpoint"] = self._endpoint
        return objectstore.client(self._bucket, proxy, self._retries, config)

    async def _readings(
        self, store: S3Store, offset: Mapping[str, Any], gate: Gate
    ) -> AsyncIterator["_Reading"]:
        """Give the objects in order; some are asked for before it is their turn."""
        ahead: deque[_Reading] = deque()
        try:
            async for key, at, etag in self._keys(store, offset):
                ahead.append(_Reading(store, key, self._retries, gate))
                ahead[-1].begin(at, etag)
                if len(ahead) >= self._fetches:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for reading in ahead:
                reading.cancel()

    async def _keys(
        self, store: S3Store, offset: Mapping[str, Any]
    ) -> AsyncIterator[tuple[str, int, str | None]]:
        last = offset.get("key")
        if last is not None and offset["at"] is not None:
            yield last, offset["at"], offset["etag"]
        if self._key is not None:
            if last is None:
                yield self._key, 0, None
            return
        assert self._prefix is not None
        # The library lists whole folders, so those that only begin alike are left out here.
        folder = self._prefix.rpartition("/")[0] or None
        async for page in store.list(folder, offset=last):
            for found in page:
                if found["path"].startswith(self._prefix):
                    yield found["path"], 0, None


class _Reading:
    """One object that is being read."""

    def __init__(self, store: S3Store, key: str, retries: int, gate: Gate) -> None:
        self._store = store
        self._key = key
        self._retries = retries
        self._gate = gate
        self._etag: str | None = None
        self._at = 0
        self._size: int | None = None
        self._asked: asyncio.Task[Any] | None = None

    def begin(self, at: int, etag: str | None) -> None:
        """Ask for the object from a position on, as it was when it was begun."""
        self._at, self._etag = at, etag
        self._asked = asyncio.create_task(self._ask())

    def cancel(self) -> None:
        """Ask no more."""
        if self._asked is not None:
            self._asked.cancel()

    async def chunks(self, splitter: Splitter) -> AsyncIterator[Chunk]:
        """Give the records of the object."""
        last = Chunk(b"", None)
        try:
            async for data, end in framing.whole_records(self._pieces(), splitter, self._at):
                if last.data:
                    yield last
                last = Chunk(data, self._offset(end), first=end == len(data))
        except _Changed:
            if last.data:
                yield last
            problem = f"object '{self._key}' has changed while it was read; the rest of it is skipped"
            last = Chunk(b"", None, problem=problem)
        # The last records and the end of the object are one: nothing is asked for after the end.
        yield replace(last, offset=self._offset(None))

    def _offset(self, at: int | None) -> dict[str, Any]:
        return {"key": self._key, "at": at, "etag": self._etag}

    async def _ask(self) -> Any:
        options: GetOptions = {}
        if self._at:
            options["range"] = {"offset": self._at}
        if self._etag is not None:
            options["if_match"] = self._etag
        try:
            return await self._store.get_async(self._key, options=options)
        except PreconditionError as error:
            raise _Changed from error

    async def _pieces(self) -> AsyncIterator[bytes]:
        tries = 0
        while True:
            await self._gate.opens()
            try:
                async for piece in self._stream():
                    tries = 0
                    yield piece
                if self._at == self._size:
                    return
                raise GenericError(f"object '{self._key}' ended after {self._at} of {self._size} bytes")
            except BaseError:
                if self._at == self._size:
                    return
                if tries >= self._retries:
                    raise
                await asyncio.sleep(min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE))
                tries += 1

    async def _stream(self) -> AsyncIterator[bytes]:
        asked, self._asked = self._asked, None
        result = await (asked or self._ask())
        self._etag, self._size = result.meta["e_tag"], result.meta["size"]
        async for piece in result.stream(min_chunk_size=framing.PIECE):
            self._at += len(piece)
            yield bytes(piece)
            await self._gate.opens()


def _credentials(options: Options) -> dict[str, Any]:
    key, secret = options.text("aws_access_key_id"), options.text("aws_secret_access_key")
    if options.flag("no_sign_request"):
        return {"skip_signature": True}
    if (key is None) != (secret is None):
        raise BadConfig("s3_input needs both of 'aws_access_key_id' and 'aws_secret_access_key', or neither")
    token = None
    if key is None:
        found = objectstore.environment()
        key, secret = found.get("AWS_ACCESS_KEY_ID"), found.get("AWS_SECRET_ACCESS_KEY")
        token = found.get("AWS_SESSION_TOKEN")
    if not key or not secret:
        raise BadConfig(
            "s3_input has no credentials: give 'aws_access_key_id' and 'aws_secret_access_key', set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the pipeline's env, or set 'no_sign_request'"
        )
    given = {"access_key_id": key, "secret_access_key": secret}
    return given if token is None else {**given, "session_token": token}

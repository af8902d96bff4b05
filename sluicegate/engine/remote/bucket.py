"""One place in S3-compatible storage: objects by name, conditional writes, and errors that say what to do.

Everything goes through the proxy of `outbound`, so a bucket is reached by the same rules as what connectors
name. Contents of objects are never held whole but for small ones.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import S3Store

from sluicegate.engine.remote.config import Place, SyncConfig
from sluicegate.engine.remote.failures import Conflict, Missing, RemoteError
from sluicegate.engine.remote.receiving import Receiver
from sluicegate.engine.transports import objectstore
from sluicegate.engine.transports.outbound import Outbound
from sluicegate.engine.transports.protocol import Fatal, Unavailable

RETRIES = 5
PIECE = 1 << 20
"""Bytes of a download that are written at once; each transfer holds a few of them."""
PART = 8 << 20
"""Bytes of one part of an upload, and what is held of it."""
PARTS = 2
"""Parts of a file that are under way at once: twenty files make 320 MiB."""
ANEW = 3
"""How often a download that breaks off is begun."""
STATUS = re.compile(r"status code: (\d+)")
CODE = re.compile(r"<Code>([^<]*)</Code>")
MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
UNSUPPORTED = ("NotImplemented", "501")


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it."""

    size: int
    modified: datetime


@dataclass(frozen=True)
class Found:
    """An object and its version."""

    data: bytes
    tag: str | None


@dataclass(frozen=True)
class Buckets:
    """What a pipeline reads from, and the one that it writes to."""

    own: "Bucket"
    seed: "Bucket | None"


class Bucket:
    """One place."""

    def __init__(self, store: S3Store, place: Place, secrets: Collection[str]) -> None:
        """Use a client; the values of secrets are left out of all errors."""
        self._store = store
        self._secrets = secrets
        self.place = place

    async def read(self, key: str) -> Found:
        """Return a small object; raises Missing."""
        with self._telling(f"reading '{key}'"):
            result = await self._store.get_async(key)
            return Found(bytes(await result.bytes_async()), result.meta["e_tag"])

    async def write(self, key: str, data: bytes, *, over: str | None) -> str | None:
        """Write a small object over a version of it, None where there must be none; return the new one.

        Raises Conflict. With a server that knows no conditional writes it is compared here, just before.
        """
        with self._telling(f"writing '{key}'"):
            try:
                mode = "create" if over is None else {"e_tag": over}
                result = await self._store.put_async(key, data, mode=mode)  # type: ignore[arg-type]
            except BaseError as error:
                if not _is_unsupported(error):
                    raise
                if await self._tag(key) != over:
                    raise PreconditionError(f"'{key}' has changed") from error
                result = await self._store.put_async(key, data)
        return result["e_tag"]

    async def _tag(self, key: str) -> str | None:
        try:
            return (await self._store.head_async(key))["e_tag"]
        except FileNotFoundError:
            return None

    async def replace(self, key: str, data: bytes) -> None:
        """Write a small object, whatever is there."""
        with self._telling(f"writing '{key}'"):
            await self._store.put_async(key, data)

    async def upload(self, key: str, path: Path) -> None:
        """Write a file; it appears whole or not at all."""
        with path.open("rb") as file, self._telling(f"writing '{key}'"):
            await self._store.put_async(key, file, chunk_size=PART, max_concurrency=PARTS)

    async def download(self, key: str, target: Path) -> int:
        """Write an object to a file, down to the disk; returns its bytes. Raises Missing, OSError."""
        for last in (False,) * (ANEW - 1) + (True,):
            try:
                with self._telling(f"reading '{key}'"):
                    return await self._downloaded(key, target)
            except Missing:
                raise
            except RemoteError:
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _downloaded(self, key: str, target: Path) -> int:
        result = await self._store.get_async(key)
        async with Receiver.to(target) as receiver:
            async for piece in result.stream(min_chunk_size=PIECE):
                await asyncio.to_thread(receiver.take, piece)
            if receiver.size != result.meta["size"]:
                raise RemoteError(f"'{key}' ended after {receiver.size} of {result.meta['size']} bytes")
            await asyncio.to_thread(receiver.finish)
            return receiver.size

    async def list(self, folder: str) -> dict[str, Listed]:
        """Return the objects of a folder by their names in it."""
        found = {}
        with self._telling(f"listing '{folder}/'"):
            async for page in self._store.list(folder):
                for meta in page:
                    name = meta["path"].removeprefix(f"{folder}/")
                    found[name] = Listed(meta["size"], meta["last_modified"])
        return found

    async def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        if keys:
            with self._telling("deleting objects"):
                await self._store.delete_async(list(keys))

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Have errors say where, what and why."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise Conflict(f"bucket '{self.place}': {doing}: it has changed meanwhile") from error
        except BaseError as error:
            raise RemoteError(self._said(doing, error)) from error
        except FileNotFoundError as error:
            kind = RemoteError if "NoSuchBucket" in str(error) else Missing
            raise kind(self._said(doing, error)) from error

    def _said(self, doing: str, error: Exception) -> str:
        text = objectstore.said(error)
        status, code, message = (found[1] if found else "" for found in (e.search(text) for e in EACH))
        if code == "NoSuchBucket":
            return f"bucket '{self.place.bucket}' does not exist ({doing})"
        if status in ("401", "403"):
            why = self._clean(f"{code}: {message}" if code else text)
            return f"bucket '{self.place}' refuses the credentials or what they may do ({doing}): {why}"
        # What comes before a dash is how long it took, which would make every failure another one.
        why = f"{status} {code}: {message}" if code else text.rpartition(" - ")[2]
        return f"bucket '{self.place}': {doing} failed: {self._clean(why)}"

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text


EACH = (STATUS, CODE, MESSAGE)


def _is_unsupported(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, NotSupportedError) or any(word in text for word in UNSUPPORTED)


@asynccontextmanager
async def connected(config: SyncConfig, networks: tuple[str, ...]) -> AsyncIterator[Buckets]:
    """Reach the buckets for as long as something is to be done with them."""
    try:
        await objectstore.check(config.endpoint, networks)
    except (Fatal, Unavailable) as error:
        raise RemoteError(f"the object store cannot be reached: {error}") from error
    outbound = Outbound(networks)
    try:
        proxy = await outbound.start()
        own = _bucket(config, config.bucket, proxy)
        seed = None if config.read_bucket is None else _bucket(config, config.read_bucket, proxy)
        yield Buckets(own, seed)
    finally:
        await outbound.close()


def _bucket(config: SyncConfig, place: Place, proxy: str) -> Bucket:
    given = {"region": config.region, **config.credentials}
    if config.endpoint is not None:
        given["endpoint"] = config.endpoint
    if place.prefix:
        given["prefix"] = place.prefix
    return Bucket(objectstore.client(place.bucket, proxy, RETRIES, given), place, config.credentials.values())

"""A server of buckets, and what reaches it."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from sluicegate.engine.remote.bucket import Bucket, connected
from sluicegate.engine.remote.config import SyncConfig
from tests.engine import objectserver
from tests.engine.objectserver import KEYS

LOOPBACK = ("127.0.0.0/8",)
PLACES = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server; yields its URL."""
    with objectserver.running(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def place() -> str:
    """Name a place that nobody else uses."""
    return f"bucket/place-{next(PLACES)}"


def asked(url: str, place: str, **more: Any) -> dict[str, Any]:
    """Return what a user writes as `sync`."""
    keys = {"access_key": KEYS["access_key_id"], "secret_key": KEYS["secret_access_key"]}
    return {"bucket": place, "endpoint": url, **keys, **more}


def config(url: str, place: str, **more: Any) -> SyncConfig:
    """Return a configuration as it was read."""
    return SyncConfig.read(asked(url, place, **more))


@pytest_asyncio.fixture
async def bucket(server: str, place: str) -> AsyncIterator[Bucket]:
    """Reach a place of its own."""
    async with connected(config(server, place), LOOPBACK) as buckets:
        yield buckets.own


@pytest_asyncio.fixture
async def seed(server: str) -> AsyncIterator[Bucket]:
    """Reach another place."""
    async with connected(config(server, f"bucket/place-{next(PLACES)}"), LOOPBACK) as buckets:
        yield buckets.own

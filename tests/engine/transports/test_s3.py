"""Objects of a real S3-protocol server: keys in order, resumed exactly, and what may not be reached."""

from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.engine.transports.protocol import BadConfig, Fatal
from sluicegate.engine.transports.s3 import S3Source
from tests.engine import objectserver
from tests.engine.objectserver import store
from tests.engine.transports.conftest import LOOPBACK, all_of, around, opened, until

LINES = b"".join(b"line %d\n" % n for n in range(2000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server; yields its URL."""
    with objectserver.running(tmp_path_factory.mktemp("s3")) as url:
        yield url


def source(url: str, networks: tuple[str, ...] = LOOPBACK, **config: Any) -> S3Source:
    """Return the source of objects."""
    given = {
        "bucket_name": "bucket",
        "region": "us-east-1",
        "endpoint_url": url,
        "aws_access_key_id": "reader",
        "aws_secret_access_key": "a secret key",
        **config,
    }
    return S3Source(
        {key: value for key, value in given.items() if value is not None}, around(networks=networks)
    )


async def test_one_object_and_an_exact_resume(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.engine.transports.framing.PIECE", 5000)
    await store(server).put_async("one/big", LINES)
    chunks = [chunk async for chunk in source(server, key="one/big").chunks(None, opened())]
    assert b"".join(chunk.data for chunk in chunks) == LINES
    assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert chunks[-1].offset["at"] is None
    done = b""
    for chunk in chunks:
        done += chunk.data
        assert (await all_of(source(server, key="one/big"), chunk.offset))[0] == LINES[len(done) :]


@pytest.mark.parametrize("fetches", [1, 8])
async def test_all_keys_in_order(server: str, fetches: int) -> None:
    client = store(server)
    for key in ("many/b", "many/a", "many/sub/c", "many/b2", "mania", "many2/x"):
        await client.put_async(key, f"{key}\n".encode())
    given: dict[str, Any] = {"prefix": "many/", "max_concurrent_fetches": fetches}
    found, offset = await all_of(source(server, **given))
    assert found.decode().splitlines() == ["many/a", "many/b", "many/b2", "many/sub/c"]
    assert await all_of(source(server, **given), offset) == (b"", offset)
    assert (await all_of(source(server, prefix="many/b")))[0] == b"many/b\nmany/b2\n"
    assert (await all_of(source(server, **given), {"key": "many/b", "at": None, "etag": None}))[0] == (
        b"many/b2\nmany/sub/c\n"
    )


async def test_an_object_that_changes_while_it_is_read(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.engine.transports.framing.PIECE", 5000)
    client = store(server)
    await client.put_async("changing/a", LINES)
    await client.put_async("changing/b", b"next\n")
    chunks = source(server, prefix="changing/").chunks(None, opened())
    first = await until(chunks, 1)
    await chunks.aclose()  # type: ignore[attr-defined]
    await client.put_async("changing/a", LINES[::-1])
    rest = [chunk async for chunk in source(server, prefix="changing/").chunks(first.offset, opened())]
    assert [chunk.data for chunk in rest] == [b"", b"next\n"]
    assert rest[0].problem is not None
    assert "has changed" in rest[0].problem


@pytest.mark.parametrize(
    ("config", "part"),
    [
        pytest.param({"key": "nothing"}, "no such object", id="no object"),
        pytest.param({"key": "x", "bucket_name": "nobody"}, "object store refuses|no such", id="no bucket"),
        pytest.param({"key": "x", "aws_secret_access_key": "wrong"}, "object store refuses", id="wrong key"),
    ],
)
async def test_it_ends_with_an_error(server: str, config: dict[str, Any], part: str) -> None:
    with pytest.raises(Fatal, match=part):
        await all_of(source(server, max_retries=0, **config))


async def test_a_private_endpoint_is_refused(server: str) -> None:
    with pytest.raises(Fatal, match="SLUICEGATE_CONNECTOR_NETWORKS"):
        await all_of(source(server, networks=(), key="x"))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        pytest.param({}, "either 'key' or 'prefix'", id="neither"),
        pytest.param({"key": "a", "prefix": "b"}, "either 'key' or 'prefix'", id="both"),
        pytest.param({"key": "a", "aws_access_key_id": None}, "needs both", id="half of the credentials"),
        pytest.param({"key": "a", "max_concurrent_fetches": 0}, "max_concurrent_fetches", id="no fetch"),
        pytest.param({"key": "a", "region": None}, "needs 'region'", id="no region"),
        pytest.param(
            {"key": "a", "aws_access_key_id": None, "aws_secret_access_key": None},
            "no credentials",
            id="no",
        ),
    ],
)
def test_wrong_configurations(config: dict[str, Any], part: str) -> None:
    with pytest.raises(BadConfig, match=part):
        source("http://127.0.0.1", **config)

"""A place in a real server: what is written conditionally, and how errors say what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from sluicegate.engine.remote.bucket import Bucket, connected
from sluicegate.engine.remote.failures import Conflict, Missing, RemoteError
from tests.engine.remote.conftest import LOOPBACK, config


async def test_a_file_there_and_back(bucket: Bucket, tmp_path: Path) -> None:
    data = bytes(range(256)) * 80_000  # more than one part
    (tmp_path / "one").write_bytes(data)
    await bucket.upload("folder/one", tmp_path / "one")
    assert await bucket.download("folder/one", tmp_path / "two") == len(data)
    assert (tmp_path / "two").read_bytes() == data
    listed = await bucket.list("folder")
    assert {name: each.size for name, each in listed.items()} == {"one": len(data)}
    await bucket.delete(["folder/one", "folder/none"])
    assert await bucket.list("folder") == {}
    with pytest.raises(Missing):
        await bucket.download("folder/one", tmp_path / "two")


async def test_writing_over_what_was_read(bucket: Bucket) -> None:
    first = await bucket.write("one", b"1", over=None)
    with pytest.raises(Conflict):
        await bucket.write("one", b"2", over=None)
    second = await bucket.write("one", b"3", over=first)
    with pytest.raises(Conflict):
        await bucket.write("one", b"4", over=first)
    found = await bucket.read("one")
    assert (found.data, found.tag) == (b"3", second)


@pytest.mark.parametrize(
    ("place", "more", "part"),
    [
        pytest.param("nobody", {}, "bucket 'nobody' does not exist", id="no bucket"),
        pytest.param("bucket", {"secret_key": "mistyped"}, "refuses the credentials", id="wrong key"),
        pytest.param("bucket", {"access_key": "stranger"}, "refuses the credentials", id="stranger"),
        pytest.param("bucket", {"endpoint": "http://127.0.0.1:9"}, "reading 'one' failed", id="nobody there"),
    ],
)
async def test_what_is_wrong_is_said(
    server: str, place: str, more: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.engine.remote.bucket.RETRIES", 0)
    given = config(server, place, **more)
    async with connected(given, LOOPBACK) as buckets:
        with pytest.raises(RemoteError, match=part) as caught:
            await buckets.own.read("one")
        assert not isinstance(caught.value, Missing)
        with pytest.raises(RemoteError):
            await buckets.own.list("folder")
    assert "retries" not in str(caught.value)  # nor how long it took: the same failure reads the same
    for secret in given.credentials.values():
        assert secret not in str(caught.value)


async def test_a_private_endpoint_is_refused(server: str) -> None:
    with pytest.raises(RemoteError, match="SLUICEGATE_CONNECTOR_NETWORKS"):
        async with connected(config(server, "bucket"), ()):
            pass

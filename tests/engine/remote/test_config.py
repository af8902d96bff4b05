"""What `sync` asks for: what is not given, what cannot be, and secrets that nobody sees."""

from datetime import timedelta
from typing import Any

import pytest

from sluicegate.engine.remote.asked import given
from sluicegate.engine.remote.config import Place, SyncConfig
from sluicegate.engine.remote.failures import RemoteError
from sluicegate.protocol import secret_variable
from tests.engine.remote.conftest import asked


def test_what_is_not_given() -> None:
    found = SyncConfig.read({"bucket": "a/b/c/", "access_key": "key", "secret_key": "secret", "region": ""})
    assert found.bucket == Place("a", "b/c")
    assert found.read_bucket is None
    assert (found.region, found.endpoint) == ("us-east-1", None)
    assert (found.pull_interval, found.push_interval) == (10, None)
    assert (found.retention_min_count, found.retention_min_age) == (10, timedelta(days=30))
    assert not found.fail_if_no_checkpoint
    assert str(found.bucket) == "a/b/c"


@pytest.mark.parametrize(
    ("more", "part"),
    [
        pytest.param({"standby": True}, "initial=standby", id="a key that is no longer used"),
        pytest.param({"read_bucket": "here"}, "must differ", id="one bucket twice"),
        pytest.param({"read_bucket": "s3://there"}, "'bucket/prefix'", id="a scheme"),
        pytest.param({"access_key": None}, "needs both", id="half of the credentials"),
        pytest.param({"access_key": None, "secret_key": None}, "no credentials", id="no credentials"),
        pytest.param({"secret_key": "${secret:nobody}"}, r"\$\{secret:nobody\}", id="an unknown secret"),
    ],
)
def test_what_cannot_be(more: dict[str, Any], part: str) -> None:
    with pytest.raises(RemoteError, match=part) as caught:
        SyncConfig.read(asked("http://127.0.0.1", "here", **more))
    assert caught.value.code == "CheckpointFetchError"


def test_secrets_are_looked_up_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret_variable("secret:store"), "a value")
    found = SyncConfig.read(asked("http://127.0.0.1", "here", secret_key="${secret:store}"))
    assert found.credentials["secret_access_key"] == "a value"
    assert "a value" not in repr(found)


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_S3_ACCESS_KEY_ID", "from there")
    monkeypatch.setenv("RCLONE_S3_SECRET_ACCESS_KEY", "a value")
    assert SyncConfig.read({"bucket": "here"}).credentials == {
        "access_key_id": "from there",
        "secret_access_key": "a value",
    }


@pytest.mark.parametrize(
    "storage",
    [
        None,
        {"backend": {"name": "default"}},
        {"backend": {"name": "object", "config": {"sync": {"bucket": "here"}}}},
        {"backend": {"name": "file", "config": {"sync": None}}},
    ],
)
def test_only_the_file_backend_has_it(storage: Any) -> None:
    assert given({"storage": storage}) is None
    backend = {"name": "file", "config": {"sync": {"bucket": "here"}}}
    assert given({"storage": {"backend": backend}}) == {"bucket": "here"}

"""What `storage.backend.config.sync` asks for (contract §9.5), with its secrets and what is not given.

`SyncConfig.read` raises RemoteError where a value cannot be used. The API has checked the types.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sluicegate.engine.remote.failures import RemoteError
from sluicegate.engine.transports import objectstore
from sluicegate.protocol import compose, secret_variable

DEFAULT_REGION = "us-east-1"
SHORTEST = 1.0
"""Seconds between two looks or pushes, however few are asked for."""
TRANSFERS = 20
"""Files at once where nothing is asked for."""
KEY_NAMES = (
    ("RCLONE_S3_ACCESS_KEY_ID", "RCLONE_S3_SECRET_ACCESS_KEY", "RCLONE_S3_SESSION_TOKEN"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
"""Variables of the pipeline's environment, the first that are set count."""


@dataclass(frozen=True)
class Place:
    """A bucket, and where in it: `bucket` or `bucket/prefix`."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str, key: str) -> "Place":
        """Read a place; raises RemoteError."""
        bucket, _, prefix = text.partition("/")
        if not bucket or "://" in text:
            raise RemoteError(f"sync.{key} must be 'bucket' or 'bucket/prefix', not '{text}'")
        return cls(bucket, prefix.strip("/"))

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


@dataclass(frozen=True)
class SyncConfig:
    """Where checkpoints are pushed to and pulled from, and how."""

    bucket: Place
    read_bucket: Place | None
    endpoint: str | None
    region: str
    credentials: Mapping[str, str] = field(repr=False)
    start_from_checkpoint: str | None
    fail_if_no_checkpoint: bool
    pull_interval: float
    push_interval: float | None
    retention_min_count: int
    retention_min_age: timedelta
    transfers: int
    ignore_checksum: bool

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "SyncConfig":
        """Read the configuration; raises RemoteError."""
        found = compose(dict(raw), _secret)
        if found.get("standby"):
            raise RemoteError(
                "sync.standby is no longer used: start the pipeline with initial=standby instead"
            )
        if found.get("read_bucket") == found["bucket"]:
            raise RemoteError("sync.read_bucket must differ from sync.bucket, which is read anyway")
        read_bucket = found.get("read_bucket")
        push_interval = found.get("push_interval")
        return cls(
            bucket=Place.parse(found["bucket"], "bucket"),
            read_bucket=None if read_bucket is None else Place.parse(read_bucket, "read_bucket"),
            endpoint=found.get("endpoint") or None,
            region=found.get("region") or DEFAULT_REGION,
            credentials=_credentials(found),
            start_from_checkpoint=found.get("start_from_checkpoint"),
            fail_if_no_checkpoint=bool(found.get("fail_if_no_checkpoint")),
            pull_interval=max(SHORTEST, float(found.get("pull_interval", 10))),
            push_interval=None if push_interval is None else max(SHORTEST, float(push_interval)),
            retention_min_count=int(found.get("retention_min_count", 10)),
            retention_min_age=timedelta(days=int(found.get("retention_min_age", 30))),
            transfers=max(1, int(found.get("transfers") or TRANSFERS)),
            ignore_checksum=bool(found.get("ignore_checksum")),
        )


def _credentials(found: Mapping[str, Any]) -> dict[str, str]:
    key, secret = found.get("access_key"), found.get("secret_key")
    if (key is None) != (secret is None):
        raise RemoteError("sync needs both of 'access_key' and 'secret_key', or neither")
    token = None
    if key is None:
        key, secret, token = _from_environment()
    if not key or not secret:
        raise RemoteError(
            "sync has no credentials: give 'access_key' and 'secret_key', or set RCLONE_S3_ACCESS_KEY_ID and "
            "RCLONE_S3_SECRET_ACCESS_KEY in the pipeline's env"
        )
    keys = {"access_key_id": key, "secret_access_key": secret}
    return keys if token is None else {**keys, "session_token": token}


def _from_environment() -> tuple[str | None, str | None, str | None]:
    known = {**os.environ, **objectstore.environment()}
    for names in KEY_NAMES:
        key, secret, token = (known.get(name) for name in names)
        if key and secret:
            return key, secret, token
    return None, None, None


def _secret(reference: str) -> str:
    found = os.environ.get(secret_variable(reference))
    if found is None:
        raise RemoteError(f"${{{reference}}} in the configuration of sync is not known to this process")
    return found

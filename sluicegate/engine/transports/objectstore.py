"""A client of S3-compatible storage, for connectors and for checkpoints."""

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.store import S3Store

from sluicegate.engine.transports import network

if TYPE_CHECKING:
    from obstore.store import BackoffConfig

FIRST_PAUSE = 0.1
"""Seconds before the first retry; twice as many before each further one."""
LONGEST_PAUSE = 15
SILENCE = timedelta(seconds=60)
"""How long a server may send nothing."""
WHOLE = timedelta(days=30)
"""How long an object may take: as long as something comes."""


def client(bucket: str, proxy: str, retries: int, config: Mapping[str, Any]) -> S3Store:
    """Return a client of one bucket, which reaches it through a proxy of `outbound`."""
    pause: BackoffConfig = {
        "init_backoff": timedelta(seconds=FIRST_PAUSE),
        "max_backoff": timedelta(seconds=LONGEST_PAUSE),
        "base": 2,
    }
    return S3Store(
        bucket,
        client_options={
            "proxy_url": proxy,
            "allow_http": True,
            "timeout": WHOLE,
            "read_timeout": SILENCE,
        },
        retry_config={"max_retries": retries, "backoff": pause},
        **config,
    )


async def check(endpoint: str | None, networks: tuple[str, ...]) -> None:
    """See that an endpoint may be reached, for a better message than the proxy's; raises Fatal."""
    if endpoint is not None:
        parts = urlsplit(endpoint)
        await network.resolve(parts.hostname or "", parts.port or 443, networks)


@cache
def environment() -> dict[str, str]:
    """Take the variables for AWS out of the environment.

    The library would read more from them than credentials: other endpoints, and ways around the proxy.
    """
    names = [name for name in os.environ if name.upper().startswith("AWS_")]
    return {name.upper(): os.environ.pop(name) for name in names}


def said(error: Exception) -> str:
    """Return what the library says of an error, without its debug text."""
    return str(error).partition("\n\nDebug source")[0].strip()

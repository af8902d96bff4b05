"""What the operator's commands do with pipelines, through the REST API like everybody else."""

from collections.abc import Callable
from typing import Any

import httpx

from sluicegate.client import Client, ClientError, Refused
from sluicegate.settings import Settings

STOP_WITHIN = 60.0
"""A forced stop takes seconds; a minute means that something is wrong."""
PATIENCE = httpx.Timeout(30.0, connect=5.0)


def client_of(settings: Settings, url: str, patience: httpx.Timeout = PATIENCE) -> Client:
    """Speak to this machine's API with the first of its keys."""
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    return Client(url, key, patience=patience)


def stop_all(client: Client) -> tuple[list[str], list[str]]:
    """Stop every pipeline by force and wait; return the names of those stopped and of those that are not."""
    names = [pipeline.name for pipeline in client.pipelines() if not pipeline.stopped]
    for name in names:
        _done(client.stop, name, force=True)
    stopped = [name for name in names if _done(client.wait, name, "stopped", seconds=STOP_WITHIN)]
    return stopped, [name for name in names if name not in stopped]


def _done(call: Callable[..., object], *args: Any, **options: Any) -> bool:
    """Say whether a call succeeded, or its pipeline has gone meanwhile."""
    try:
        call(*args, **options)
    except Refused as error:
        return error.status == httpx.codes.NOT_FOUND
    except ClientError:
        return False
    return True

"""Primary and standby with real engines and a real object store, through the API and the official client."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import PipelineStatus
from feldera.rest.errors import FelderaAPIError
from feldera.rest.retry import RetryConfig
from feldera.runtime_config import RuntimeConfig, Storage
from temporalio.testing import WorkflowEnvironment

from tests.e2e.conftest import Eventually, TwoFrontEnds, engines, two_front_ends
from tests.engine import objectserver
from tests.engine.objectserver import KEYS

pytestmark = pytest.mark.timeout(240)

SQL = """
CREATE TABLE orders (id BIGINT NOT NULL PRIMARY KEY, item VARCHAR) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW how_many AS SELECT COUNT(*) AS n FROM orders;
"""
PLACES = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An object store; its URL."""
    with objectserver.running(tmp_path_factory.mktemp("store")) as url:
        yield url


@pytest.fixture(scope="module")
async def plane(
    temporal_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually
) -> AsyncIterator[TwoFrontEnds]:
    """A control plane whose pipelines reach the object store."""
    home = tmp_path_factory.mktemp("standby") / "home"
    reach = {"SLUICEGATE_CONNECTOR_NETWORKS": "127.0.0.0/8"}
    async with two_front_ends(temporal_server, home, eventually, **reach) as running:
        yield running


class Pair:
    """A primary that runs and has pushed rows, and its standby."""

    def __init__(self, client: FelderaClient, store: str, **sync: Any) -> None:
        """Make both; `sync` is the standby's."""
        number = next(PLACES)
        self.bucket = f"bucket/primary-{number}"
        self.primary = self._build(client, store, bucket=self.bucket)
        more = {"read_bucket": self.bucket, "start_from_checkpoint": "latest", "pull_interval": 1}
        named = {"promote_on_failure": self.primary.name} if sync.pop("promote", False) else {}
        self.standby = self._build(client, store, bucket=f"bucket/standby-{number}", **more, **sync, **named)

    def _build(self, client: FelderaClient, store: str, **sync: Any) -> Pipeline:
        keys = {"access_key": KEYS["access_key_id"], "secret_key": KEYS["secret_access_key"]}
        config = {"sync": {"endpoint": store, **keys, **sync}}
        runtime = RuntimeConfig(storage=Storage({"backend": {"name": "file", "config": config}}))
        return PipelineBuilder(client, f"p-{uuid4().hex[:8]}", SQL, runtime_config=runtime).create()

    def end(self) -> None:
        """Stop and delete both."""
        for pipeline in (self.primary, self.standby):
            pipeline.stop(force=True)
            pipeline.delete(clear_storage=True)


@pytest.fixture
def paired(plane: TwoFrontEnds, store: str) -> Any:
    """Make pairs, for the length of a test."""
    client = FelderaClient(plane.front_ends[0].url, retry_config=RetryConfig(max_retries=0))

    @contextmanager
    def pair(**sync: Any) -> Iterator[Pair]:
        made = Pair(client, store, **sync)
        try:
            made.primary.start()
            put(made.primary, 1, 2, 3)
            made.primary.checkpoint(wait=True, timeout_s=60)
            made.primary.sync_checkpoint(wait=True, timeout_s=60)
            made.standby.start_standby()
            yield made
        finally:
            made.end()

    return pair


def put(pipeline: Pipeline, *ids: int) -> None:
    """Push rows."""
    pipeline.input_json("orders", [{"id": number, "item": "x"} for number in ids])


def how_many(pipeline: Pipeline) -> int:
    """What the view says."""
    return int(next(iter(pipeline.query("SELECT n FROM how_many")))["n"])


def pushes(pair: Pair, *ids: int) -> None:
    """Put rows into the primary and push them."""
    put(pair.primary, *ids)
    pair.primary.checkpoint(wait=True, timeout_s=60)
    pair.primary.sync_checkpoint(wait=True, timeout_s=60)


async def test_a_standby_takes_over_when_it_is_told_to(plane: TwoFrontEnds, paired: Any) -> None:
    await asyncio.to_thread(_told_to, paired, plane.home)


def _told_to(paired: Any, home: Path) -> None:
    with paired() as pair:
        assert pair.standby.status() is PipelineStatus.STANDBY
        with pytest.raises(FelderaAPIError) as refusal:
            how_many(pair.standby)
        assert (refusal.value.status_code, refusal.value.error_code) == (503, "Initializing")
        with pytest.raises(FelderaAPIError) as stop:
            pair.standby.stop(force=False)
        assert stop.value.error_code == "InvalidTransition"
        remote = [each["uuid"] for each in pair.primary.remote_checkpoints()]
        pushes(pair, 4)
        assert len(pair.primary.remote_checkpoints()) == len(remote) + 1
        _kill(home, pair.primary)
        began = monotonic()
        pair.standby.activate(timeout_s=60)
        took = monotonic() - began
        assert how_many(pair.standby) == 4
        assert took < 20
        put(pair.standby, 5)
        assert how_many(pair.standby) == 5
        pair.standby.stop(force=False)
        pair.standby.start()
        assert how_many(pair.standby) == 5


async def test_a_standby_takes_over_by_itself_from_a_primary_that_dies(
    plane: TwoFrontEnds, paired: Any
) -> None:
    await asyncio.to_thread(_by_itself, paired, plane.home)


def _by_itself(paired: Any, home: Path) -> None:
    with paired(promote=True) as pair:
        pushes(pair, 4)
        _kill(home, pair.primary)
        pair.standby.wait_for_status(PipelineStatus.RUNNING, timeout=60)
        assert how_many(pair.standby) == 4
        assert pair.primary.status() is PipelineStatus.STOPPED
        assert pair.primary.deployment_error()["error_code"] == "RunnerCheckError"
        [event, *_] = pair.standby.client.get_pipeline_events(pair.standby.name)
        path = f"/pipelines/{pair.standby.name}/events/{event['event_id']}/cause"
        cause = pair.standby.client.http.get(path=path)
        assert cause["actor"] == "promote_on_failure"
        assert cause["request_id"].startswith(f"promote/{pair.primary.id()}/")


async def test_a_primary_that_is_stopped_is_not_followed(plane: TwoFrontEnds, paired: Any) -> None:
    await asyncio.to_thread(_stopped, paired)


def _stopped(paired: Any) -> None:
    with paired(promote=True) as pair:
        pair.primary.stop(force=False)
        assert pair.standby.status() is PipelineStatus.STANDBY
        pair.primary.start()
        assert how_many(pair.primary) == 3
        assert pair.standby.status() is PipelineStatus.STANDBY


def _kill(home: Path, pipeline: Pipeline) -> None:
    [engine] = engines(home, pipeline.id())
    engine.kill()

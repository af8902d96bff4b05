"""The official Python client drives us unchanged; it blocks, so it runs in a thread."""

import asyncio
import warnings
from typing import Any
from uuid import uuid4

import pytest


@pytest.mark.filterwarnings("ignore")
async def test_the_official_client(api_worker: None, api_url: str) -> None:
    await asyncio.to_thread(_drive, api_url, f"sdk-{uuid4().hex[:8]}")


def _drive(url: str, name: str) -> None:
    warnings.simplefilter("ignore")
    import feldera
    from feldera.enums import PipelineStatus

    client: Any = feldera.FelderaClient(url)
    pipeline = feldera.PipelineBuilder(client, name, "CREATE TABLE t (i INT)").create_or_replace()
    assert pipeline.status() is PipelineStatus.STOPPED
    pipeline.start()
    assert pipeline.status() is PipelineStatus.RUNNING
    pipeline.pause()
    assert pipeline.status() is PipelineStatus.PAUSED
    pipeline.resume()
    pipeline.stop(force=False)
    assert pipeline.status() is PipelineStatus.STOPPED
    pipeline.modify(description="changed")
    assert pipeline.description() == "changed"
    assert name in [each.name for each in feldera.Pipeline.all(client)]
    pipeline.clear_storage()
    pipeline.delete()
    assert name not in [each.name for each in feldera.Pipeline.all(client)]

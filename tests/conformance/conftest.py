"""A control plane whose pipelines run the scripted program."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.conformance.plane import Plane, running


@pytest.fixture(scope="module")
async def plane(
    temporal_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plane]:
    """Real processes: an API, a worker that decides, a worker that has effects."""
    address = temporal_server.client.service_client.config.target_host
    async with running(address, tmp_path_factory.mktemp("plane")) as made:
        yield made

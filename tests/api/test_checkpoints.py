"""What has to do with checkpoints is passed on to the process, with the query and in its time."""

from typing import Any

import pytest

from tests.api.conftest import CHECKPOINTS


@pytest.mark.parametrize(("method", "path"), CHECKPOINTS)
async def test_the_process_answers(running: Any, method: str, path: str) -> None:
    answer = await running.http.request(method, running.path + path)
    assert answer.status_code == (202 if path == "/checkpoint/sync" else 200)
    assert answer.json() == CHECKPOINTS[method, path]


@pytest.mark.parametrize("path", ["/checkpoint_status", "/checkpoint/sync_status"])
async def test_the_process_is_told_which_one_is_meant(running: Any, api_process: Any, path: str) -> None:
    query = "incarnation_uuid=01980000-0000-7000-8000-000000000000"
    assert (await running.http.get(f"{running.path}{path}?{query}")).status_code == 200
    assert f"GET {path} {query}" in api_process.told

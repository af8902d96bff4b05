"""Metrics in Prometheus text, of the caller's tenant alone (contract §6.1)."""

import threading
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import metrics
from api.app import create_app
from api.rpc import Temporal
from sluicegate import temporal
from sluicegate.lifecycle import ids, record
from sluicegate.lifecycle.journal import SYSTEM
from sluicegate.lifecycle.state import State
from sluicegate.lifecycle.values import Packed
from sluicegate.settings import Settings

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


async def measured(http: httpx.AsyncClient, **headers: str) -> Samples:
    """Read all samples, by name and labels; the process that counts does not matter."""
    answer = await http.get("/v0/metrics", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.name not in found, "a family occurs twice"
        for sample in family.samples:
            labels = frozenset(pair for pair in sample.labels.items() if pair[0] != "process")
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def of(pipeline: Any) -> frozenset[tuple[str, str]]:
    """The labels of a pipeline."""
    return frozenset({("pipeline", pipeline.name)})


@pytest.fixture
async def running(api_worker: None, api_pipeline: Any) -> Any:
    """A pipeline whose process is the stub."""
    await api_pipeline.create()
    await api_pipeline.running()
    return api_pipeline


async def test_a_running_pipeline(running: Any) -> None:
    found = await measured(running.http)
    assert found["sluicegate_pipelines"][frozenset({("status", "Running")})] >= 1
    assert found["sluicegate_time_to_running_seconds_count"][of(running)] == 1
    assert 0 < found["sluicegate_time_to_running_seconds_sum"][of(running)] < 60
    assert found["sluicegate_restarts_total"][of(running)] == 0
    assert found["sluicegate_reconcile_lag_seconds"][of(running)] == 0
    assert found["records_total"][of(running)] == 7
    assert found["sluicegate_pipelines_not_scraped"][frozenset()] == 0


async def test_admissions_by_outcome(running: Any) -> None:
    assert (await running.post("clear")).status_code == 400
    assert (await running.post("start")).status_code == 202
    assert (await running.http.patch(running.path, json={"program_code": "x"})).status_code == 400
    assert (await running.http.delete(running.path)).status_code == 400
    counted = (await measured(running.http))["sluicegate_admissions_total"]
    assert counted[frozenset({("verb", "start"), ("outcome", "accepted")})] >= 2
    assert counted[frozenset({("verb", "clear"), ("outcome", "StorageStatusImmutableUnlessStopped")})] == 1
    assert counted[frozenset({("verb", "create"), ("outcome", "accepted")})] >= 1
    assert counted[frozenset({("verb", "edit"), ("outcome", "UpdateRestrictedToStopped")})] == 1
    assert counted[frozenset({("verb", "delete"), ("outcome", "DeleteRestrictedToFullyStopped")})] == 1


async def test_a_pipeline_that_cannot_become_what_is_desired(
    api_deserted: httpx.AsyncClient, api_named: Any
) -> None:
    pipeline = api_named(api_deserted)
    await pipeline.create()
    found = await measured(api_deserted)
    assert found["sluicegate_time_to_running_seconds_count"][of(pipeline)] == 0
    assert found["sluicegate_pipelines"][frozenset({("status", "Stopped")})] >= 1


async def test_no_tenant_sees_another(api_server: Any, running: Any) -> None:
    at, other, name = datetime.now(UTC), str(uuid4()), f"foreign-{uuid4().hex[:8]}"
    foreign = record.created(
        tenant_id=other,
        pipeline_id=ids.uuid7(at, name),
        at=at,
        platform_version="1",
        descriptor={
            "name": name,
            "runtime_config": {},
            "program_config": {},
            "texts": Packed.of_json({"program_code": ""}),
        },
    ).but(fenced=True)
    before = (await measured(running.http))["sluicegate_pipelines"]
    await Temporal(api_server.client).start(State.new(foreign, at, SYSTEM, ""))
    assert name not in (await running.http.get("/v0/metrics")).text
    assert (await measured(running.http))["sluicegate_pipelines"] == before


async def test_a_process_that_does_not_answer(
    api_deserted: httpx.AsyncClient, api_named: Any, api_working: Any, api_process: Any
) -> None:
    pipeline = api_named(api_deserted)
    await pipeline.create()
    address, api_process.address = api_process.address, "127.0.0.1:1"
    try:
        async with api_working():
            await pipeline.running()
    finally:
        api_process.address = address
    found = await measured(api_deserted)
    assert found["sluicegate_pipelines_not_scraped"][frozenset()] >= 1
    assert of(pipeline) not in found.get("records_total", {})


async def test_what_processes_say_is_read_beside_other_requests(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = set()

    def reading(text: str) -> Any:
        readers.add(threading.current_thread())
        return text_string_to_metric_families(text)

    monkeypatch.setattr(metrics, "text_string_to_metric_families", reading)
    assert of(running) in (await measured(running.http))["records_total"]
    assert readers
    assert threading.current_thread() not in readers


@pytest.mark.parametrize(
    ("keys", "seen"),
    [
        pytest.param((), True, id="authentication is off"),
        pytest.param(("k" * 40,), False, id="not an owner"),
    ],
)
async def test_who_sees_what_the_client_measures(
    api_server: Any, tmp_path: Any, keys: tuple[str, ...], seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", api_server.client.service_client.config.target_host)
    app = create_app(Settings(home=tmp_path, api_keys=keys))
    headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http,
    ):
        found = await measured(http, **headers)
    assert any(name.startswith("temporal_") for name in found) is seen


async def test_a_worker_serves_its_metrics_where_the_setting_says(
    api_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", api_server.client.service_client.config.target_host)
    where = temporal.free_loopback()
    client = await temporal.connect(metrics=where)
    await client.service_client.check_health()
    async with httpx.AsyncClient() as http:
        assert "temporal_request" in (await http.get(f"http://{where}/metrics")).text

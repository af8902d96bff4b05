"""State that outlives its process, through the API and the official client: checkpoints, stops, starts."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import BootstrapPolicy, PipelineStatus
from feldera.rest.errors import FelderaAPIError

pytestmark = pytest.mark.timeout(180)

SQL = """
CREATE TABLE orders (id BIGINT NOT NULL PRIMARY KEY, item VARCHAR) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW items AS SELECT item, COUNT(*) AS n FROM orders GROUP BY item;
"""
MORE = f"{SQL}\nCREATE MATERIALIZED VIEW how_many AS SELECT COUNT(*) AS n FROM orders;"


@pytest.fixture
def orders(control_plane: Any) -> Iterator[Pipeline]:
    """A pipeline of the official client, that exists for the length of a test."""
    client = FelderaClient(control_plane.url, connection_timeout=10)
    made = PipelineBuilder(client, f"p-{uuid4().hex[:8]}", SQL).create()
    yield made
    made.stop(force=True)
    made.delete(clear_storage=True)


def put(pipeline: Pipeline, *ids: int) -> None:
    """Push rows."""
    pipeline.input_json("orders", [{"id": number, "item": f"i{number % 2}"} for number in ids])


def ids(pipeline: Pipeline) -> list[int]:
    """The rows that are there."""
    return [row["id"] for row in pipeline.query("SELECT id FROM orders ORDER BY id")]


def counts(pipeline: Pipeline) -> dict[str, int]:
    """What the view says."""
    return {row["item"]: row["n"] for row in pipeline.query("SELECT item, n FROM items")}


def chosen(pipeline: Pipeline, checkpoint: str, **more: str) -> None:
    """Start from a checkpoint, which the official client does not know to ask for."""
    path = f"/pipelines/{pipeline.name}/start"
    pipeline.client.http.post(path=path, params={"checkpoint": checkpoint, **more})


def test_what_is_checkpointed_while_it_runs_is_there_after_it_was_killed(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1, 2, 3)
    assert orders.checkpoint(wait=True, timeout_s=60) == 0
    put(orders, 4)
    assert orders.checkpoint(wait=True, timeout_s=60) == 1
    put(orders, 5)
    newest, first = orders.checkpoints()
    orders.stop(force=True)
    orders.start()
    assert ids(orders) == [1, 2, 3, 4]
    assert counts(orders) == {"i0": 2, "i1": 2}
    assert [each.uuid for each in orders.checkpoints()] == [newest.uuid, first.uuid]
    orders.stop(force=True)
    chosen(orders, str(first.uuid))
    orders.wait_for_status(PipelineStatus.RUNNING, timeout=60)
    assert ids(orders) == [1, 2, 3]


def test_a_start_may_be_empty_and_what_was_there_stays(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1, 2)
    orders.checkpoint(wait=True, timeout_s=60)
    orders.stop(force=True)
    chosen(orders, "none", initial="paused")
    chosen(orders, "none", initial="paused")  # the same again
    orders.wait_for_status(PipelineStatus.PAUSED, timeout=60)
    assert ids(orders) == []
    with pytest.raises(FelderaAPIError) as refusal:
        chosen(orders, str(uuid4()), initial="paused")
    assert refusal.value.error_code == "BootstrapPolicyImmutableUnlessStopped"
    orders.stop(force=True)
    orders.start()
    assert ids(orders) == [1, 2]


def test_a_checkpoint_that_is_not_there_is_not_started_from(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1)
    orders.stop(force=False)
    missing = str(uuid4())
    chosen(orders, missing)
    with pytest.raises(RuntimeError, match=missing):
        orders.client._FelderaClient__wait_for_pipeline_state(orders.name, "running", 60)
    assert orders.deployment_error()["error_code"] == "InitializationError"
    orders.start()
    assert ids(orders) == [1]


def test_a_stop_keeps_all_and_a_start_brings_all_back(orders: Pipeline) -> None:
    orders.start()
    put(orders, *range(100))
    before = orders.stats().global_metrics
    orders.stop(force=False)
    assert orders.status() is PipelineStatus.STOPPED
    assert not orders.deployment_error()
    orders.start_paused()
    assert ids(orders) == list(range(100))
    assert counts(orders) == {"i0": 50, "i1": 50}
    after = orders.stats().global_metrics
    assert after.total_processed_records >= before.total_processed_records == 100


async def test_a_stop_that_cannot_keep_anything_says_so_and_leaves_what_was(
    pipeline_type: Any, api: Any, eventually: Any
) -> None:
    made = pipeline_type(api, f"p-{uuid4().hex[:8]}", eventually)
    await made.create(runtime_config={"storage": False})
    await made.started()
    refused = await made.post("checkpoint")
    begun = refused.json()
    assert refused.status_code == 200, begun

    async def failed() -> dict[str, Any] | None:
        answer = await api.get(f"{made.path}/checkpoint_status")
        return dict(answer.json()["failure"] or {}) or None

    failure: Any = await eventually(failed)
    assert failure["sequence_number"] == begun["checkpoint_sequence_number"]
    assert (await made.post("stop")).status_code == 202
    seen = await made.reaches("Stopped")
    assert seen["deployment_error"]["error_code"].startswith("Suspend")
    await made.remove()


async def test_force_ends_a_stop_that_waits_for_its_checkpoint(pipeline: Any) -> None:
    """An open transaction holds a checkpoint up, for as long as it is open."""
    await pipeline.started()
    rows = "".join(f'{{"n": {n}, "word": "w"}}\n' for n in range(3))
    await pipeline.api.post(
        f"{pipeline.path}/ingress/numbers", params={"format": "json", "update_format": "raw"}, content=rows
    )
    await pipeline.post("checkpoint")

    async def listed() -> list[Any]:
        return list((await pipeline.api.get(f"{pipeline.path}/checkpoints")).json())

    while not (kept := await listed()):
        await asyncio.sleep(0.05)
    assert (await pipeline.post("start_transaction")).status_code == 200
    assert (await pipeline.post("stop")).status_code == 202
    seen = await pipeline.get()
    assert seen["deployment_desired_status"] == "Suspended"
    assert seen["deployment_status"] in ("Running", "Paused")
    assert (await pipeline.post("stop", force="true")).status_code == 202
    seen = await pipeline.reaches("Stopped")
    assert seen["deployment_error"] is None
    await pipeline.started()
    assert [each["uuid"] for each in await listed()] == [kept[0]["uuid"]]
    answer = await pipeline.api.get(f"{pipeline.path}/query", params={"sql": "SELECT * FROM summary"})
    assert "3" in answer.text


async def test_a_process_that_dies_while_it_stops_leaves_the_checkpoint_before(
    pipeline: Any, control_plane: Any
) -> None:
    running = await pipeline.started()
    await pipeline.post("start_transaction")
    assert (await pipeline.post("stop")).status_code == 202
    control_plane.engine(running["id"]).kill()
    seen = await pipeline.reaches("Stopped")
    assert seen["deployment_error"]["error_code"] == "RunnerCheckError"
    await pipeline.started()


def test_an_edited_program_waits_for_approval_and_keeps_its_rows(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1, 2, 3)
    foreseen = orders.diff(MORE)
    orders.stop(force=False)
    orders.modify(sql=MORE)
    orders.start()
    assert orders.status() is PipelineStatus.AWAITINGAPPROVAL
    details = orders.deployment_runtime_status_details()
    assert details is not None
    diff = details["approval_diff"]
    assert diff == foreseen
    assert diff["program_diff"]["added_views"] == ["how_many"]
    assert diff["program_diff"]["modified_tables"] == []
    orders.approve()
    orders.wait_for_status(PipelineStatus.RUNNING, timeout=60)
    assert ids(orders) == [1, 2, 3]
    assert list(orders.query("SELECT n FROM how_many")) == [{"n": 3}]


def test_an_edit_that_is_not_approved_is_stopped_and_asked_for_again(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1)
    orders.stop(force=False)
    orders.modify(sql=MORE)
    for _ in range(2):
        orders.start()
        assert orders.status() is PipelineStatus.AWAITINGAPPROVAL
        orders.stop(force=True)
    orders.modify(sql=SQL)
    orders.start()
    assert orders.status() is PipelineStatus.RUNNING
    assert ids(orders) == [1]


def test_an_edit_that_is_rejected_costs_nothing(orders: Pipeline) -> None:
    orders.start()
    put(orders, 1, 2)
    orders.stop(force=False)
    orders.modify(sql=MORE)
    with pytest.raises(RuntimeError, match="rejected"):
        orders.start(bootstrap_policy=BootstrapPolicy.REJECT)
    assert orders.deployment_error()["error_code"] == "InitializationError"
    orders.start(bootstrap_policy=BootstrapPolicy.ALLOW)
    assert orders.status() is PipelineStatus.RUNNING
    assert ids(orders) == [1, 2]
    assert list(orders.query("SELECT n FROM how_many")) == [{"n": 2}]

"""The official client's methods for the control plane, one by one: each does what its docstring says.

The pipelines' processes are scripted; what they answer themselves is in the tests named `…_scripted`.
"""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest
from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import (
    BootstrapPolicy,
    CheckpointStatus,
    DeploymentDesiredStatus,
    DeploymentResourcesDesiredStatus,
    DeploymentResourcesStatus,
    DeploymentRuntimeDesiredStatus,
    DeploymentRuntimeStatus,
    PipelineFieldSelector,
    PipelineStatus,
    ProgramStatus,
    StorageStatus,
)
from feldera.rest.errors import FelderaAPIError
from feldera.rest.retry import RetryConfig
from feldera.runtime_config import RuntimeConfig

import sluicegate
from tests.conformance.plane import Plane, running
from tests.conformance.states import PROGRAM, SYNC, WRONG
from tests.conftest import serving_temporal

pytestmark = pytest.mark.timeout(120)
OWNER_KEY = "the-key-of-an-owner-of-this-test"
NOW = {"now_ms": 1, "now": "1970-01-01T00:00:00.001Z"}
CHECKPOINT = {
    "uuid": "01980000-0000-7000-8000-000000000000",
    "identifier": None,
    "fingerprint": 1,
    "size": 2,
    "steps": 3,
    "processed_records": 4,
}


@pytest.fixture(scope="module")
async def house(private_home: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """A control plane with the unstable feature that one of the methods needs, on a server of its own: hosts
    of one server take each other's pipelines."""
    folder = tmp_path_factory.mktemp("house")
    async with serving_temporal() as server:
        address = server.client.service_client.config.target_host
        async with running(address, folder, SLUICEGATE_UNSTABLE_FEATURES="testing") as made:
            yield made


@pytest.fixture
def client(house: Plane) -> FelderaClient:
    """The client; it does not try a refusal again."""
    return FelderaClient(str(house.http.base_url), retry_config=RetryConfig(max_retries=0))


@pytest.fixture
def built(client: FelderaClient) -> PipelineBuilder:
    """What is to be a pipeline."""
    return PipelineBuilder(client, f"p-{uuid4().hex[:10]}", PROGRAM, description="d", tags=["b", "a"])


@pytest.fixture
def pipeline(built: PipelineBuilder) -> Any:
    """A pipeline that is compiled."""
    made = built.create()
    yield made
    if made.status() is not PipelineStatus.NOT_FOUND:
        made.stop(force=True)


@pytest.fixture
def run(pipeline: Pipeline) -> Pipeline:
    """A pipeline that runs."""
    pipeline.start()
    return pipeline


def code(refusal: pytest.ExceptionInfo[FelderaAPIError]) -> str:
    """The code that the client was refused with."""
    return str(refusal.value.error_code)


# Creating, finding, changing, deleting


def test_create(built: PipelineBuilder) -> None:
    made = built.create()
    assert made.status() is PipelineStatus.STOPPED
    assert made.program_status() is ProgramStatus.Success
    with pytest.raises(RuntimeError, match="already exists"):
        built.create()


def test_create_without_waiting(built: PipelineBuilder) -> None:
    assert built.create(wait=False).name == built.name


def test_create_or_replace(built: PipelineBuilder, run: Pipeline) -> None:
    built.sql = "CREATE TABLE u (y INT);"
    replaced = built.create_or_replace()
    assert replaced.status() is PipelineStatus.STOPPED
    assert (replaced.id(), replaced.program_code()) == (run.id(), built.sql)
    built.name = f"p-{uuid4().hex[:10]}"
    assert built.create_or_replace().id() != run.id()


def test_get(client: FelderaClient, pipeline: Pipeline) -> None:
    assert Pipeline.get(pipeline.name, client).id() == pipeline.id()
    with pytest.raises(FelderaAPIError) as refusal:
        Pipeline.get("nobody", client)
    assert (code(refusal), refusal.value.status_code) == ("UnknownPipelineName", 404)


def test_all(client: FelderaClient, pipeline: Pipeline) -> None:
    assert pipeline.name in [each.name for each in Pipeline.all(client)]
    listed = client.pipelines(PipelineFieldSelector.STATUS)
    assert pipeline.name in [each.name for each in listed]


def test_modify(pipeline: Pipeline) -> None:
    pipeline.modify(description="new", tags=["z"], sql="CREATE TABLE u (y INT);")
    assert pipeline.program_code() == "CREATE TABLE u (y INT);"
    assert (pipeline.description(), pipeline.tags()) == ("new", ["z"])
    assert (pipeline.version(), pipeline.program_version()) == (2, 2)


def test_modify_while_it_runs(run: Pipeline) -> None:
    run.modify(description="new", tags=[])
    assert (run.description(), run.tags(), run.version()) == ("new", [], 1)
    with pytest.raises(FelderaAPIError) as refusal:
        run.modify(sql="")
    assert code(refusal) == "UpdateRestrictedToStopped"


def test_set_runtime_config(pipeline: Pipeline) -> None:
    changed = pipeline.runtime_config()
    changed.min_batch_size_records = 500
    pipeline.set_runtime_config(changed)
    assert pipeline.runtime_config().min_batch_size_records == 500


def test_get_runtime_config(client: FelderaClient, pipeline: Pipeline) -> None:
    assert client.get_runtime_config(pipeline.name)["workers"] == 8


def test_delete(run: Pipeline) -> None:
    with pytest.raises(FelderaAPIError) as refusal:
        run.delete()
    assert code(refusal) == "DeleteRestrictedToFullyStopped"
    run.stop(force=True)
    with pytest.raises(FelderaAPIError) as refusal:
        run.delete()
    assert code(refusal) == "DeleteRestrictedToClearedStorage"
    run.delete(clear_storage=True)
    assert run.status() is PipelineStatus.NOT_FOUND


def test_update_runtime(pipeline: Pipeline) -> None:
    current = pipeline.platform_version()
    pipeline.update_runtime()
    assert pipeline.version() == 1
    pipeline.testing_force_update_platform_version("0.9.0")
    assert pipeline.platform_version() == "0.9.0"
    pipeline.update_runtime()
    assert pipeline.platform_version() == current


# Starting and stopping


def test_start(pipeline: Pipeline) -> None:
    pipeline.start(bootstrap_policy=BootstrapPolicy.ALLOW)
    assert pipeline.status() is PipelineStatus.RUNNING
    assert pipeline.bootstrap_policy() is BootstrapPolicy.ALLOW


def test_start_with_an_error(house: Plane, pipeline: Pipeline) -> None:
    house.script(pipeline.name, {"exits": 3})
    with pytest.raises(RuntimeError):
        pipeline.start()
    house.script(pipeline.name, {})
    with pytest.raises(FelderaAPIError) as refusal:
        pipeline.start(dismiss_error=False)
    assert code(refusal) == "CannotStartWithUndismissedError"
    pipeline.start()
    assert pipeline.deployment_error() is None


def test_start_paused(pipeline: Pipeline) -> None:
    pipeline.start_paused()
    assert pipeline.status() is PipelineStatus.PAUSED
    with pytest.raises(FelderaAPIError) as refusal:
        pipeline.start(wait=False)
    assert code(refusal) == "InitialImmutableUnlessStopped"


def test_start_standby_and_activate(house: Plane, pipeline: Pipeline) -> None:
    with pytest.raises(FelderaAPIError) as refusal:
        pipeline.start_standby()
    assert code(refusal) == "InitialStandbyNotAllowed"
    pipeline.modify(runtime_config=SYNC)
    house.script(pipeline.name, {"reports": "Standby"})
    pipeline.start_standby()
    assert pipeline.status() is PipelineStatus.STANDBY
    pipeline.activate()
    assert pipeline.status() is PipelineStatus.RUNNING
    assert "POST /activate?initial=running" in house.told(pipeline.name)


def test_restart(run: Pipeline) -> None:
    run.refresh(PipelineFieldSelector.STATUS)
    before = run._inner.deployment_id
    run.restart()
    run.refresh(PipelineFieldSelector.STATUS)
    assert run.status() is PipelineStatus.RUNNING
    assert run._inner.deployment_id != before


def test_pause_and_resume(run: Pipeline) -> None:
    run.pause()
    assert run.status() is PipelineStatus.PAUSED
    run.pause()
    run.resume()
    assert run.status() is PipelineStatus.RUNNING
    run.resume()


def test_pause_what_does_not_run(pipeline: Pipeline) -> None:
    with pytest.raises(FelderaAPIError) as refusal:
        pipeline.pause()
    assert (code(refusal), refusal.value.status_code) == ("PipelineInteractionNotDeployed", 503)


@pytest.mark.parametrize("force", [True, False])
def test_stop(house: Plane, run: Pipeline, force: bool) -> None:
    run.stop(force=force)
    assert run.status() is PipelineStatus.STOPPED
    assert run.deployment_error() is None
    assert ("POST /suspend" in house.told(run.name)) is not force
    assert run.storage_status() is StorageStatus.INUSE


def test_approve(house: Plane, pipeline: Pipeline) -> None:
    house.script(pipeline.name, {"reports": "AwaitingApproval"})
    pipeline.start(wait=False)
    pipeline.wait_for_status(PipelineStatus.AWAITINGAPPROVAL, 30)
    pipeline.approve(silent_bootstrap=True)
    pipeline.wait_for_status(PipelineStatus.RUNNING, 30)
    [told] = [line for line in house.told(pipeline.name) if line.startswith("POST /approve")]
    assert "silent_bootstrap=true" in told


def test_clear_storage(run: Pipeline) -> None:
    with pytest.raises(FelderaAPIError) as refusal:
        run.clear_storage()
    assert code(refusal) == "StorageStatusImmutableUnlessStopped"
    run.stop(force=True)
    run.clear_storage()
    assert run.storage_status() is StorageStatus.CLEARED
    assert run.storage_status_details() is None


def test_dismiss_error_and_errors(house: Plane, pipeline: Pipeline) -> None:
    assert pipeline.errors() == []
    house.script(pipeline.name, {"exits": 3})
    with pytest.raises(RuntimeError):
        pipeline.start()
    [error] = pipeline.errors()
    assert error["error_code"] == pipeline.deployment_error()["error_code"] == "RunnerProvisionError"
    pipeline.dismiss_error()
    assert pipeline.errors() == []


def test_errors_of_a_program(client: FelderaClient, built: PipelineBuilder) -> None:
    built.sql = WRONG
    with pytest.raises(RuntimeError):
        built.create()
    [error] = Pipeline.get(built.name, client).errors()
    assert error["sql_compilation"]["exit_code"] != 0
    assert Pipeline.get(built.name, client).program_status() is ProgramStatus.SqlError


# Accessors


def test_accessors_of_a_stopped_pipeline(pipeline: Pipeline, built: PipelineBuilder) -> None:
    assert pipeline.name == built.name
    assert UUID(pipeline.id()).version == 7
    assert (pipeline.description(), sorted(pipeline.tags())) == ("d", ["a", "b"])
    assert (pipeline.udf_rust(), pipeline.udf_toml()) == ("", "")
    assert pipeline.program_config()["profile"] == "optimized"
    assert isinstance(pipeline.runtime_config(), RuntimeConfig)
    assert [table.name for table in pipeline.tables()] == ["t"]
    assert pipeline.views() == []
    assert pipeline.program_info()["schema"]["inputs"][0]["name"] == "t"
    assert pipeline.program_error()["sql_compilation"]["exit_code"] == 0
    assert pipeline.created_at() <= pipeline.program_status_since()
    assert pipeline.created_at().tzinfo is not None
    assert pipeline.bootstrap_policy() is None
    assert pipeline.deployment_desired_status() is DeploymentDesiredStatus.STOPPED
    assert pipeline.deployment_resources_status() is DeploymentResourcesStatus.STOPPED
    assert pipeline.deployment_resources_desired_status() is DeploymentResourcesDesiredStatus.STOPPED
    assert pipeline.deployment_runtime_status_details() is None


def test_accessors_of_a_running_pipeline(run: Pipeline) -> None:
    assert run.deployment_desired_status() is DeploymentDesiredStatus.RUNNING
    assert run.deployment_resources_status() is DeploymentResourcesStatus.PROVISIONED
    assert run.deployment_resources_desired_status() is DeploymentResourcesDesiredStatus.PROVISIONED
    assert run.deployment_runtime_status() is DeploymentRuntimeStatus.RUNNING
    assert run.deployment_runtime_desired_status() is DeploymentRuntimeDesiredStatus.RUNNING
    assert run.deployment_runtime_status_details() == {}
    assert isinstance(run.deployment_status_since(), datetime)
    assert run.bootstrap_policy() is BootstrapPolicy.AWAIT_APPROVAL
    run.wait_for_status(PipelineStatus.RUNNING, 1)
    with pytest.raises(TimeoutError):
        run.wait_for_status(PipelineStatus.PAUSED, 0)


def test_what_is_never_returned(pipeline: Pipeline) -> None:
    with pytest.raises(AttributeError):
        pipeline.deployment_config()
    with pytest.raises(AttributeError):
        pipeline.deployment_location()


# What happened


def test_events(run: Pipeline) -> None:
    events = run.events()
    assert [event["recorded_at"] for event in events] == sorted(
        (event["recorded_at"] for event in events), reverse=True
    )
    newest = run.event("latest")
    assert newest == events[0] == run.event(newest["event_id"])
    assert newest["deployment_runtime_status"] == "Running"
    assert set(newest) < set(run.event("latest", selector="all"))
    assert len(run.events(selector="all")) == len(events)
    with pytest.raises(FelderaAPIError) as refusal:
        run.event("no-uuid")
    assert code(refusal) == "InvalidUuidParam"


def test_logs(house: Plane, pipeline: Pipeline) -> None:
    house.script(pipeline.name, {"exits": 3})
    with pytest.raises(RuntimeError):
        pipeline.start()
    assert any("I was told to end." in line for line in islice(pipeline.logs(), 50))


def test_resume_logs(pipeline: Pipeline) -> None:
    pipeline.start()
    pipeline.stop(force=True)
    with pipeline.client.resume_pipeline_logs(pipeline.name) as stream:
        first = list(islice(stream, 2))
        cursor = stream.cursor()
    assert (stream.position.seq, stream.position.gap) == (0, 0)
    with pipeline.client.resume_pipeline_logs(pipeline.name, cursor) as stream:
        rest = next(iter(stream))
    assert (stream.position.seq, stream.position.gap) == (2, 0)
    with pipeline.client.resume_pipeline_logs(pipeline.name) as stream:
        assert list(islice(stream, 3)) == [*first, rest]
    with pytest.raises(FelderaAPIError) as refusal:
        pipeline.client.resume_pipeline_logs(pipeline.name, "nonsense")
    assert refusal.value.status_code == 400


# What is passed on to the process


def test_rebalance_and_compaction_scripted(house: Plane, run: Pipeline) -> None:
    run.rebalance()
    run.start_compaction()
    run.start_compaction()
    told = house.told(run.name)
    assert (told.count("POST /rebalance"), told.count("POST /start_compaction")) == (1, 2)


def test_advance_clock_scripted(house: Plane, run: Pipeline) -> None:
    house.script(run.name, {"replies": {"/clock/advance": [200, NOW]}})
    assert run.advance_clock(5) == NOW
    run.advance_clock()
    bodies = [json.loads(line.split(" ", 2)[2]) for line in house.told(run.name) if "/clock/advance" in line]
    assert bodies[0] == {"delta_ms": 5}
    assert bodies[1].get("delta_ms") is None


def test_checkpoints_scripted(house: Plane, run: Pipeline) -> None:
    house.script(run.name, {"replies": {"/checkpoints": [200, [CHECKPOINT]]}})
    [checkpoint] = run.checkpoints()
    assert str(checkpoint.uuid) == CHECKPOINT["uuid"]


def test_checkpoint_scripted(house: Plane, run: Pipeline) -> None:
    done: dict[str, Any] = {"success": 0, "failure": None}
    begun = {"checkpoint_sequence_number": 0, "incarnation_uuid": CHECKPOINT["uuid"]}
    house.script(run.name, {"replies": {"/checkpoint": [200, begun], "/checkpoint_status": [200, done]}})
    assert run.checkpoint(wait=True, timeout_s=30) == 0
    assert run.checkpoint_status(0) is CheckpointStatus.Success
    assert f"GET /checkpoint_status?incarnation_uuid={CHECKPOINT['uuid']}" in house.told(run.name)
    failed = {
        "success": None,
        "failure": {"sequence_number": 0, "error": "the disk is full", "failed_at": "2025-01-01T00:00:00Z"},
    }
    house.script(run.name, {"replies": {"/checkpoint": [200, begun], "/checkpoint_status": [200, failed]}})
    with pytest.raises(RuntimeError, match="the disk is full"):
        run.checkpoint(wait=True, timeout_s=30)


def test_sync_checkpoint_scripted(house: Plane, run: Pipeline) -> None:
    uuid = CHECKPOINT["uuid"]
    begun = {"checkpoint_uuid": uuid, "incarnation_uuid": uuid}
    done: dict[str, Any] = {"success": uuid, "failure": None, "periodic": None, "running": []}
    replies = {
        "/checkpoint/sync": [202, begun],
        "/checkpoint/sync_status": [200, done],
        "/checkpoints/remote": [200, [{"uuid": uuid}]],
    }
    house.script(run.name, {"replies": replies})
    assert run.sync_checkpoint(wait=True, timeout_s=30) == uuid
    assert str(run.last_successful_checkpoint_sync()) == uuid
    assert run.remote_checkpoints() == [{"uuid": uuid}]
    none_yet = {"message": "There is no checkpoint yet.", "error_code": "400", "details": {}}
    house.script(run.name, {"replies": {"/checkpoint/sync": [400, none_yet]}})
    with pytest.raises(FelderaAPIError) as refusal:
        run.sync_checkpoint()
    assert (code(refusal), refusal.value.status_code) == ("400", 400)


def test_connectors_scripted(house: Plane, run: Pipeline, client: FelderaClient) -> None:
    refusal = {"message": "no", "error_code": "UnknownInputEndpoint", "details": {"endpoint_name": "t.x"}}
    house.script(run.name, {"replies": {"/input_endpoints/t.x/stats": [404, refusal]}})
    client.pause_input_connector(run.name, "T", "c")
    client.start_input_connector(run.name, '"T"', "c")
    client.pause_output_connector(run.name, "v", "c")
    client.start_output_connector(run.name, "v", "c")
    assert client.input_connector_stats(run.name, "t", "c")["paused"] is False
    assert client.output_connector_stats(run.name, "v", "c")["endpoint_name"] == "t.c"
    assert client.generate_completion_token(run.name, "t", "c") == "t"
    with pytest.raises(FelderaAPIError) as unknown:
        client.input_connector_stats(run.name, "t", "x")
    assert (code(unknown), unknown.value.status_code) == ("UnknownInputEndpoint", 404)
    told = [line.split(" ")[1] for line in house.told(run.name) if "endpoints" in line]
    assert told[:4] == [
        "/input_endpoints/t.c/pause",
        "/input_endpoints/T.c/start",
        "/output_endpoints/v.c/pause",
        "/output_endpoints/v.c/start",
    ]


def test_transactions_scripted(house: Plane, run: Pipeline, client: FelderaClient) -> None:
    stats = {"global_metrics": {"transaction_id": 1}}
    house.script(run.name, {"replies": {"/stats": [200, stats]}})
    assert client.start_transaction(run.name) == 1
    client.commit_transaction(run.name, 1, wait=False)
    told = house.told(run.name)
    assert {"POST /start_transaction", "POST /commit_transaction"} <= {line.strip() for line in told}


def test_samply_scripted(house: Plane, run: Pipeline, client: FelderaClient) -> None:
    client.start_samply_profile(run.name, 1)
    assert client.get_samply_profile(run.name) == b""
    assert "POST /samply_profile?duration_secs=1" in house.told(run.name)


@pytest.mark.parametrize("state", ["pipeline", "run"])
def test_support_bundle(request: pytest.FixtureRequest, state: str, client: FelderaClient) -> None:
    asked = request.getfixturevalue(state)
    with ZipFile(BytesIO(client.get_pipeline_support_bundle(asked.name, {"limit": 1}))) as archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
        metadata = json.loads(archive.read("metadata.json"))
    assert {"metadata.txt", "metadata.json", "pipeline_config.json", "pipeline_events.json"} <= names
    assert ("stats.json" in names) is (state == "run")
    assert ("stats.json" in metadata["collections"][0]["failed"]) is (state == "pipeline")


# The platform


def test_get_config(client: FelderaClient) -> None:
    config = client.get_config()
    assert config.edition.is_enterprise()
    assert config.version == sluicegate.__version__


def test_api_keys(client: FelderaClient) -> None:
    name = f"key-{uuid4().hex[:8]}"
    made = client.create_api_key(name, role="read")
    assert set(made) == {"id", "name", "api_key"}
    assert made["name"] == name
    assert made["api_key"].startswith("apikey:")
    with pytest.raises(FelderaAPIError) as refusal:
        client.create_api_key(name)
    assert code(refusal) == "DuplicateName"


def test_oidc_trust(client: FelderaClient) -> None:
    name = f"trust-{uuid4().hex[:8]}"
    made = client.create_oidc_trust(name, "https://issuer.example", "repo:*", audience="a", role="write")
    assert (set(made), made["name"]) == ({"id", "name"}, name)
    found = client.get_oidc_trust(name)
    assert set(found) == {"id", "name", "description", "issuer", "subject", "audience", "role"}
    assert (found["issuer"], found["subject"], found["role"]) == ("https://issuer.example", "repo:*", "write")
    assert found in client.list_oidc_trust()
    client.delete_oidc_trust(name)
    with pytest.raises(FelderaAPIError) as refusal:
        client.get_oidc_trust(name)
    assert code(refusal) == "UnknownOidcTrust"


def test_cluster_events(client: FelderaClient) -> None:
    events = client.get_cluster_events()
    assert isinstance(events, list)
    for event in events[:1]:
        assert client.get_cluster_event(event["id"])["id"] == event["id"]


def test_validate_program(client: FelderaClient) -> None:
    [(word, result)] = client.validate_program(PROGRAM, ir=True).items()
    assert (word, [table["name"] for table in result["program_info"]["schema"]["inputs"]]) == (
        "Success",
        ["t"],
    )
    [(word, result)] = client.validate_program(WRONG).items()
    assert (word, result["info"]["exit_code"]) == ("SqlError", 1)
    with pytest.raises(FelderaAPIError) as refusal:
        client.validate_program(PROGRAM, runtime_version="newest")
    assert code(refusal) == "InvalidRuntimeVersion"


# With authentication


@pytest.fixture(scope="module")
async def guarded(private_home: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """A control plane that asks for keys."""
    folder = tmp_path_factory.mktemp("guarded")
    async with serving_temporal() as server:
        address = server.client.service_client.config.target_host
        async with running(address, folder, SLUICEGATE_OWNER_KEYS=OWNER_KEY) as made:
            yield made


@pytest.fixture
def owner(guarded: Plane) -> FelderaClient:
    """The client of an owner."""
    return FelderaClient(str(guarded.http.base_url), OWNER_KEY, retry_config=RetryConfig(max_retries=0))


def test_tenants(owner: FelderaClient) -> None:
    name = f"tenant-{uuid4().hex[:8]}"
    made = owner.create_tenant(name)
    assert set(made) == {"id", "name", "initial_provider"}
    assert owner.create_tenant(name)["id"] == made["id"]
    assert made in owner.list_tenants()
    assert owner.get_tenant(name) == owner.get_tenant(made["id"]) == made
    assert owner.rename_tenant(made["id"], f"{name}-new") == {"displaced": None}
    assert owner.get_tenant(f"{name}-new")["id"] == made["id"]
    owner.delete_tenant(made["id"])
    with pytest.raises(FelderaAPIError) as refusal:
        owner.get_tenant(made["id"])
    assert code(refusal) == "UnknownTenant"


def test_a_name_is_taken_from_a_tenant(owner: FelderaClient) -> None:
    one, two = (owner.create_tenant(f"tenant-{uuid4().hex[:8]}") for _ in range(2))
    with pytest.raises(FelderaAPIError) as refusal:
        owner.rename_tenant(one["id"], two["name"])
    assert code(refusal) == "DuplicateName"
    displaced = owner.rename_tenant(one["id"], two["name"], displace_existing=True)["displaced"]
    assert (displaced["id"], displaced["name"]) == (two["id"], f"{two['name']} ({two['id']})")


def test_a_key_opens_its_tenant_only(guarded: Plane, owner: FelderaClient) -> None:
    tenant = owner.create_tenant(f"tenant-{uuid4().hex[:8]}")
    url = str(guarded.http.base_url)
    inside = FelderaClient(url, OWNER_KEY, tenant=tenant["name"], retry_config=RetryConfig(max_retries=0))
    key = inside.create_api_key("reader", role="read")["api_key"]
    reader = FelderaClient(url, key, retry_config=RetryConfig(max_retries=0))
    name = f"p-{uuid4().hex[:10]}"
    PipelineBuilder(inside, name, PROGRAM).create()
    assert [each.name for each in reader.pipelines()] == [name]
    assert name not in [each.name for each in owner.pipelines()]
    with pytest.raises(FelderaAPIError) as refusal:
        reader.delete_pipeline(name)
    assert (code(refusal), refusal.value.status_code) == ("InsufficientPermissions", 403)

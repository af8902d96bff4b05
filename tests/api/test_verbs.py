"""A lifecycle call is a signal; its answer is the workflow's receipt, or the promise that it is on record."""

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
import pytest


@pytest.fixture
async def stopped(api_worker: None, api_pipeline: Any) -> Any:
    """A pipeline that has compiled."""
    await api_pipeline.create()
    await api_pipeline.reaches("Success", "program_status")
    return api_pipeline


@pytest.fixture
async def running(stopped: Any) -> Any:
    """A pipeline that runs."""
    await stopped.running()
    return stopped


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check a refusal and return its details."""
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert set(answer.json()) == {"message", "error_code", "details"}
    if status == 503:
        assert answer.headers["retry-after"] == "5"
    return dict(answer.json()["details"])


async def test_a_pipeline_goes_through_its_life(stopped: Any) -> None:
    started = await stopped.post("start", initial="paused")
    assert (started.status_code, started.json()) == (202, "Pipeline is starting")
    await stopped.reaches("Paused")
    resumed = await stopped.post("resume")
    assert (resumed.status_code, resumed.json()) == (202, "Pipeline transitioning from Paused to Running")
    await stopped.reaches("Running")
    assert (await stopped.post("pause")).status_code == 202
    await stopped.reaches("Paused")
    stop = await stopped.post("stop")
    assert (stop.status_code, stop.json()) == (202, "Pipeline is suspending")
    await stopped.reaches("Stopped")
    cleared = await stopped.post("clear")
    assert (cleared.status_code, cleared.json()) == (202, "Pipeline storage is being cleared")
    await stopped.reaches("Cleared", "storage_status")
    dismissed = await stopped.post("dismiss_error")
    assert (dismissed.status_code, dismissed.json()) == (
        200,
        "Pipeline deployment error has been dismissed",
    )
    assert (await stopped.http.delete(stopped.path)).status_code == 200


async def test_a_body_without_content_is_accepted(stopped: Any) -> None:
    answer = await stopped.http.post(
        f"{stopped.path}/start", headers={"Content-Type": "application/json"}, content=b""
    )
    assert answer.status_code == 202


async def test_the_workflow_refuses(running: Any) -> None:
    refused(await running.post("start", initial="paused"), 400, "InitialImmutableUnlessStopped")
    refused(
        await running.post("start", bootstrap_policy="allow"), 400, "BootstrapPolicyImmutableUnlessStopped"
    )
    details = refused(await running.post("clear"), 400, "StorageStatusImmutableUnlessStopped")
    assert details["resources_status"] == "Provisioned"
    deleted = await running.http.delete(running.path)
    refused(deleted, 400, "DeleteRestrictedToFullyStopped")
    assert (await running.get())["deployment_status"] == "Running"


async def test_what_is_not_running_is_not_steered(stopped: Any) -> None:
    details = refused(await stopped.post("pause"), 503, "PipelineInteractionNotDeployed")
    assert details == {"pipeline_name": stopped.name, "status": "Stopped", "desired_status": "Stopped"}


async def test_a_program_in_error_does_not_start(api_worker: None, api_pipeline: Any) -> None:
    await api_pipeline.create(program_code="this is not SQL")
    await api_pipeline.reaches("SqlError", "program_status")
    refused(await api_pipeline.post("start"), 400, "CannotStartWithCompilationError")


async def test_a_standby_needs_its_storage(stopped: Any) -> None:
    refused(await stopped.post("start", initial="standby"), 400, "InitialStandbyNotAllowed")


async def test_a_standby_is_activated(api_worker: None, api_pipeline: Any) -> None:
    backend = {"name": "file", "config": {"sync": {"bucket": "b"}}}
    await api_pipeline.create(runtime_config={"storage": {"backend": backend}})
    details = refused(await api_pipeline.post("activate"), 503, "PipelineInteractionNotDeployed")
    assert details == {"pipeline_name": api_pipeline.name, "status": "Stopped", "desired_status": "Stopped"}
    assert (await api_pipeline.post("start", initial="standby")).status_code == 202
    await api_pipeline.reaches("Standby")
    resumed = await api_pipeline.post("resume")
    assert (resumed.status_code, resumed.json()["details"]) == (400, ["start", "Standby"])
    stopped = await api_pipeline.post("stop")
    assert (stopped.status_code, stopped.json()["details"]) == (400, ["suspend", "Standby"])
    for word in ("standby", "Running", ""):
        wrong = await api_pipeline.post("activate", initial=word)
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, "InvalidActivateStatus")
        assert wrong.json()["details"] == word
    activated = await api_pipeline.post("activate", initial="paused")
    assert (activated.status_code, activated.json()) == (
        202,
        "Pipeline transitioning from Standby to Paused",
    )
    await api_pipeline.reaches("Paused")


async def test_an_approval_answers_when_the_process_has_gone_on(api_worker: None, api_pipeline: Any) -> None:
    refused(await api_pipeline.post("approve"), 404, "UnknownPipelineName")
    await api_pipeline.create(runtime_config={"dev_tweaks": {"asks": True}})
    refused(await api_pipeline.post("approve"), 503, "PipelineInteractionNotDeployed")
    assert (await api_pipeline.post("start")).status_code == 202
    await api_pipeline.reaches("AwaitingApproval")
    both = {"silent_bootstrap": "true", "concurrent_bootstrap": "true"}
    refused(await api_pipeline.post("approve", **both), 400, "InvalidBootstrapConfig")
    assert (await api_pipeline.post("approve", silent_bootstrap="yes")).status_code == 400
    assert (await api_pipeline.get())["deployment_status"] == "AwaitingApproval"
    approved = await api_pipeline.post("approve", silent_bootstrap="true")
    assert (approved.status_code, approved.json()) == (200, "Bootstrap approved")
    shown = await api_pipeline.get()
    assert (shown["deployment_status"], shown["bootstrap_policy"], shown["silent_bootstrap"]) == (
        "Running",
        "await_approval",
        False,
    )
    again = await api_pipeline.post("approve")
    assert (again.status_code, again.json()) == (200, "Bootstrap approved")


async def test_a_graceful_stop_shows_as_soon_as_it_is_answered(running: Any) -> None:
    assert (await running.post("stop")).status_code == 202
    assert (await running.get())["deployment_desired_status"] in ("Suspended", "Stopped")


VERBS = ["start", "stop", "pause", "resume", "activate", "approve", "clear", "dismiss_error"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_name_that_is_not_there(api: httpx.AsyncClient, verb: str) -> None:
    for name in ("nobody", "not a name", "ü", "x" * 2000):
        answer = await api.post(f"/v0/pipelines/{name}/{verb}")
        assert refused(answer, 404, "UnknownPipelineName") == {"pipeline_name": name}


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        pytest.param({"dismiss_error": "True"}, 400, None, id="only lower-case words are booleans"),
        pytest.param({"silent_bootstrap": "1"}, 400, None, id="a number is no boolean"),
        pytest.param({"bootstrap_policy": "maybe"}, 400, None, id="an unknown word"),
        pytest.param(
            {"silent_bootstrap": "true", "concurrent_bootstrap": "true", "initial": "x"},
            400,
            "InvalidBootstrapConfig",
            id="both before initial",
        ),
        pytest.param({"initial": "Running"}, 405, "UnsupportedPipelineAction", id="the wrong case"),
    ],
)
async def test_bad_words_of_a_start_come_before_the_lookup(
    api_offline: httpx.AsyncClient, parameters: dict[str, str], status: int, code: str | None
) -> None:
    answer = await api_offline.post("/v0/pipelines/nobody/start", params=parameters)
    assert answer.status_code == status
    if code is None:
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert answer.json()["error_code"] == code


# Idempotency keys


async def test_a_repeated_request_has_one_effect(stopped: Any) -> None:
    first = await stopped.post("start", key="one")
    again = await stopped.post("start", key="one")
    assert (first.status_code, first.json(), first.headers["location"]) == (
        again.status_code,
        again.json(),
        again.headers["location"],
    )
    await stopped.reaches("Running")
    await stopped.post("stop", force="true")
    await stopped.reaches("Stopped")
    assert (await stopped.post("start", key="one")).status_code == 202
    assert (await stopped.get())["deployment_desired_status"] == "Stopped"


async def test_a_repeated_refusal_stays_one(stopped: Any) -> None:
    refused(await stopped.post("start", key="two", initial="standby"), 400, "InitialStandbyNotAllowed")
    refused(await stopped.post("start", key="two", initial="standby"), 400, "InitialStandbyNotAllowed")


async def test_other_arguments_under_one_key(stopped: Any) -> None:
    await stopped.post("start", key="three")
    refused(await stopped.post("start", key="three", initial="paused"), 409, "IdempotencyKeyReused")
    refused(await stopped.post("stop", key="three", force="true"), 409, "IdempotencyKeyReused")
    assert (await stopped.get())["deployment_desired_status"] == "Running"


async def test_the_same_key_for_another_pipeline(stopped: Any, api_named: Any) -> None:
    other = api_named(stopped.http)
    await other.create()
    assert (await stopped.post("start", key="four")).status_code == 202
    assert (await other.post("clear", key="four")).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 129, "tab\there"])
async def test_unusable_keys(api_offline: httpx.AsyncClient, key: str) -> None:
    answer = await api_offline.post("/v0/pipelines/p/start", headers={"Idempotency-Key": key})
    refused(answer, 400, "InvalidIdempotencyKey")


# The address of a request


async def test_a_request_tells_how_it_was_decided(stopped: Any) -> None:
    started = await stopped.post("start", key="k")
    outcome = (await stopped.http.get(started.headers["location"])).json()
    assert outcome["status"] == "accepted"
    assert outcome["outcome"] == "Pipeline is starting"
    assert outcome["decided_at"]
    assert outcome["error"] is None


async def test_a_request_tells_why_it_was_refused(stopped: Any) -> None:
    good = (await stopped.post("start", key="right")).headers["location"]
    refused(await stopped.post("start", key="wrong", initial="paused"), 400, "InitialImmutableUnlessStopped")
    from api.parse import request_id

    where = f"{stopped.path}/requests/{request_id('anonymous', 'wrong')}"
    outcome = (await stopped.http.get(where)).json()
    assert outcome["status"] == "refused"
    assert outcome["error"]["error_code"] == "InitialImmutableUnlessStopped"
    assert where != good


async def test_an_unknown_request(stopped: Any) -> None:
    refused(await stopped.http.get(f"{stopped.path}/requests/none"), 404, "UnknownRequest")
    refused(await stopped.http.get("/v0/pipelines/nobody/requests/none"), 404, "UnknownPipelineName")


# Without a worker


@pytest.fixture
def deserted(api_deserted: httpx.AsyncClient, api_named: Any) -> Any:
    """A pipeline for which there is no worker."""
    return api_named(api_deserted)


async def test_without_a_worker_a_start_is_on_record_and_carried_out_later(
    deserted: Any, api_working: Any
) -> None:
    await deserted.create()
    began = time.monotonic()
    started = await deserted.post("start")
    assert time.monotonic() - began < 2
    assert started.status_code == 202
    where = started.headers["location"]
    assert where.startswith(f"{deserted.path}/requests/")
    pending = await deserted.http.get(where)
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert (await deserted.get())["deployment_status"] == "Stopped"
    async with api_working():
        await deserted.reaches("Running")
        assert (await deserted.http.get(where)).json()["status"] == "accepted"


@pytest.mark.parametrize("verb", ["approve", "dismiss_error"])
async def test_without_a_worker_nothing_is_claimed_to_be_done(deserted: Any, verb: str) -> None:
    await deserted.create()
    answer = await deserted.post(verb)
    assert answer.status_code == 202
    assert answer.headers["location"].startswith(f"{deserted.path}/requests/")


@pytest.mark.parametrize(("method", "path"), [("POST", "/start"), ("PATCH", ""), ("DELETE", "")])
async def test_without_a_server_it_is_told_where_the_outcome_would_be(
    api_offline: httpx.AsyncClient, method: str, path: str
) -> None:
    body = {"description": "new"} if method == "PATCH" else None
    answer = await api_offline.request(method, f"/v0/pipelines/p{path}", json=body)
    refused(answer, 503, "TemporalUnavailable")
    assert answer.headers["location"].startswith("/v0/pipelines/p/requests/")


async def test_without_a_worker_an_edit_is_not_claimed(deserted: Any) -> None:
    await deserted.create()
    began = time.monotonic()
    answer = await deserted.http.patch(deserted.path, json={"description": "new"})
    assert time.monotonic() - began < 5
    refused(answer, 503, "OutcomeUnknown")
    assert answer.headers["location"].startswith(deserted.path)


async def test_without_a_worker_only_the_whole_is_not_answered(deserted: Any) -> None:
    created = await deserted.create()
    seen = await deserted.get()
    assert seen["id"] == created["id"]
    assert (await deserted.http.get("/v0/pipelines?selector=status")).status_code == 200
    began = time.monotonic()
    whole = await deserted.http.get(deserted.path)
    assert time.monotonic() - began < 5
    refused(whole, 503, "NotAnsweredYet")


# Many at once


async def test_many_starts_through_two_front_ends_on_a_stock_server(
    api_worker: None, api_server: Any, api_open: Any, api_named: Any
) -> None:
    async with api_open(api_server.client) as one, api_open(api_server.client) as other:
        pipeline = api_named(one)
        await pipeline.create()
        twin = api_named(other, pipeline.name)
        starts = [each.post("start") for each in (pipeline, twin) for _ in range(75)]
        answers = await asyncio.gather(*starts)
        assert Counter(answer.status_code for answer in answers) == {202: 150}
        outcomes = await asyncio.gather(*(one.get(answer.headers["location"]) for answer in answers))
        assert Counter(outcome.json()["status"] for outcome in outcomes) == {"accepted": 150}
        assert (await pipeline.reaches("Running"))["deployment_desired_status"] == "Running"

"""One verb for all pipelines that carry a tag, over HTTP and on a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sluicegate import temporal
from sluicegate.settings import Settings
from tests.api.conftest import BAD_PROGRAM, Pipeline

Eventually = Callable[..., Awaitable[Any]]
Make = Callable[..., Awaitable[list[Pipeline]]]
NO_TENANT = "00000000-0000-0000-0000-000000000000"
"""Of an installation without keys."""
OUTCOMES = ("waiting", "working", "done", "refused", "failed", "gone", "dropped")


@pytest.fixture
def tag() -> str:
    """A tag of this test alone."""
    return f"tag-{uuid4().hex[:12]}"


@pytest.fixture
def make(eventually: Eventually, tag: str) -> Make:
    """Create pipelines that carry the tag."""

    async def made(http: httpx.AsyncClient, many: int, **more: Any) -> list[Pipeline]:
        pipelines = [Pipeline(http, eventually) for _ in range(many)]
        await asyncio.gather(*(pipeline.create(tags=[tag], **more) for pipeline in pipelines))
        return pipelines

    return made


async def begin(
    http: httpx.AsyncClient, verb: str, tag: str, key: str | None = None, **more: Any
) -> httpx.Response:
    """Call it."""
    headers = {"Idempotency-Key": key} if key else {}
    return await http.post("/v0/bulk", json={"verb": verb, "tag": tag, **more}, headers=headers)


async def ended(http: httpx.AsyncClient, location: str, eventually: Eventually) -> dict[str, Any]:
    """Wait until it is over."""

    async def over() -> Any:
        answer = await http.get(location, params={"limit": 1000})
        return answer.json() if answer.json()["finished_at"] else None

    return dict(await eventually(over, 40))


def counts(**given: int) -> dict[str, int]:
    """All outcomes, counted."""
    return dict.fromkeys(OUTCOMES, 0) | given


@pytest.mark.usefixtures("api_worker")
class TestWithWorkers:
    """What holds while workers run."""

    async def test_thirty_are_started_and_stopped(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        pipelines = await make(api, 30)
        [other] = await make(api, 1)
        assert (await api.patch(other.path, json={"tags": ["another"]})).status_code == 200
        for verb, status in (("start", "Running"), ("stop", "Stopped")):
            answer = await begin(api, verb, tag, at_once=7)
            assert answer.status_code == 202, answer.text
            assert answer.json()["counts"] == counts(waiting=30)
            assert answer.headers["Location"] == f"/v0/bulk/{answer.json()['id']}"
            shown = await ended(api, answer.headers["Location"], eventually)
            assert shown["counts"] == counts(done=30)
            assert shown["state"] == "finished"
            assert {one["name"] for one in shown["pipelines"]} == {one.name for one in pipelines}
            assert {one["status"] for one in shown["pipelines"]} == {status}
            assert {(await one.get())["deployment_status"] for one in pipelines} == {status}
        assert (await other.get())["deployment_status"] == "Stopped"

    async def test_every_pipeline_knows_the_request(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        [pipeline] = await make(api, 1)
        answer = await begin(api, "start", tag, arguments={"initial": "Paused"})
        await ended(api, answer.headers["Location"], eventually)
        assert (await pipeline.get())["deployment_status"] == "Paused"
        request = f"{pipeline.path}/requests/bulk-{answer.json()['id']}"
        assert (await api.get(request)).json()["status"] == "accepted"

    async def test_a_key_stands_for_one_operation(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        [pipeline] = await make(api, 1)
        first = await begin(api, "start", tag, key=tag)
        await ended(api, first.headers["Location"], eventually)
        assert (await pipeline.post("stop", force="true")).status_code == 202
        await pipeline.reaches("Stopped")
        again = await begin(api, "start", tag, key=tag)
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        assert again.json()["state"] == "finished"
        assert again.json().keys() == first.json().keys()
        assert (await pipeline.get())["deployment_desired_status"] == "Stopped"
        other = await begin(api, "start", tag, key=tag, at_once=3)
        assert (other.status_code, other.json()["error_code"]) == (409, "IdempotencyKeyReused")

    async def test_no_pipeline_is_an_operation_that_is_over(
        self, api: httpx.AsyncClient, tag: str, eventually: Eventually
    ) -> None:
        answer = await begin(api, "stop", tag)
        assert (answer.status_code, answer.json()["state"]) == (202, "finished")
        assert await ended(api, answer.headers["Location"], eventually) == answer.json()

    async def test_refusals_and_failures_hold_nobody_up(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        [bad] = await make(api, 1, program_code=BAD_PROGRAM)
        await bad.reaches("SqlError", "program_status")
        good = await make(api, 3)
        answer = await begin(api, "start", tag, at_once=1)
        shown = await ended(api, answer.headers["Location"], eventually)
        assert shown["counts"] == counts(done=3, refused=1)
        [refused] = [one for one in shown["pipelines"] if one["outcome"] == "refused"]
        assert (refused["name"], refused["error_code"]) == (bad.name, "CannotStartWithCompilationError")
        assert {(await one.get())["deployment_status"] for one in good} == {"Running"}

    async def test_a_pipeline_that_is_started_again_holds_nobody_up(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        pipelines = await make(api, 2)
        for pipeline in pipelines:
            await pipeline.running()
        location = (await begin(api, "stop", tag, at_once=1)).headers["Location"]

        async def told() -> str | None:
            shown = (await api.get(location)).json()["pipelines"]
            return next((one["name"] for one in shown if one["outcome"] == "working"), None)

        first = await eventually(told)
        [again] = [pipeline for pipeline in pipelines if pipeline.name == first]
        await again.reaches("Stopped")
        assert (await again.post("start")).status_code == 202
        shown = await ended(api, location, eventually)
        assert shown["counts"]["done"] + shown["counts"]["failed"] == 2
        [other] = [pipeline for pipeline in pipelines if pipeline.name != first]
        assert (await other.get())["deployment_status"] == "Stopped"

    async def test_pages_fit_together(
        self, api: httpx.AsyncClient, make: Make, tag: str, eventually: Eventually
    ) -> None:
        pipelines = await make(api, 5)
        location = (await begin(api, "stop", tag)).headers["Location"]
        await ended(api, location, eventually)
        seen, offset = [], 0
        while offset is not None:
            page = (await api.get(location, params={"offset": offset, "limit": 2})).json()
            seen += [one["name"] for one in page["pipelines"]]
            offset = page["next_offset"]
        assert sorted(seen) == sorted(one.name for one in pipelines)

    async def test_another_tenant_sees_nothing_of_it(
        self, api: httpx.AsyncClient, api_server: Any, api_open: Any, tmp_path: Any, tag: str
    ) -> None:
        location = (await begin(api, "stop", tag)).headers["Location"]
        assert (await api.get(location)).status_code == 200
        settings = Settings.model_validate({"home": tmp_path, "owner_keys": "owner-key"})
        headers = {"Authorization": "Bearer owner-key"}
        async with api_open(api_server.client, settings) as http:
            made = await http.post("/v0/tenants", json={"name": tag}, headers=headers)
            assert made.status_code == 201, made.text
            headers["Feldera-Tenant"] = tag
            for method, path in (("GET", location), ("POST", f"{location}/cancel")):
                theirs = await http.request(method, path, headers=headers)
                unknown = await http.request(
                    method, path.replace(location, f"/v0/bulk/{uuid4()}"), headers=headers
                )
                assert theirs.status_code == unknown.status_code == 404
                assert theirs.json()["error_code"] == unknown.json()["error_code"] == "UnknownBulk"

    @pytest.mark.parametrize(
        "body",
        [
            {"verb": "pause", "tag": "t"},
            {"verb": "stop"},
            {"verb": "stop", "tag": ""},
            {"verb": "stop", "tag": "t", "at_once": 0},
            {"verb": "stop", "tag": "t", "at_once": 101},
            {"verb": "stop", "tag": "t", "arguments": {"initial": "Paused"}},
            {"verb": "start", "tag": "t", "nonsense": 1},
            {"verb": "stop", "tag": "a,b"},
            {
                "verb": "start",
                "tag": "t",
                "arguments": {"silent_bootstrap": True, "concurrent_bootstrap": True},
            },
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, api: httpx.AsyncClient, body: Any) -> None:
        assert (await api.post("/v0/bulk", json=body)).status_code == 400

    async def test_unknown_operations_are_not_found(self, api: httpx.AsyncClient) -> None:
        for bulk_id in (str(uuid4()), "nonsense"):
            for method, path in (("GET", ""), ("POST", "/cancel")):
                answer = await api.request(method, f"/v0/bulk/{bulk_id}{path}")
                assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownBulk")


async def test_workers_that_come_and_go_lose_nothing(
    api_deserted: httpx.AsyncClient, api_working: Any, make: Make, tag: str, eventually: Eventually
) -> None:
    pipelines = await make(api_deserted, 12)
    answer = await begin(api_deserted, "start", tag, at_once=2)
    assert answer.status_code == 202
    location = answer.headers["Location"]
    silent = await api_deserted.get(location)
    assert (silent.status_code, silent.json()["error_code"]) == (503, "NotAnsweredYet")

    async def some(number: int) -> Any:
        async def there() -> bool:
            return bool((await api_deserted.get(location)).json()["counts"]["done"] >= number)

        return await eventually(there, 40)

    for number in (1, 5):
        async with api_working():
            await some(number)
    async with api_working():
        assert (await ended(api_deserted, location, eventually))["counts"] == counts(done=12)
        # A worker that has gone may still be the one that the server asks first.
        histories = [await eventually(partial(events, each), 40) for each in pipelines]
    assert [statuses.count("Running") for statuses in histories] == [1] * 12


async def events(pipeline: Pipeline) -> list[str]:
    """The statuses that a pipeline went through."""
    answer = await pipeline.http.get(f"{pipeline.path}/events")
    assert answer.status_code == 200, answer.text
    return [one["deployment_runtime_status"] for one in answer.json()]


async def test_a_cancelled_one_tells_nobody_more(
    api_deserted: httpx.AsyncClient, api_working: Any, make: Make, tag: str, eventually: Eventually
) -> None:
    pipelines = await make(api_deserted, 4)
    answer = await begin(api_deserted, "start", tag, at_once=1)
    location = answer.headers["Location"]
    cancelled = await api_deserted.post(f"{location}/cancel")
    assert (cancelled.status_code, cancelled.headers["Location"]) == (202, location)
    async with api_working():
        shown = await ended(api_deserted, location, eventually)
        assert shown["state"] == "cancelled"
        assert shown["counts"] == counts(dropped=4)
        assert {(await one.get())["deployment_desired_status"] for one in pipelines} == {"Stopped"}
        assert (await api_deserted.post(f"{location}/cancel")).status_code == 202


async def test_a_pipeline_deleted_meanwhile_is_gone(
    api_deserted: httpx.AsyncClient,
    api_deserted_server: Any,
    api_working: Any,
    make: Make,
    tag: str,
    eventually: Eventually,
) -> None:
    first, second = await make(api_deserted, 2)
    answer = await begin(api_deserted, "start", tag)
    bulk_id = answer.json()["id"]
    for one in (first, second):
        workflow_id = temporal.pipeline_workflow_id(NO_TENANT, one.name)
        await api_deserted_server.client.get_workflow_handle(workflow_id).terminate("deleted")
    await second.create(tags=[tag])
    async with api_working():
        shown = await ended(api_deserted, f"/v0/bulk/{bulk_id}", eventually)
        assert shown["counts"] == counts(gone=2)
        assert (await second.get())["deployment_desired_status"] == "Stopped"

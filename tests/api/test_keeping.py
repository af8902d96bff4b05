"""Restart policy and schedules over HTTP: what is shown, kept, refused and due."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Eventually = Callable[..., Awaitable[Any]]
pytestmark = pytest.mark.usefixtures("api_worker")
DEFAULT = {
    "policy": "never",
    "max_attempts": 5,
    "initial_backoff_secs": 1.0,
    "max_backoff_secs": 300.0,
    "backoff_factor": 2.0,
    "healthy_after_secs": 60.0,
    "attempts": 0,
    "restarts": 0,
    "next_retry_at": None,
    "quarantined_since": None,
}


async def put(pipeline: Any, path: str, body: Any, key: str | None = None) -> Any:
    """PUT a sub-resource."""
    headers = {"Idempotency-Key": key} if key else {}
    return await pipeline.http.put(f"{pipeline.path}/{path}", json=body, headers=headers)


async def read(pipeline: Any, path: str) -> Any:
    """GET a sub-resource."""
    answer = await pipeline.http.get(f"{pipeline.path}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_policy_is_kept_in_any_status_and_for_no_version(api_pipeline: Any) -> None:
    await api_pipeline.create()
    assert await read(api_pipeline, "restart_policy") == DEFAULT
    await api_pipeline.running()
    before = await api_pipeline.get()
    chosen = {"policy": "on_failure", "max_attempts": 3, "initial_backoff_secs": 2}
    answer = await put(api_pipeline, "restart_policy", chosen)
    assert answer.status_code == 200, answer.text
    assert answer.json() == DEFAULT | chosen
    assert await read(api_pipeline, "restart_policy") == DEFAULT | chosen
    after = await api_pipeline.get()
    assert (after["version"], after["refresh_version"]) == (before["version"], before["refresh_version"])
    assert after.keys() == before.keys()
    assert (await put(api_pipeline, "restart_policy", {})).json() == DEFAULT


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"policy": "always"}, "policy"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
        ({"initial_backoff_secs": 10, "max_backoff_secs": 1}, "must not be less than initial_backoff_secs"),
        ({"attempts": 3}, "attempts"),
        ([], "body"),
    ],
)
async def test_a_bad_policy_is_refused_in_words(api_pipeline: Any, body: Any, told: str) -> None:
    await api_pipeline.create()
    answer = await put(api_pipeline, "restart_policy", body)
    assert answer.status_code == 400
    assert told in answer.text
    assert await read(api_pipeline, "restart_policy") == DEFAULT


async def test_schedules_are_kept_shown_and_removed(api_pipeline: Any, eventually: Eventually) -> None:
    await api_pipeline.create()
    assert await read(api_pipeline, "schedules") == []
    body = {"verb": "stop", "cron": "0 22 * * MON-FRI", "timezone": "Europe/Vienna"}
    answer = await put(api_pipeline, "schedules/nightly", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["cron"] == "0 22 * * mon-fri"
    assert answer.json()["arguments"] == {"force": False}

    async def due() -> Any:
        found = await read(api_pipeline, "schedules/nightly")
        return found if found["in_place"] and len(found["next_times"]) == 5 else None

    shown = await eventually(due)
    assert all(time[11:19] in ("20:00:00", "21:00:00") for time in shown["next_times"])
    assert [one["name"] for one in await read(api_pipeline, "schedules")] == ["nightly"]
    removed = await api_pipeline.http.delete(f"{api_pipeline.path}/schedules/nightly")
    assert (removed.status_code, removed.content) == (200, b"")
    assert await read(api_pipeline, "schedules") == []


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ({"verb": "stop", "cron": "61 * * * *"}, "InvalidSchedule", "the minute '61'"),
        ({"verb": "stop", "cron": "@daily", "timezone": "Mars/Olympus"}, "InvalidSchedule", "Mars/Olympus"),
        ({"verb": "stop", "cron": "@daily", "timezone": "../etc"}, "InvalidSchedule", "no time zone"),
        (
            {"verb": "stop", "cron": "@daily", "arguments": {"initial": "Paused"}},
            "InvalidSchedule",
            "initial",
        ),
    ],
)
async def test_a_bad_schedule_is_refused_and_nothing_stored(
    api_pipeline: Any, body: Any, code: str, told: str
) -> None:
    await api_pipeline.create()
    answer = await put(api_pipeline, "schedules/s", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)
    assert told in answer.json()["message"]
    assert await read(api_pipeline, "schedules") == []


async def test_names_and_bodies_of_schedules_are_checked(api_pipeline: Any) -> None:
    await api_pipeline.create()
    good = {"verb": "stop", "cron": "@daily"}
    for name, code in (("a b", "NameDoesNotMatchPattern"), ("x" * 64, "TooLongName")):
        assert (await put(api_pipeline, f"schedules/{name}", good)).json()["error_code"] == code
    assert (await put(api_pipeline, "schedules/s", {"verb": "pause", "cron": "@daily"})).status_code == 400
    assert (await put(api_pipeline, "schedules/s", good | {"nonsense": 1})).status_code == 400
    for method in ("GET", "DELETE"):
        answer = await api_pipeline.http.request(method, f"{api_pipeline.path}/schedules/s")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownSchedule")


async def test_a_key_has_one_effect(api_pipeline: Any) -> None:
    await api_pipeline.create()
    daily, hourly = ({"verb": "stop", "cron": cron} for cron in ("@daily", "@hourly"))
    assert (await put(api_pipeline, "schedules/s", daily, key="k")).status_code == 200
    assert (await put(api_pipeline, "schedules/s", hourly)).status_code == 200
    assert (await put(api_pipeline, "schedules/s", daily, key="k")).json()["cron"] == "@hourly"
    other = await put(api_pipeline, "schedules/s", hourly, key="k")
    assert (other.status_code, other.json()["error_code"]) == (409, "IdempotencyKeyReused")


async def test_a_pipeline_that_is_not_there_keeps_nothing(api_pipeline: Any) -> None:
    for path in ("restart_policy", "schedules", "schedules/s"):
        answer = await api_pipeline.http.get(f"{api_pipeline.path}/{path}")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")

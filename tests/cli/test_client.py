"""The typed client: what it sends, what it makes of answers and of silence."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.client import Client, Refused, TimedOut, Unreachable


@pytest.fixture
def client(api: Any) -> Iterator[Client]:
    with Client(api.url, "key-1") as client:
        yield client


def test_verbs_carry_the_key_and_an_id_of_their_own(api: Any, client: Client) -> None:
    for verb in ("start", "stop", "pause", "resume", "clear", "dismiss_error", "activate", "approve"):
        api.answer("POST", f"/v0/pipelines/shop/{verb}", "", status=202)
    client.start("shop", initial="paused")
    client.stop("shop", force=True)
    client.pause("shop", request_id="mine")
    client.resume("shop")
    client.clear("shop")
    client.dismiss_error("shop")
    client.activate("shop", initial="paused")
    client.approve("shop", silent=True)
    flags = {"silent_bootstrap": "true", "concurrent_bootstrap": "false"}
    assert [seen.query for seen in api.seen[-2:]] == [{"initial": "paused"}, flags]
    assert [seen.query for seen in api.seen[:2]] == [{"initial": "paused"}, {"force": "true"}]
    assert {seen.headers["authorization"] for seen in api.seen} == {"Bearer key-1"}
    ids = [seen.headers["idempotency-key"] for seen in api.seen]
    assert len(set(ids)) == len(ids)
    assert ids[2] == "mine"


def test_names_are_one_segment_of_the_path(api: Any, client: Client) -> None:
    api.answer("DELETE", "/v0/pipelines/a%2Fb%20c", "")
    client.delete("a/b c")
    assert api.paths("DELETE") == ["/v0/pipelines/a%2Fb%20c"]


def test_a_refusal_keeps_its_code(api: Any, client: Client) -> None:
    api.refuse("GET", "/v0/pipelines/shop", 404, "UnknownPipelineName", "There is no pipeline 'shop'.")
    with pytest.raises(Refused, match="There is no pipeline") as caught:
        client.pipeline("shop")
    assert (caught.value.status, caught.value.code, caught.value.details) == (404, "UnknownPipelineName", {})


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        pytest.param(400, "Json deserialize error", "Json deserialize error", id="plain text"),
        pytest.param(401, "", "a valid API key is needed", id="no key"),
        pytest.param(502, "", "Bad Gateway", id="nothing at all"),
        pytest.param(500, [1], r"\[1\]", id="JSON of another kind"),
    ],
)
def test_a_refusal_without_a_code_is_told_all_the_same(
    api: Any, client: Client, status: int, body: Any, message: str
) -> None:
    api.answer("GET", "/v0/pipelines", body, status=status)
    with pytest.raises(Refused, match=message) as caught:
        client.pipelines()
    assert caught.value.code == f"HTTP {status}"


def test_silence_is_no_refusal() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert not client.healthy()
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            client.pipelines()
        with pytest.raises(Unreachable):
            list(client.logs("shop"))


def test_rows_and_flags_are_sent_as_the_api_wants_them(api: Any, client: Client) -> None:
    api.answer("POST", "/v0/pipelines/shop/ingress/orders", {"token": "t1"})
    api.answer("GET", "/v0/pipelines/shop/completion_status", {"status": "complete", "step": 1})
    token = client.ingest("shop", "orders", b"[1]", format="json", array=True, force=False)
    assert client.completed("shop", token)
    assert api.seen[0].query == {"format": "json", "array": "true", "force": "false"}
    assert api.seen[0].body == b"[1]"
    assert api.seen[1].query == {"token": "t1"}


def test_queries_give_rows_or_the_error_that_came_in_their_place(api: Any, client: Client) -> None:
    api.answer("GET", "/v0/pipelines/shop/query", '{"n": 1}\n{"n": null}\n', '{"n": 1}\n{"error": "late"}\n')
    assert client.query("shop", "SELECT n FROM v") == [{"n": 1}, {"n": None}]
    with pytest.raises(Refused, match="late"):
        client.query("shop", "SELECT n FROM v")


def test_a_wait_is_left_to_the_api(api: Any, client: Client) -> None:
    running = api.pipeline(deployment_status="Running", deployment_desired_status="Running")
    api.answer("GET", "/v0/pipelines/shop", running)
    assert client.wait("shop", "running", "awaiting_approval", seconds=7).status == "Running"
    [seen] = api.seen
    assert (seen.query["selector"], seen.query["wait_for"]) == ("status", "running,awaiting_approval")
    assert 6_000 < int(seen.query["timeout"].removesuffix("ms")) <= 7_000


def test_a_wait_goes_on_until_it_is_late(api: Any, client: Client) -> None:
    details = api.pipeline(deployment_status="Provisioning", deployment_desired_status="Running")
    late = {"message": "not yet", "error_code": "WaitTimedOut", "details": details}
    api.answer("GET", "/v0/pipelines/shop", late, status=504)
    api.answers["GET", "/v0/pipelines/shop"].append((200, json.dumps(api.pipeline())))
    assert client.wait("shop", "stopped").stopped
    assert len(api.seen) == 2
    api.answer("GET", "/v0/pipelines/shop", late, status=504)
    with pytest.raises(TimedOut, match=r"shop is Provisioning \(wanted: Running\)"):
        client.wait("shop", "running", seconds=0.0)


EVENTS = """retry: 500

: ping

event: transition
id: {0}
data: {{"event_id": "{0}"}}

"""
END = """event: deleted
data: {"name": "shop"}

"""


def test_a_watch_that_is_cut_goes_on_after_what_it_has_seen(
    api: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.client.AGAIN_AFTER", 0.0)
    path = "/v0/pipelines/shop/watch"
    ending = {"message": "ending", "error_code": "ShuttingDown", "details": None}
    api.answer("GET", path, EVENTS.format(1))
    api.answers["GET", path].append((503, json.dumps(ending)))
    api.answers["GET", path].append((200, EVENTS.format(2) + END))
    seen = list(client.watch("shop"))
    assert [(event.kind, event.id) for event in seen] == [
        ("transition", "1"),
        ("transition", "2"),
        ("deleted", None),
    ]
    assert [request.query for request in api.seen] == [{}, {"after": "1"}, {"after": "1"}]


def test_a_watch_ends_where_its_pipeline_went_during_a_cut(
    api: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.client.AGAIN_AFTER", 0.0)
    path = "/v0/pipelines/shop/watch"
    api.answer("GET", path, EVENTS.format(1))
    gone = {"message": "gone", "error_code": "UnknownPipelineName", "details": {"pipeline_name": "shop"}}
    api.answers["GET", path].append((404, json.dumps(gone)))
    seen = list(client.watch("shop"))
    assert [(event.kind, event.data.get("after")) for event in seen[1:]] == [("gap", "1"), ("deleted", None)]


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_watch_that_is_refused_at_its_beginning_says_so(api: Any, client: Client, status: int) -> None:
    api.refuse("GET", "/v0/pipelines/shop/watch", status, "No", "not you")
    with pytest.raises(Refused, match="not you"):
        list(client.watch("shop"))


def test_logs_come_line_by_line(api: Any, client: Client) -> None:
    api.answer("GET", "/v0/pipelines/shop/logs", "one\ntwo\n")
    assert list(client.logs("shop")) == ["one", "two"]
    api.refuse("GET", "/v0/pipelines/shop/logs", 404, "UnknownPipelineName", "gone")
    with pytest.raises(Refused, match="gone"):
        list(client.logs("shop"))


def test_schedules_and_restart_policy_are_resources(api: Any, client: Client) -> None:
    path = "/v0/pipelines/shop"
    api.answer("PUT", f"{path}/restart_policy", {"policy": "on_failure"})
    api.answer("PUT", f"{path}/schedules/nightly", {"name": "nightly"})
    api.answer("GET", f"{path}/schedules", [{"name": "nightly"}])
    api.answer("DELETE", f"{path}/schedules/nightly", "")
    assert client.set_restart_policy("shop", policy="on_failure") == {"policy": "on_failure"}
    client.set_schedule("shop", "nightly", verb="stop", cron="0 22 * * *")
    assert [one["name"] for one in client.schedules("shop")] == ["nightly"]
    client.delete_schedule("shop", "nightly")
    assert api.paths("DELETE") == [f"{path}/schedules/nightly"]

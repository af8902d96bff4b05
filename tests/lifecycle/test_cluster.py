"""Which reports of the control plane's health become events, and for how long they are kept."""

from datetime import UTC, datetime, timedelta

import pytest

from sluicegate.lifecycle import cluster, effects
from sluicegate.lifecycle.cluster import ClusterHistory, Finding, Probe
from sluicegate.lifecycle.stuck import Kind, Report, Sight, Stuck

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVERYBODY = Sight("", everything=True)
BRIEF = {"id", "recorded_at", "all_healthy", "api_status", "compiler_status", "runner_status"}
DETAILS = {f"{p}_{what}" for p in ("api", "compiler", "runner") for what in ("self_info", "resources_info")}


def stuck(*tenants: str, cause: str = "why") -> Report:
    """A report of one stuck pipeline of each tenant."""
    return Report.of(
        Stuck(workflow_id=f"pipeline/{t}/p", tenant_id=t, name="p", kind=Kind.ACTIVITY, cause=cause)
        for t in tenants
    )


def probe(at: datetime, *, compiler: bool = True, runner: bool = True, stuck: Report | None = None) -> Probe:
    """Make a report."""
    return Probe(
        stuck=stuck or Report(),
        at=at,
        api=Finding(healthy=True, self_info="fine"),
        compiler=Finding(healthy=compiler, self_info=f"compiler {compiler}"),
        runner=Finding(healthy=runner, self_info=f"runner {runner}"),
    )


def test_a_change_is_an_event_and_the_same_again_is_not() -> None:
    history = ClusterHistory()
    for number, (runner, events) in enumerate([(True, 1), (True, 1), (False, 2), (False, 2), (True, 3)]):
        history = history.noting(probe(T0 + number * SECOND, runner=runner))
        assert len(history.events) == events
    assert len({event.id for event in history.events}) == 3


def test_every_ten_minutes_an_event_says_that_it_is_still_so() -> None:
    history = ClusterHistory().noting(probe(T0))
    assert len(history.noting(probe(T0 + timedelta(seconds=599))).events) == 1
    assert len(history.noting(probe(T0 + timedelta(seconds=600))).events) == 2


def test_what_has_never_been_well_is_called_so() -> None:
    history = ClusterHistory()
    seen = []
    for number, compiler in enumerate([False, True, False]):
        history = history.noting(probe(T0 + number * SECOND, compiler=compiler))
        seen.append(history.events[-1].brief()["compiler_status"])
    assert seen == ["InitialUnhealthy", "Healthy", "Unhealthy"]


def test_the_keys_are_exact() -> None:
    [event] = ClusterHistory().noting(probe(T0, runner=False)).events
    assert set(event.brief()) == BRIEF
    assert set(event.whole(EVERYBODY)) == BRIEF | DETAILS
    assert event.brief()["all_healthy"] is False
    assert event.whole(EVERYBODY)["runner_self_info"] == "runner False"


def test_at_most_a_thousand_are_kept_and_none_for_longer_than_72_hours() -> None:
    history = ClusterHistory()
    for number in range(1_100):
        history = history.noting(probe(T0 + number * SECOND, runner=number % 2 == 0))
    assert len(history.events) == 1_000
    assert history.count == 1_100
    newest = history.events[-1]
    assert history.current(newest.probe.at)[0] == newest
    assert history.current(T0 + cluster.KEPT_FOR + 1_098 * SECOND) == [newest, history.events[-2]]
    later = history.noting(probe(T0 + timedelta(hours=73)))
    assert len(later.events) == 1


def test_a_front_end_whose_clock_is_behind_is_heard() -> None:
    history = ClusterHistory().noting(probe(T0)).noting(probe(T0 - SECOND, runner=False))
    assert [event.probe.at for event in history.events] == [T0, T0]


@pytest.mark.parametrize("events", [0, 3])
def test_it_travels(events: int) -> None:
    history = ClusterHistory()
    for number in range(events):
        history = history.noting(probe(T0 + number * SECOND, runner=bool(number % 2)))
    assert ClusterHistory.decoded(history.encoded()) == history


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_report_of_a_time_that_cannot_be_written_down_is_not_taken(at: str) -> None:
    report = probe(T0).model_dump(mode="json")
    assert effects.read(Probe, [report]) == probe(T0)
    assert effects.read(Probe, [{**report, "at": at}]) is None


def test_stuck_work_is_an_event_when_it_changes_and_not_at_each_look() -> None:
    history = ClusterHistory()
    for number, (found, events) in enumerate(
        [((), 1), (("a",), 2), (("a",), 2), (("a", "b"), 3), (("b",), 4), ((), 5), ((), 5)]
    ):
        history = history.noting(probe(T0 + number * SECOND, stuck=stuck(*found, cause=str(number))))
        assert len(history.events) == events
    assert {event.brief()["runner_status"] for event in history.events} == {"Healthy"}
    seen = {who: [e for e in history.events if e.seen_by(Sight(who))] for who in ("a", "b", "c")}
    assert {who: len(events) for who, events in seen.items()} == {"a": 3, "b": 3, "c": 1}
    assert all(event.seen_by(EVERYBODY) for event in history.events)


def test_an_event_tells_each_of_its_own() -> None:
    history = ClusterHistory().noting(probe(T0, stuck=stuck("a", "b")))
    [event] = history.events
    assert event.whole(Sight("c"))["runner_resources_info"] is None
    assert event.whole(Sight("a"))["runner_resources_info"].startswith("1 stuck: p (")
    assert event.whole(EVERYBODY)["runner_resources_info"].startswith("2 stuck: p of tenant a (")


def test_what_others_may_not_see_moves_nothing_that_they_see() -> None:
    quiet, restless = ClusterHistory(), ClusterHistory()
    for number in range(130):
        at = T0 + number * 10 * SECOND
        quiet = quiet.noting(probe(at))
        restless = restless.noting(probe(at, stuck=stuck(*["a"] * (number % 2))))
    seen = [
        [e.probe.at for e in history.current(T0) if e.seen_by(Sight("c"))] for history in (quiet, restless)
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


def test_a_restless_pipeline_pushes_out_no_event_that_is_for_all() -> None:
    history = ClusterHistory().noting(probe(T0))
    for number in range(1, 500):
        history = history.noting(probe(T0 + number * SECOND, stuck=stuck(*["a"] * (number % 2))))
    assert history.events[0].probe.at == T0
    assert len(history.events) == cluster.KEPT_OF_TENANTS + 1


def test_events_that_would_not_travel_lose_their_older_half(monkeypatch: pytest.MonkeyPatch) -> None:
    history = ClusterHistory()
    for number in range(10):
        history = history.noting(probe(T0 + number * SECOND, runner=bool(number % 2)))
    monkeypatch.setattr(cluster, "MAX_ENCODED", len(history.encoded()["packed"]) - 1)
    assert ClusterHistory.decoded(history.encoded()).events == history.events[6:]
    monkeypatch.setattr(cluster, "MAX_ENCODED", 1)
    assert ClusterHistory.decoded(history.encoded()).events == ()

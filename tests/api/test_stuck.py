"""The search for stuck work on a diagnosis in memory: what it costs, what it believes, when it forgets."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import structlog

from api import stuck as searching
from api.diagnosis import ALL, FAILING, FAILS, UNDER_WAY, Diagnosis, Row
from api.health import Health
from api.rpc import Temporal
from api.stuck import StuckWork
from sluicegate.errors import TemporalUnavailable
from sluicegate.lifecycle.stuck import Kind, Report, Stuck, Trouble

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATE = Trouble(kind=Kind.HEARTBEAT, cause="lost")


def row(name: str, *troubles: Trouble, kind: str = "pipeline/t", record: bool = True) -> Row:
    """A workflow that was started long ago."""
    return Row(f"{kind}/{name}", f"run of {name}", "", T0, troubles if record else None)


class MemoryDiagnosis:
    """What Temporal would say, and what it was asked."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.pages: dict[str, list[Row]] = {FAILING: [], UNDER_WAY: [], ALL: []}
        self.more = b""
        self.tokens: list[bytes] = []
        self.there: dict[str, Row] = {}
        self.asked: list[str] = []
        self.causes: list[str] = []
        self.away: TemporalUnavailable | None = None

    async def page(self, query: str, token: bytes = b"") -> tuple[list[Row], bytes]:
        """Give the one page of a query."""
        if self.away:
            raise self.away
        if query == ALL:
            self.tokens.append(token)
        return self.pages[query], self.more if query == ALL else b""

    async def look(self, workflow_id: str) -> Row | None:
        """Look at one that is there."""
        self.asked.append(workflow_id)
        return self.there.get(workflow_id)

    async def cause(self, row: Row) -> Trouble:
        """Say why."""
        self.causes.append(row.run_id)
        return Trouble(kind=Kind.WORKFLOW_TASK, cause=f"why {row.run_id}")


@pytest.fixture
def temporal_says() -> MemoryDiagnosis:
    """See `MemoryDiagnosis`."""
    return MemoryDiagnosis()


@pytest.fixture
def work(temporal_says: MemoryDiagnosis) -> StuckWork:
    """A search that has not begun."""
    return StuckWork(cast(Diagnosis, temporal_says))


def names(work: StuckWork) -> set[str]:
    """Whose work is stuck."""
    return {one.name for one in work.report.items}


async def test_a_failing_task_shows_with_its_cause_and_is_gone_with_its_row(
    work: StuckWork, temporal_says: MemoryDiagnosis
) -> None:
    temporal_says.pages[FAILING] = [row("p")]
    await work.look()
    await work.look()
    [one] = work.report.items
    assert (one.name, one.kind, one.cause) == ("p", Kind.WORKFLOW_TASK, "why run of p")
    assert temporal_says.causes == ["run of p"]  # once, while it goes on failing
    temporal_says.pages[FAILING] = []
    await work.look()
    assert work.report == Report()


async def test_causes_are_found_out_some_at_a_time(work: StuckWork, temporal_says: MemoryDiagnosis) -> None:
    temporal_says.pages[FAILING] = [row(f"p{number}") for number in range(25)]
    known = []
    for _ in range(3):
        asked = len(temporal_says.causes)
        await work.look()
        assert len(temporal_says.causes) - asked <= searching.CAUSES
        assert len(names(work)) == 25
        known.append(sum(one.cause != FAILS.cause for one in work.report.items))
    assert known == [10, 20, 25]


@pytest.mark.parametrize("page", [UNDER_WAY, ALL])
async def test_what_a_record_says_shows_until_it_says_so_no_more(
    work: StuckWork, temporal_says: MemoryDiagnosis, page: str
) -> None:
    temporal_says.pages[page] = [row("p", LATE), row("fine")]
    await work.look()
    assert names(work) == {"p"}
    temporal_says.pages[page] = [row("p"), row("fine")]
    await work.look()
    assert names(work) == set()
    assert temporal_says.asked == []


@pytest.mark.parametrize(
    ("there", "still"),
    [
        pytest.param(row("p", LATE), {"p"}, id="it is so"),
        pytest.param(row("p"), set[str](), id="it is so no more"),
        pytest.param(None, set[str](), id="it has ended"),
    ],
)
async def test_what_was_on_a_page_that_has_passed_is_looked_at(
    work: StuckWork, temporal_says: MemoryDiagnosis, there: Row | None, still: set[str]
) -> None:
    temporal_says.pages[ALL], temporal_says.more = [row("p", LATE)], b"second page"
    await work.look()
    temporal_says.pages[ALL], temporal_says.more = [row("fine")], b""
    if there:
        temporal_says.there[there.workflow_id] = there
    await work.look()
    assert names(work) == still
    assert temporal_says.asked == ["pipeline/t/p"]
    await work.look()
    assert temporal_says.tokens == [b"", b"second page", b""]


async def test_what_has_no_record_is_looked_at_by_turns(
    work: StuckWork, temporal_says: MemoryDiagnosis
) -> None:
    old = [row(f"{number:02}", kind="cleanup", record=False) for number in range(50)]
    new = row("new", kind="cleanup", record=False)._replace(started=datetime.now(UTC))
    temporal_says.pages[UNDER_WAY] = [*old, new]
    temporal_says.there = {one.workflow_id: one._replace(troubles=(LATE,)) for one in old}
    for look in (20, 40, 60):
        await work.look()
        assert len(temporal_says.asked) == look
    assert {one.workflow_id for one in old} == set(temporal_says.asked)
    assert work.report.total == 50


async def test_what_another_front_end_has_found_is_believed_until_it_was_looked_at(
    work: StuckWork, temporal_says: MemoryDiagnosis
) -> None:
    await work.look()
    one = Stuck(workflow_id="pipeline/t/p", tenant_id="t", name="p", kind=Kind.ACTIVITY, cause="why")
    known = Report.of([one])
    work.take_up(T0, known)
    assert work.to_tell(known) == known
    temporal_says.there["pipeline/t/p"] = row("p", Trouble(kind=Kind.ACTIVITY, cause="still"))
    await work.look()
    assert work.to_tell(known).changed(known) == set()
    temporal_says.there.clear()
    await work.look()
    work.take_up(T0, known)  # the same again is no news
    await work.look()
    assert work.to_tell(known).changed(known) == {"t"}


async def test_a_look_in_vain_changes_nothing_and_comes_to_be_told(
    work: StuckWork, temporal_says: MemoryDiagnosis, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(searching, "LOOK_EVERY", 0.01)
    temporal_says.pages[UNDER_WAY] = [row("p", LATE)]
    await work.look()
    temporal_says.away = TemporalUnavailable(error="gone")
    later = datetime.now(UTC) + timedelta(minutes=5)

    async def doubted() -> bool:
        return "gone" in (work.doubt(later) or "")

    with structlog.testing.capture_logs() as lines:
        work.start()
        await eventually(doubted)
        await work.aclose()
    assert names(work) == {"p"}
    assert [line["event"] for line in lines] == ["stuck work not looked for"]  # once, not at each look


async def test_a_search_that_hangs_is_given_up_and_holds_the_prober_up_at_no_time(
    temporal_says: MemoryDiagnosis, monkeypatch: pytest.MonkeyPatch, eventually: Any, api_server: Any
) -> None:
    monkeypatch.setattr(searching, "LOOK_WITHIN", 0.05)
    monkeypatch.setattr(searching, "LOOK_EVERY", 0.01)
    hanging = 0

    async def page(query: str, token: bytes = b"") -> tuple[list[Row], bytes]:
        nonlocal hanging
        hanging += 1
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(temporal_says, "page", page)
    work = StuckWork(cast(Diagnosis, temporal_says))
    health = Health(api_server.client, Temporal(api_server.client), work)
    work.start()

    async def given_up() -> bool:
        later = datetime.now(UTC) + timedelta(minutes=5)
        return "no answer came within" in (work.doubt(later) or "")

    await eventually(given_up)
    calls = hanging
    await health.look()
    await health.look()

    async def looked_again() -> bool:
        return hanging > calls

    await eventually(looked_again)
    await work.aclose()
    await health.aclose()

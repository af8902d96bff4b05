"""The schedule of faults is a pure function of the seed, and has everything in it."""

from sluicegate import faults
from tests.chaos import campaign, schedule
from tests.chaos.schedule import Kind


def test_the_same_seed_gives_the_same_faults() -> None:
    assert schedule.scheduled(7, 600) == schedule.scheduled(7, 600)
    assert schedule.scheduled(7, 600) != schedule.scheduled(8, 600)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short = schedule.scheduled(7, 60)
    assert schedule.scheduled(7, 600)[: len(short)] == short


def test_a_complete_run_arms_every_point_and_has_every_kind_of_fault() -> None:
    planned = schedule.scheduled(7, campaign.COMPLETE)
    early = [fault for fault in planned if fault.at < 0.7 * campaign.COMPLETE]
    armed = {fault.target for fault in early if fault.kind is Kind.POINT}
    assert armed == set(faults.POINTS)
    assert {fault.kind for fault in planned} == set(Kind)
    struck = {(fault.target, fault.how) for fault in planned if fault.kind is Kind.PROCESS}
    parts = (*schedule.WORKERS, *schedule.APIS, schedule.TEMPORAL, schedule.ENGINE)
    assert {part for part, _ in struck} == set(parts)
    assert {how for _, how in struck} == {"kill", "stop"}


def test_a_fault_is_read_as_it_was_written() -> None:
    for fault in schedule.scheduled(7, 600):
        assert schedule.decoded(fault.encoded()) == fault

"""The last minute: a sample a second where something happens, filled in where nothing does."""

import asyncio
import itertools
import json

import pytest

from sluicegate.engine.observing import series
from sluicegate.engine.observing.memory import Pressure
from sluicegate.engine.observing.series import Series
from tests.engine.conftest import Engine

PROGRAM = "CREATE TABLE t (x INT) WITH ('materialized' = 'true');"
START = 1_000_000


class Hands:
    """A clock that is set by hand, in milliseconds."""

    def __init__(self) -> None:
        self.at = START

    def time_ns(self) -> int:
        """Return its time."""
        return self.at * 1_000_000

    def time(self) -> float:
        """Return its time."""
        return self.at / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(series, "time", hands)
    return hands


async def test_seconds_in_which_nothing_happened_are_filled_in(clock: Hands) -> None:
    told = itertools.count(10, 5)
    samples = Series(lambda: next(told), lambda: 7, Pressure({}))
    await samples.now()
    clock.at += 3000
    found = await samples.history()
    assert [(sample.t - START, sample.r) for sample in found] == [(0, 10), (1000, 10), (2000, 10), (3000, 15)]
    assert {sample.s for sample in found} == {7}
    assert all(sample.m > 0 for sample in found)


async def test_a_minute_is_kept(clock: Hands) -> None:
    samples = Series(lambda: 0, lambda: 0, Pressure({}))
    await samples.now()
    clock.at += 10**9
    found = await samples.history()
    assert len(found) == 60
    assert found[-1].t == clock.at


async def test_storage_is_summed_over_time(clock: Hands) -> None:
    sizes = iter((2_000_000, 4_000_000, 0))
    samples = Series(lambda: 0, lambda: next(sizes), Pressure({}))
    for seconds in (0, 10, 5):
        clock.at += seconds * 1000
        await samples.now()
    assert samples.storage_mb_secs == 2 * 10 + 4 * 5


async def test_samples_are_taken_only_while_something_happens() -> None:
    looks = itertools.count()
    samples = Series(lambda: 0, lambda: next(looks), Pressure({}))
    samples.touch()
    sampling = samples._sampling
    assert sampling is not None
    await sampling
    assert next(looks) == 1
    assert samples._sampling is None, "nothing wakes up an idle process"


async def test_a_follower_is_let_go_at_the_end() -> None:
    samples = Series(lambda: 0, lambda: 0, Pressure({}))
    found = []

    async def follow() -> None:
        async for sample in samples.follow():
            found.append(sample)

    following = asyncio.create_task(follow())
    while not found:
        await asyncio.sleep(0)
    samples.close()
    await following


def test_the_wire(shared: Engine) -> None:
    shared.push("t", "1\n2")
    body = shared.http.get("/time_series").json()
    assert set(body) == {"now", "samples"}
    assert body["samples"][-1].keys() == {"t", "r", "m", "s"}
    assert body["samples"][-1]["t"] == body["now"]
    assert body["samples"][-1]["r"] == 2
    with shared.http.stream("GET", "/time_series_stream") as stream:
        assert stream.headers["content-type"] == "application/x-ndjson"
        lines = stream.iter_lines()
        history = [json.loads(next(lines)) for _ in body["samples"]]
        assert history[-1]["r"] == 2
        shared_times = [json.loads(next(lines))["t"] for _ in range(2)]
    assert shared_times == sorted(shared_times)

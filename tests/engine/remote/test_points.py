"""Engines that are killed at every named point of a push, a pull and an activation.

Whatever the point: what the bucket and the standby have is whole, the newest of it has the rows that it was
made with, and the next attempt comes through. `KILLS_AT_POINTS=10` kills ten times at each.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sluicegate import faults
from sluicegate.engine.checkpoints.store import Store
from sluicegate.engine.fetching import MARKER
from sluicegate.engine.remote.bucket import connected
from sluicegate.engine.remote.pull import Puller
from tests.engine.remote.conftest import LOOPBACK, config
from tests.engine.remote.pairs import COUNT, Machine

KILLS = int(os.environ.get("KILLS_AT_POINTS", "1"))
PUSH = [point for point in faults.REMOTE if point.startswith("push.")]
PULL = [point for point in faults.REMOTE if point.startswith("pull.")]
ACTIVATE = [point for point in faults.REMOTE if point.startswith(("standby.", "activate."))]
FIRST, SECOND = 100, 150
"""Rows of two checkpoints."""


class Points:
    """Where processes are killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("armed", "hit"):
            (folder / name).mkdir(parents=True)

    def arm(self, point: str) -> None:
        """Have the next process that comes by be killed there."""
        (self._folder / "armed" / point).write_text("kill")

    def killed(self, machine: Machine) -> None:
        """Wait until the machine's process is dead."""
        assert machine.engine.process is not None
        assert machine.engine.process.wait(60) == -signal.SIGKILL
        machine.engine.http.close()


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Points:
    """Have engines look for armed points."""
    monkeypatch.setenv(faults.VARIABLE, str(tmp_path / "points"))
    return Points(tmp_path / "points")


@pytest.fixture
def pair(server: str, tmp_path: Path, place: str) -> Iterator[tuple[Machine, Machine]]:
    """Make a primary that has pushed once, and a standby."""
    kept = {"retention_min_count": 1, "retention_min_age": 0}
    primary = Machine(tmp_path / "primary", "pipeline-primary", server, f"{place}/primary", **kept)
    standby = Machine(
        tmp_path / "standby",
        "pipeline-standby",
        server,
        f"{place}/standby",
        read_bucket=f"{place}/primary",
    )
    try:
        primary.engine.start()
        primary.push_rows(0, FIRST)
        primary.checkpoint()
        assert primary.sync_now()["failure"] is None
        yield primary, standby
    finally:
        for each in (primary, standby):
            each.engine.discard()


async def rows_in_bucket(url: str, place: str, folder: Path) -> int:
    """Pull the newest checkpoint of a bucket, verify all of it, and count its rows."""
    store = Store(folder / "checkpoints")
    async with connected(config(url, place), LOOPBACK) as buckets:
        found = await Puller(store, 4).pull(buckets, "latest", lambda _: None)
    assert found is not None
    return rows(store, found.manifest.uuid, folder)


def rows(store: Store, uuid: str, folder: Path) -> int:
    """Count the rows of a checkpoint, verified."""
    store.assemble(store.listing().find(uuid), folder / "database")
    with duckdb.connect(str(folder / "database"), read_only=True) as database:
        [(count,)] = database.execute(COUNT).fetchall()
    return int(count)


@pytest.mark.timeout(60 + 30 * KILLS)
@pytest.mark.parametrize("point", PUSH)
async def test_a_push_that_is_killed(
    point: str, points: Points, pair: tuple[Machine, Machine], server: str, tmp_path: Path
) -> None:
    primary, _ = pair
    place = primary.sync["bucket"]
    before = FIRST
    for number in range(KILLS):
        primary.push_rows(1000 * (number + 1), SECOND - FIRST)
        after = before + SECOND - FIRST
        newest = primary.checkpoint()
        points.arm(point)
        primary.engine.http.post("/checkpoint/sync")
        points.killed(primary)
        assert await rows_in_bucket(server, place, tmp_path / f"before-{number}") in (before, after)
        primary.engine.start()
        assert primary.count == after
        assert primary.sync_now()["success"] == newest
        assert await rows_in_bucket(server, place, tmp_path / f"after-{number}") == after
        before = after


@pytest.mark.timeout(60 + 30 * KILLS)
@pytest.mark.parametrize("point", PULL)
def test_a_pull_that_is_killed(
    point: str, points: Points, pair: tuple[Machine, Machine], tmp_path: Path
) -> None:
    primary, standby = pair
    known = {str(each["uuid"]): FIRST for each in primary.engine.http.get("/checkpoints").json()}
    for number in range(KILLS):
        primary.push_rows(1000 * (number + 1), SECOND - FIRST)
        newest = primary.checkpoint()
        known[newest] = primary.count
        primary.sync_now()
        points.arm(point)
        standby.engine.start("standby", wait=False)
        points.killed(standby)
        assert standby.engine.storage is not None
        store = Store(standby.engine.storage / "checkpoints")
        for each in store.listing().manifests:
            (tmp_path / each.uuid).mkdir(exist_ok=True)
            assert rows(store, each.uuid, tmp_path / each.uuid) == known[each.uuid]
        standby.stand_by(holding=newest)
        standby.engine.stop()
    standby.engine.start("standby")
    standby.activate()
    assert standby.count == primary.count


@pytest.mark.timeout(60 + 60 * KILLS)
@pytest.mark.parametrize("point", ACTIVATE)
def test_an_activation_that_is_killed(
    point: str, points: Points, pair: tuple[Machine, Machine], server: str, tmp_path: Path
) -> None:
    primary, first = pair
    for number in range(KILLS):
        standby = first
        if number:
            standby = Machine(
                tmp_path / f"standby-{number}",
                f"pipeline-standby-{number}",
                server,
                f"{first.sync['bucket']}-{number}",
                read_bucket=primary.sync["bucket"],
            )
        try:
            _kill_once(point, points, standby, primary.count)
        finally:
            standby.engine.discard()


@pytest.mark.parametrize("point", [faults.ACTIVATE_WISHED, faults.ACTIVATE_PULLED])
def test_a_restart_after_the_activation_pulls_once_more(
    point: str, points: Points, pair: tuple[Machine, Machine]
) -> None:
    primary, standby = pair
    points.arm(point)
    standby.engine.start("standby")
    standby.engine.http.post("/activate")
    points.killed(standby)
    primary.push_rows(1000, SECOND - FIRST)
    primary.checkpoint()
    assert primary.sync_now()["failure"] is None
    standby.engine.start("running")  # as a restart does: with what the process was told last
    assert standby.count == SECOND
    assert standby.engine.storage is not None
    assert (standby.engine.storage / MARKER).exists()


def _kill_once(point: str, points: Points, standby: Machine, count: int) -> None:
    points.arm(point)
    if point == faults.STANDBY_AHEAD:
        standby.engine.start("standby", wait=False)
        points.killed(standby)
        standby.engine.start("standby")
        standby.activate()
    else:
        standby.engine.start("standby")
        standby.engine.http.post("/activate")
        points.killed(standby)
        standby.engine.start("standby")
        standby.engine.eventually(lambda: standby.engine.status()["runtime_status"] == "Running")
    assert standby.count == count
    standby.push_rows(9000, 1)
    standby.engine.stop(signal.SIGKILL)
    standby.engine.start("standby")
    assert standby.count == count + 1

"""An engine that is killed at every named point of a checkpoint, a suspend and a restore.

After each kill the newest checkpoint is whole and holds the rows that it says, the same deployment goes on
with all that was acknowledged, and another one begins with the newest checkpoint. `KILLS_AT_POINTS=10` kills
ten times at each (`make engine-test`).
"""

import json
import os
import signal
from pathlib import Path

import duckdb
import pytest

from sluicegate import faults
from sluicegate.engine.checkpoints.manifest import Manifest
from sluicegate.engine.checkpoints.store import Store
from tests.engine.conftest import PATIENCE, Deploy, Engine

ROUNDS = int(os.environ.get("KILLS_AT_POINTS", "1"))
ROWS = 2_000
"""Rows of a push: some blocks of a database."""
PROGRAM = """
CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS c, SUM(id) AS s FROM t;
"""


class World:
    """An engine, what it has acknowledged, and the points at which it is killed."""

    def __init__(self, engine: Engine) -> None:
        assert engine.storage is not None
        self.engine = engine
        self.faults = engine.folder / "faults"
        for folder in ("armed", "hit"):
            (self.faults / folder).mkdir(parents=True)
        engine.environment[faults.VARIABLE] = str(self.faults)
        self.checkpoints = engine.storage / "checkpoints"
        self.acknowledged = 0
        """Rows that the database of this deployment has."""

    def arm(self, point: str) -> None:
        """Have the process killed that comes by next."""
        (self.faults / "armed" / point).write_text("kill")

    def killed(self, point: str) -> None:
        """Wait until that has happened."""
        assert self.engine.process is not None
        assert self.engine.process.wait(PATIENCE) == -signal.SIGKILL
        assert list((self.faults / "hit").glob(f"{point}.*"))
        self.engine.http.close()

    def push(self) -> None:
        """Have rows acknowledged."""
        numbers = range(self.acknowledged, self.acknowledged + ROWS)
        rows = "".join(json.dumps({"insert": {"id": n, "name": f"{n * 7919}" * 9}}) for n in numbers)
        assert self.engine.push("t", rows, format="json").status_code == 200
        self.acknowledged += ROWS

    def checkpoint(self) -> None:
        """Make a checkpoint."""
        number = self.engine.http.post("/checkpoint").json()["checkpoint_sequence_number"]
        status = self.engine.http.get
        self.engine.eventually(lambda: status("/checkpoint_status").json()["success"] == number)

    def judge(self) -> Manifest:
        """Look at the newest checkpoint: it is whole, and holds what it says; return it."""
        store = Store(self.checkpoints)
        listing = store.listing()
        assert not listing.damaged
        newest = listing.manifests[0]
        copy = self.engine.folder / "copy.duckdb"
        store.assemble(newest, copy)
        with duckdb.connect(str(copy)) as database:
            [(rows,)] = database.execute("SELECT COUNT(*) FROM t").fetchall()
            assert database.execute('SELECT records FROM "~steps"').fetchall() == [(rows,)]
        assert rows == newest.processed_records
        return newest

    def check(self, rows: int) -> None:
        """Compare what a running engine has with what it must have."""
        self.acknowledged = rows
        total = sum(range(rows))
        assert self.engine.rows("SELECT c, s FROM v") == [{"c": rows, "s": total}]
        assert self.engine.rows("SELECT COUNT(*) AS c, SUM(id) AS s FROM t") == [{"c": rows, "s": total}]

    def begin_anew(self) -> None:
        """Go on as another deployment, which has the newest checkpoint; no leftover is in its way."""
        newest = self.judge()
        if self.engine.process is not None and self.engine.process.poll() is None:
            self.engine.stop(signal.SIGKILL)
        self.engine.redeploy()
        self.engine.start()
        self.check(newest.processed_records)
        self.push()
        self.checkpoint()
        assert self.judge().processed_records == self.acknowledged


@pytest.fixture
def world(deploy: Deploy) -> World:
    """Make an engine with a checkpoint, and rows since."""
    world = World(deploy(PROGRAM))
    world.engine.start()
    world.push()
    world.checkpoint()
    world.push()
    return world


def of(kind: str) -> list[str]:
    """Return the points of a kind."""
    return [point for point in faults.ENGINE if point.startswith(f"{kind}.")]


@pytest.mark.timeout(180 + 60 * ROUNDS)
@pytest.mark.parametrize("point", of("checkpoint"))
def test_a_kill_within_a_checkpoint(world: World, point: str) -> None:
    for _ in range(ROUNDS):
        world.push()  # or there would be nothing to write
        world.arm(point)
        before = world.acknowledged
        world.engine.http.post("/checkpoint")
        world.killed(point)
        world.judge()
        world.engine.start()
        world.check(before)
        world.begin_anew()


@pytest.mark.timeout(180 + 60 * ROUNDS)
@pytest.mark.parametrize("point", [*of("suspend"), faults.CHECKPOINT_SEGMENT, faults.CHECKPOINT_MANIFEST])
def test_a_kill_within_a_suspend(world: World, point: str) -> None:
    for _ in range(ROUNDS):
        world.push()
        world.arm(point)
        world.engine.http.post("/suspend")
        world.killed(point)
        world.judge()
        world.engine.start()
        world.engine.eventually(lambda: world.engine.status()["runtime_status"] == "Suspended")
        assert world.judge().processed_records == world.acknowledged
        world.begin_anew()


@pytest.mark.timeout(180 + 60 * ROUNDS)
@pytest.mark.parametrize("point", of("restore"))
def test_a_kill_within_a_restore(world: World, point: str) -> None:
    for _ in range(ROUNDS):
        world.engine.stop(signal.SIGKILL)
        newest = world.judge()
        world.engine.redeploy()
        world.arm(point)
        world.engine.start(wait=False)
        world.killed(point)
        assert world.judge() == newest
        world.engine.start()
        world.check(newest.processed_records)
        world.push()
        world.engine.stop(signal.SIGKILL)
        world.engine.start()
        world.check(world.acknowledged)
        world.begin_anew()


@pytest.mark.parametrize("point", [faults.RESTORE_PLACED, faults.RESTORE_PREPARED])
def test_a_choice_that_was_cut_short_costs_nothing_of_what_was_left(world: World, point: str) -> None:
    engine = world.engine
    engine.runtime_config["fault_tolerance"] = {"model": "exactly_once", "checkpoint_interval_secs": None}
    engine.stop(signal.SIGKILL)
    engine.redeploy()
    engine.checkpoint = world.judge().uuid
    world.arm(point)
    engine.start(wait=False)
    world.killed(point)
    engine.redeploy()
    engine.checkpoint = None
    engine.start()
    world.check(2 * ROWS)


def test_every_point_is_passed_by_a_test() -> None:
    assert {point.partition(".")[0] for point in faults.ENGINE} == {"checkpoint", "suspend", "restore"}


def test_points_have_names_of_their_own(tmp_path: Path) -> None:
    assert len(set(faults.ENGINE)) == len(faults.ENGINE)
    assert not set(faults.ENGINE) & set(faults.POINTS)

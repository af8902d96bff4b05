"""A standby takes over: through a real S3-protocol server, and whatever goes wrong on the way."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.engine.remote.pairs import Machine

Make = Callable[..., Machine]


@pytest.fixture
def make(server: str, tmp_path: Path) -> Iterator[Make]:
    """Make machines that end with the test."""
    made: list[Machine] = []

    def machine(name: str, place: str, **more: Any) -> Machine:
        made.append(Machine(tmp_path / name, f"pipeline-{name}", server, place, **more))
        return made[-1]

    yield machine
    for each in made:
        each.engine.discard()


@pytest.fixture
def primary(make: Make, place: str) -> Machine:
    return make("primary", f"{place}/primary")


@pytest.fixture
def standby(make: Make, place: str) -> Machine:
    return make("standby", f"{place}/standby", read_bucket=f"{place}/primary")


def test_a_standby_takes_over(primary: Machine, standby: Machine) -> None:
    primary.engine.start()
    primary.push_rows(0, 1000)
    first = primary.checkpoint()
    assert primary.sync_now()["success"] == first
    standby.stand_by(holding=first)
    status = standby.engine.status()
    assert (status["runtime_status"], status["runtime_desired_status"]) == ("Standby", "Standby")
    assert [each["uuid"] for each in status["storage_status_details"]["checkpoints"]] == [first]
    http = standby.engine.http
    refused = http.get("/query", params={"sql": "SELECT 1"})
    assert (refused.status_code, refused.json()["error_code"]) == (503, "Initializing")
    for refused in (http.post("/suspend"), http.get("/pause"), http.get("/start")):
        assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidTransition")
    primary.push_rows(1000, 500)
    second = primary.checkpoint()
    primary.sync_now()
    primary.push_rows(2000, 100)  # in no checkpoint: lost
    primary.engine.stop(signal.SIGKILL)
    standby.activate()
    assert standby.count == 1500
    assert standby.engine.rows("SELECT c, s FROM total") == [{"c": 1500, "s": sum(range(1500))}]
    [restored, *_] = standby.engine.http.get("/checkpoints").json()
    assert restored["uuid"] == second
    standby.push_rows(5000, 10)
    assert standby.count == 1510
    own = standby.checkpoint()
    assert standby.sync_now()["success"] == own
    assert {"uuid": own} in standby.engine.http.get("/checkpoints/remote").json()
    metrics = standby.engine.http.get("/metrics").text
    assert "checkpoint_sync_pull_success_total 2.0" in metrics
    assert "checkpoint_sync_push_success_total 1.0" in metrics


def test_an_activation_wakes_it_at_once(primary: Machine, standby: Machine) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    standby.stand_by(holding=first)  # which looks once a minute
    began = time.monotonic()
    standby.activate("paused")
    assert time.monotonic() - began < 10
    again = standby.engine.http.post("/activate", params={"initial": "running"})
    assert again.status_code == 202
    assert standby.engine.status()["runtime_status"] == "Running"


def test_a_late_push_of_the_old_primary_reaches_nobody(primary: Machine, standby: Machine) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    standby.stand_by(holding=first)
    standby.activate()
    standby.push_rows(100, 5)
    own = standby.checkpoint()
    primary.push_rows(10, 10)
    late = primary.checkpoint()
    assert primary.sync_now()["success"] == late
    for _ in range(2):
        standby.engine.stop()
        standby.engine.redeploy()
        standby.engine.start("running")
        assert standby.count == 15
        [newest, *_] = standby.engine.http.get("/checkpoints").json()
        assert newest["uuid"] == own
    standby.engine.stop()
    standby.engine.redeploy()
    standby.engine.start("standby")
    body = standby.engine.status()
    assert body["details"]["error"]["error_code"] == "InvalidStartupTransition"


def test_the_two_are_paired_again_after_a_failover(primary: Machine, standby: Machine, make: Make) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    standby.stand_by(holding=first)
    primary.engine.stop(signal.SIGKILL)
    standby.activate()
    standby.push_rows(10, 10)
    second = standby.checkpoint()
    assert standby.sync_now()["success"] == second
    again = make("again", primary.sync["bucket"], read_bucket=standby.sync["bucket"])  # its storage is clear
    again.engine.name = primary.engine.name
    again.engine.generation += 1
    again.stand_by(holding=second)
    standby.engine.stop(signal.SIGKILL)
    again.activate()
    assert again.count == 20
    own = again.checkpoint()
    assert again.sync_now()["success"] == own


def test_a_standby_whose_final_pull_fails_does_not_run(
    primary: Machine, standby: Machine, place: str
) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    standby.sync["read_bucket"] = f"{place}/primary"
    standby.stand_by(holding=first)
    standby.engine.stop()
    standby.sync["endpoint"] = "http://127.0.0.1:9"
    standby.engine.start("standby")
    standby.engine.eventually(lambda: "the last pull failed" in standby.reason())
    assert standby.sync["secret_key"] not in standby.reason() + standby.engine.output()
    assert standby.engine.http.post("/activate").status_code == 202
    standby.engine.eventually(lambda: "error_code" in standby.engine.status())
    body = standby.engine.status()
    assert body["error_code"] == "InitializationError"
    assert body["details"]["error"]["error_code"] == "CheckpointFetchError"
    assert "its final pull failed" in body["message"]
    standby.engine.stop()
    standby.engine.redeploy()
    standby.engine.start("running")  # by hand, from what it holds
    assert standby.count == 10


def test_a_pipeline_without_a_bucket_cannot_stand_by(standby: Machine) -> None:
    config = standby.engine.runtime_config
    for wrong, part in (
        ({"storage": None}, "no storage"),
        ({"storage": {"backend": {"name": "default"}}}, "backend 'file'"),
        ({"storage": {"backend": {"name": "file", "config": {"sync": None}}}}, "no `sync`"),
        (_with(standby.sync, start_from_checkpoint=None), "start_from_checkpoint"),
    ):
        standby.engine.runtime_config = {**config, **wrong}
        standby.engine.start("standby")
        inner = standby.engine.status()["details"]["error"]
        assert inner["error_code"] == "InvalidStandby"
        assert part in inner["message"]
        standby.engine.stop()
    standby.engine.runtime_config = {**config, **_with(standby.sync, standby=True)}
    standby.engine.start("standby")
    inner = standby.engine.status()["details"]["error"]
    assert inner["error_code"] == "CheckpointFetchError"
    assert "initial=standby" in inner["message"]


def _with(sync: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"storage": {"backend": {"name": "file", "config": {"sync": {**sync, **more}}}}}


def test_a_lost_machine_is_replaced(primary: Machine, make: Make, place: str) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    primary.push_rows(10, 10)
    second = primary.checkpoint()
    primary.sync_now()
    primary.engine.stop(signal.SIGKILL)
    assert primary.engine.storage is not None
    shutil.rmtree(primary.engine.storage)
    primary.engine.redeploy()
    primary.engine.generation += 1
    primary.engine.start()
    assert primary.count == 20
    third = primary.checkpoint()
    assert primary.sync_now()["success"] == third
    assert primary.engine.http.get("/checkpoints/remote").json() == [
        {"uuid": uuid} for uuid in (third, second, first)
    ]
    fresh = make("fresh", f"{place}/fresh", read_bucket=f"{place}/primary")
    fresh.sync["start_from_checkpoint"] = first
    fresh.engine.start()
    assert fresh.count == 10


@pytest.mark.parametrize("written", [str, str.upper, lambda uuid: uuid.replace("-", "")])
def test_an_older_checkpoint_is_gone_back_to(primary: Machine, written: Callable[[str], str]) -> None:
    primary.engine.start()
    primary.push_rows(0, 10)
    first = primary.checkpoint()
    primary.sync_now()
    for number in (1, 2):
        primary.push_rows(10 * number, 10)
        primary.checkpoint()
    primary.engine.stop()
    primary.engine.redeploy()
    primary.sync["start_from_checkpoint"] = written(first)
    primary.engine.start()
    assert primary.count == 10


@pytest.mark.parametrize("fail", [True, False])
def test_a_checkpoint_that_is_nowhere_is_never_an_empty_start(primary: Machine, fail: bool) -> None:
    primary.engine.runtime_config["fault_tolerance"] = {"model": "exactly_once"}
    primary.engine.start()
    primary.push_rows(0, 10)
    primary.engine.stop()
    primary.engine.redeploy()
    primary.sync |= {"start_from_checkpoint": str(UUID(int=7)), "fail_if_no_checkpoint": fail}
    primary.engine.start()
    body = primary.engine.status()
    assert body["error_code"] == "InitializationError"
    assert str(UUID(int=7)) in body["message"]
    primary.engine.stop()
    primary.engine.redeploy()
    primary.sync["start_from_checkpoint"] = None
    primary.engine.start()
    assert primary.count == 10, "what was left is still there"


def test_nothing_to_start_from(primary: Machine) -> None:
    primary.sync["fail_if_no_checkpoint"] = True
    primary.engine.start()
    inner = primary.engine.status()["details"]["error"]
    assert inner["error_code"] == "CheckpointFetchError"
    assert "no checkpoint to start from" in inner["message"]
    primary.engine.stop()
    primary.engine.redeploy()
    primary.sync["fail_if_no_checkpoint"] = False
    primary.engine.start()
    assert primary.count == 0


def test_what_is_told_of_pushes(primary: Machine, make: Make) -> None:
    primary.engine.start()
    http = primary.engine.http
    refused = http.post("/checkpoint/sync")
    assert (refused.status_code, refused.json()["error_code"]) == (400, "400")
    nothing: dict[str, Any] = {"success": None, "failure": None, "periodic": None, "running": []}
    assert primary.sync_status() == nothing
    primary.push_rows(0, 10)
    made = primary.checkpoint()
    answer = http.post("/checkpoint/sync").json()
    assert answer["checkpoint_uuid"] == made
    incarnation = answer["incarnation_uuid"]
    primary.engine.eventually(lambda: primary.sync_status() == {**nothing, "success": made})
    asked = {"incarnation_uuid": incarnation}
    assert http.get("/checkpoint/sync_status", params=asked).status_code == 200
    other = http.get("/checkpoint/sync_status", params={"incarnation_uuid": made})
    assert other.json()["error_code"] == "IncarnationUuidMismatch"
    stranger = make("stranger", primary.sync["bucket"])
    stranger.sync["start_from_checkpoint"] = None
    stranger.engine.start()
    uuid = stranger.checkpoint()
    failure = stranger.sync_now()["failure"]
    assert failure["uuid"] == uuid
    assert "belongs to pipeline-primary" in failure["error"]
    assert "checkpoint_sync_push_failures_total 1.0" in stranger.engine.http.get("/metrics").text


def test_pushes_come_by_themselves(primary: Machine) -> None:
    primary.sync["push_interval"] = 1
    primary.engine.start()
    primary.push_rows(0, 10)
    for _ in range(2):
        made = primary.checkpoint()
        primary.engine.eventually(partial(_is_pushed, primary, made))
    assert primary.sync_status()["success"] is None


def _is_pushed(machine: Machine, uuid: str) -> bool:
    return bool(machine.sync_status()["periodic"] == uuid)


def test_a_pipeline_without_a_bucket(make: Make, place: str) -> None:
    machine = make("alone", place)
    machine.engine.runtime_config = {"workers": 2}
    machine.engine.start()
    answer = machine.engine.http.get("/checkpoints/remote")
    assert (answer.status_code, answer.json()["error_code"]) == (500, "CheckpointFetchError")
    machine.checkpoint()
    assert "has no bucket" in machine.sync_now()["failure"]["error"]


SIZE = int(os.environ.get("STANDBY_MB", "20")) << 20
"""Bytes of state that the standby holds; what counts is 1024 MiB (docs/standby.md)."""
LONGEST = 2 if "STANDBY_MB" in os.environ else 30
"""Seconds until a standby runs: the aim on a quiet machine, and what may be on a busy one."""
LARGE = 300
"""Seconds that copying all of it may take."""
FIGURES = os.environ.get("STANDBY_FIGURES")
"""A file for how long each took."""
ROUNDS = int(os.environ.get("STANDBY_ROUNDS", "1"))


@pytest.mark.timeout(900 + 300 * ROUNDS)
def test_taking_over_is_quick(primary: Machine, make: Make, place: str) -> None:
    primary.patience = LARGE
    primary.engine.start()
    primary.push_rows(0, 10)
    rows = primary.fill(SIZE)
    uuid = primary.checkpoint()
    [newest, *_] = primary.engine.http.get("/checkpoints").json()
    assert newest["size"] > SIZE * 0.9
    assert primary.sync_now()["failure"] is None
    primary.engine.stop(signal.SIGKILL)
    took = []
    for number in range(ROUNDS):
        standby = make(f"standby-{number}", f"{place}/standby-{number}", read_bucket=f"{place}/primary")
        standby.patience = LARGE
        standby.stand_by(holding=uuid)
        began = time.monotonic()
        standby.activate()
        took.append(round(time.monotonic() - began, 3))
        assert standby.count == 10
        assert standby.engine.rows("SELECT COUNT(*) AS c FROM line") == [{"c": rows}]
        standby.engine.stop(signal.SIGKILL)
        assert standby.engine.storage is not None
        shutil.rmtree(standby.engine.storage)
    about = f"{newest['size'] >> 20} MiB: {sorted(took)} s"
    if FIGURES is not None:
        Path(FIGURES).write_text(f"{about}\n")
    assert sorted(took)[len(took) // 2] < LONGEST, about

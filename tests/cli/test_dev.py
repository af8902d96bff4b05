"""`sluicegate dev` where it must not start; the whole of it runs in tests/e2e."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.client import Client
from sluicegate.operate import pipelines
from sluicegate.operate.ports import PortTaken, Wanted, settle
from sluicegate.operate.running import AlreadyRuns, Running, claimed

RUNNING = Running(os.getpid(), "http://127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", "", ready=True)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield bound.getsockname()[1]


def dev(home: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ports = dict.fromkeys(
        ("SLUICEGATE_API_PORT", "SLUICEGATE_TEMPORAL_PORT", "SLUICEGATE_TEMPORAL_UI_PORT"), "0"
    )
    return subprocess.run(
        [sys.executable, "-m", "sluicegate.cli", "dev", *flags],
        env={**os.environ, **ports, "SLUICEGATE_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    "setting", ["SLUICEGATE_API_PORT", "SLUICEGATE_TEMPORAL_PORT", "SLUICEGATE_TEMPORAL_UI_PORT"]
)
def test_a_taken_port_names_its_setting_and_starts_nothing(tmp_path: Path, taken: int, setting: str) -> None:
    done = dev(tmp_path, **{setting: str(taken)})
    assert done.returncode == 1
    assert f"Port {taken}" in done.stdout
    assert f"choose another with {setting}" in done.stdout
    assert f"process {os.getpid()}" in done.stdout
    assert not (tmp_path / "temporal").exists()


def test_a_second_run_on_the_same_folder_says_who_runs(tmp_path: Path) -> None:
    with claimed(tmp_path):
        Running(**{**vars(RUNNING), "home": str(tmp_path)}).write()
        done = dev(tmp_path)
    assert done.returncode == 1
    assert f"already runs on {tmp_path} (process {os.getpid()}, API at http://127.0.0.1:1)" in done.stdout
    assert not (tmp_path / "dev.json").exists()


def test_a_part_that_never_comes_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "temporal" / "temporal.db").mkdir(parents=True)
    done = dev(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "temporal ended with exit code 1" in done.stdout
    assert "unable to open database file" in done.stdout.partition("The end of")[2]


def test_a_folder_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"host_id": "h", "layout": 999}')
    done = dev(tmp_path)
    assert done.returncode == 1
    assert "layout 999" in done.stdout


def test_a_wrong_setting_is_told_by_name(tmp_path: Path) -> None:
    done = dev(tmp_path, SLUICEGATE_API_PORT="many")
    assert done.returncode == 1
    assert "SLUICEGATE_API_PORT" in done.stdout


def test_pipelines_are_stopped_through_the_api_that_runs(tmp_path: Path, api: Any) -> None:
    running = {"deployment_status": "Running", "deployment_desired_status": "Running"}
    api.answer("GET", "/v0/pipelines", [api.pipeline(**running), api.pipeline(name="at-rest")])
    api.answer("GET", "/v0/pipelines/shop", api.pipeline(**running), api.pipeline())
    api.answer("POST", "/v0/pipelines/shop/stop", "", status=202)
    with claimed(tmp_path):
        Running(**{**vars(RUNNING), "home": str(tmp_path), "api_url": api.url}).write()
        done = dev(tmp_path, "--stop-pipelines", SLUICEGATE_API_KEYS="first,second")
    assert (done.returncode, done.stdout) == (0, "Stopped: shop\n")
    assert api.paths("POST") == ["/v0/pipelines/shop/stop"]
    assert api.seen[0].headers["authorization"] == "Bearer first"


def test_what_could_not_be_stopped_is_named(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "STOP_WITHIN", 0.0)
    running = {"deployment_status": "Running", "deployment_desired_status": "Running"}
    names = ("gone", "stuck")
    api.answer("GET", "/v0/pipelines", [api.pipeline(name=name, **running) for name in names])
    late = {"message": "later", "error_code": "WaitTimedOut"}
    details = {key: api.pipeline(**running)[key] for key in (*running, "program_status")}
    api.answer("GET", "/v0/pipelines/stuck", {**late, "details": details}, status=504)
    api.refuse("POST", "/v0/pipelines/stuck/stop", 503, "Overloaded", "later")
    with Client(api.url) as client:
        assert pipelines.stop_all(client) == (["gone"], ["stuck"])


def test_any_port_will_do_where_none_is_named(taken: int) -> None:
    wishes = [Wanted(f"SETTING_{number}", "127.0.0.1", 0) for number in range(3)]
    assert len(set(settle(wishes))) == 3
    with pytest.raises(PortTaken, match="SETTING_B"):
        settle([Wanted("SETTING_A", "127.0.0.1", 0), Wanted("SETTING_B", "127.0.0.1", taken)])
    with pytest.raises(PortTaken, match="no address"):
        settle([Wanted("SETTING_A", "no.such.host.invalid", 0)])


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(AlreadyRuns, match="just starting"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        assert Running.read(tmp_path) is None

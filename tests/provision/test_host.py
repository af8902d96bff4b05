"""The identity of a host."""

import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.provision.host import LAYOUT, HomeError, HostIdentity

MAKE = """
import sys
from pathlib import Path
from sluicegate.provision.host import HostIdentity
sys.stdin.readline()
print(HostIdentity.of(Path(sys.argv[1])).host_id)
"""


def test_workers_that_start_together_agree(tmp_path: Path) -> None:
    home = tmp_path / "home"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(4)
    ]
    ids = {worker.communicate("\n")[0].strip() for worker in workers}
    assert ids == {HostIdentity.of(home).host_id}


def test_the_port_of_the_log_service_is_remembered(tmp_path: Path) -> None:
    identity = HostIdentity.of(tmp_path)
    assert identity.logs_port is None
    assert identity.remember_logs_port(tmp_path, 4321).logs_port == 4321
    again = HostIdentity.of(tmp_path)
    assert (again.host_id, again.logs_port) == (identity.host_id, 4321)


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(f'{{"host_id": "h", "layout": {LAYOUT + 1}}}')
    with pytest.raises(HomeError, match="newer release"):
        HostIdentity.of(tmp_path)


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(HomeError, match="damaged"):
        HostIdentity.of(tmp_path)
    assert (tmp_path / "host.json").read_text() == "{"

"""A control plane to measure: `sluicegate dev` on free ports in a temporary folder, and a pipeline on it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx

READY_WITHIN = 60.0
LOOK_EVERY = 0.005
PROGRAM = """
CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW summary AS SELECT COUNT(*) AS how_many FROM numbers;
"""


@contextmanager
def control_plane() -> Iterator[dict[str, Any]]:
    """Run a control plane with a file database for the length of the block; give its `dev.json`."""
    with TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        home = Path(folder)
        ports = {f"SLUICEGATE_{part}_PORT": "0" for part in ("API", "TEMPORAL", "TEMPORAL_UI")}
        process = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.operate.dev"],
            env={**os.environ, **ports, "SLUICEGATE_HOME": folder},
            stdout=subprocess.DEVNULL,
        )
        try:
            yield _ready(home, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _ready(home: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        path = home / "dev.json"
        if path.exists() and (described := json.loads(path.read_text()))["ready"]:
            return dict(described)
        time.sleep(0.05)
    raise RuntimeError("the control plane did not come up; run `sluicegate dev` to see why")


class Pipeline:
    """A compiled pipeline to measure."""

    def __init__(self, api: httpx.Client) -> None:
        """Create it and wait until it is compiled."""
        self.name = f"bench-{uuid4().hex[:8]}"
        self._api = api
        answer = api.post("/v0/pipelines", json={"name": self.name, "program_code": PROGRAM})
        answer.raise_for_status()
        self.id = answer.json()["id"]
        self.wait("program_status", "Success")

    def post(self, verb: str) -> None:
        """Call a verb that must be accepted."""
        self._api.post(f"/v0/pipelines/{self.name}/{verb}").raise_for_status()

    def wait(self, key: str, value: str) -> None:
        """Wait for a status; the looks are spaced so that they do not compete with what they wait for."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            seen = self._api.get(f"/v0/pipelines/{self.name}", params={"selector": "status"}).json()
            if seen[key] == value:
                return
            time.sleep(LOOK_EVERY)
        raise RuntimeError(f"{self.name} never had {key} {value}")

    def remove(self) -> None:
        """Stop, clear and delete it."""
        self.post("stop?force=true")
        self.wait("deployment_status", "Stopped")
        self.post("clear")
        self.wait("storage_status", "Cleared")
        self._api.delete(f"/v0/pipelines/{self.name}").raise_for_status()

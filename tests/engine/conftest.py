"""A real engine as a child process, and programs compiled for it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluicegate.engine.compiler import compile_program
from sluicegate.protocol import PORT_FILE, STORAGE_FOLDER, CompileRequest, EngineConfig

ROOT = Path(__file__).parents[2]
TOKEN = "a token"
FAILS_IN_THE_MIDDLE = """
SELECT repeat('x', 1000) AS wide, 10 / (50000 - range) AS x FROM range(60000)
"""
"""A query with an error after 50 MB, five times what DuckDB reads ahead: rows are answered before it."""
PATIENCE = 30
"""Seconds that anything may take before a test fails: far more than it ever does."""


@cache
def compiled(program: str) -> dict[str, Any]:
    """Compile a program; those that are started again need it once."""
    response = compile_program(CompileRequest(program))
    assert response.plan is not None, response.sql_compilation
    return response.plan


class Engine:
    """One deployment in a folder, run as a child process."""

    def __init__(self, folder: Path, program: str, *, storage: bool = True) -> None:
        self.folder = folder
        self.deployment_id = str(uuid.uuid4())
        self.program_version = 1
        self.checkpoint: str | None = None
        self.environment: dict[str, str] = {}
        self.name = "pipeline-1"
        self.generation = 1
        self.runtime_config: dict[str, Any] = {"workers": 2}
        self.connector_networks: tuple[str, ...] = ()
        self.bootstrap_policy = "allow"
        self.flags: tuple[str, ...] = ()
        """Words of the command line that ask for more."""
        self.storage = folder / STORAGE_FOLDER if storage else None
        self.program = program
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client()

    def start(self, initial: str = "running", *, wait: bool = True) -> "Engine":
        """Start the process; wait until it has finished starting, well or not."""
        plan = compiled(self.program)
        config = EngineConfig(
            name=self.name,
            given_name="demo",
            pipeline_id=str(uuid.UUID(int=1)),
            deployment_id=self.deployment_id,
            generation=self.generation,
            program_version=self.program_version,
            auth_token=TOKEN,
            connector_networks=list(self.connector_networks),
            storage_config={"path": str(self.storage)} if self.storage else None,
            runtime_config=self.runtime_config,
            plan=plan,
        )
        config.write(self.folder / "config.json")
        (self.folder / PORT_FILE).unlink(missing_ok=True)
        log = self.log.open("a")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sluicegate.engine", "run", "--config-file", "config.json"),
                *("--bind-address", "127.0.0.1", "--initial", initial),
                *("--deployment-id", self.deployment_id, "--bootstrap-policy", self.bootstrap_policy),
                *self.flags,
                *(() if self.checkpoint is None else ("--checkpoint", self.checkpoint)),
            ],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.eventually((self.folder / PORT_FILE).exists)
        self.connect()
        if wait:
            opening = ("Initializing", "Bootstrapping")
            self.eventually(lambda: self.status().get("runtime_status") not in opening)
        return self

    def connect(self, token: str = TOKEN) -> None:
        """Talk to the process with a token."""
        self.http.close()
        port = (self.folder / PORT_FILE).read_text()
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE)

    def redeploy(self) -> None:
        """Make the next start one of another deployment."""
        self.deployment_id = str(uuid.uuid4())

    def status(self) -> dict[str, Any]:
        """Return the body of /status."""
        body: dict[str, Any] = self.http.get("/status").json()
        return body

    def push(self, table: str, body: str | bytes, **parameters: str) -> httpx.Response:
        """Send a body to a table; return what its sender knows once it is committed, or cannot be."""
        answer = self.send(table, body, **parameters)
        if answer.status_code == 200:
            found = self.until_written(answer.json()["token"])
            answer = answer if found.status_code == 200 else found
        return answer

    def send(self, table: str, body: str | bytes, **parameters: str) -> httpx.Response:
        """Send a body to a table."""
        return self.http.post(f"/ingress/{table}", params=parameters, content=body)

    def until_written(self, token: str) -> httpx.Response:
        """Wait until what a token stands for is committed, or cannot be; who listen may not have it yet."""
        answers: list[httpx.Response] = []

        def is_known() -> bool:
            answers.append(self.http.get("/completion_status", params={"token": token}))
            return answers[-1].status_code != 200 or answers[-1].json()["step"] is not None

        self.eventually(is_known)
        return answers[-1]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        answer = self.http.get("/query", params={"sql": sql, "format": "json"})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def eventually(self, probe: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until the probe yields something true."""
        deadline = time.monotonic() + patience
        while not probe():
            assert self.process is None or self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, "it has not come about in time"
            time.sleep(0.01)

    def suspend(self) -> None:
        """Suspend and wait for it."""
        assert self.http.post("/suspend").status_code == 202
        self.eventually(lambda: self.status().get("runtime_status") == "Suspended")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process; return its exit status."""
        self.http.close()
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def peak(self) -> int:
        """Return how much memory the process has had at most, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def output(self) -> str:
        """Return what the engine has printed."""
        return self.log.read_text()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.http.close()
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(PATIENCE)


Deploy = Callable[..., Engine]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Make engines that end with the test."""
    made: list[Engine] = []

    def make(program: str, *, storage: bool = True) -> Engine:
        engine = Engine(tmp_path, program, storage=storage)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.discard()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run one engine for all tests of a module, with the module's PROGRAM."""
    engine = Engine(tmp_path_factory.mktemp("engine"), request.module.PROGRAM)
    yield engine.start()
    engine.discard()
